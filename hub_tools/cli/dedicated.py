"""`backforth endpoint up|status|pause|resume|down`: Inference Endpoints of Hugging Face, paid by the hour."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from hub_tools.cli.app import console
from hub_tools.cli.endpoint import endpoint_app
from hub_tools.errors import BackforthError

if TYPE_CHECKING:
    from hub_tools.endpoints.dedicated import Dedicated

NameArgument = Annotated[str, typer.Argument(help="The endpoint, as `status` lists it.")]
NamespaceOption = Annotated[
    str | None, typer.Option(help="Whose endpoints; those of the token's user by default.")
]
WaitOption = Annotated[float, typer.Option(help="How long it may take to come up, in minutes.")]
PriceOption = Annotated[
    float | None, typer.Option(help="Dollars an hour for one replica, where the service names no price.")
]


@endpoint_app.command("up")
def endpoint_up(
    model: Annotated[str, typer.Argument(help="The model: ns/name@revision on huggingface.co.")],
    instance: Annotated[
        str, typer.Option(help="The hardware, such as aws-us-east-1-nvidia-l4-x1, or nvidia-l4-x1.")
    ],
    vllm: Annotated[bool, typer.Option("--vllm", help="Serve with vLLM in place of TGI.")] = False,
    name: Annotated[str | None, typer.Option(help="What to call it; made of the model by default.")] = None,
    replicas: Annotated[int, typer.Option(min=1, help="How many of the instance at most.")] = 1,
    idle: Annotated[
        int, typer.Option(min=0, help="Minutes without a request until it is scaled to zero; 0 never.")
    ] = 15,
    price: PriceOption = None,
    wait: WaitOption = 30,
    namespace: NamespaceOption = None,
) -> None:
    """Serve a model at a pinned revision on hired hardware, and wait for it; it costs until it is paused."""
    from hub_tools.endpoints.dedicated import HUGGING_FACE, Wanted
    from hub_tools.endpoints.hiring import bring_up
    from hub_tools.hub.repository import Hub

    service = _service(namespace)
    repo, _, revision = model.partition("@")
    wanted = Wanted(
        repo=repo,
        sha=Hub(HUGGING_FACE, service.token).pin(repo, "model", revision or None).sha,
        instance=instance,
        image="vllm" if vllm else "tgi",
        replicas=replicas,
        idle=idle or None,
    )
    url = bring_up(service, wanted, name or wanted.name, price, _say, wait * 60)
    typer.echo(url)


@endpoint_app.command("status")
def endpoint_status(
    name: Annotated[str | None, typer.Argument(help="One endpoint; all of them without.")] = None,
    namespace: NamespaceOption = None,
) -> None:
    """List the endpoints that backforth made: their state, what they cost, and who minds them."""
    from hub_tools.cli.show.endpoints import print_endpoints
    from hub_tools.endpoints.hiring import survey

    found = [one for one in survey(_service(namespace)) if name in (None, one.name)]
    if name and not found:
        raise BackforthError(f"there is no endpoint {name}; `backforth endpoint status` lists all")
    print_endpoints(console(), found)


@endpoint_app.command("pause")
def endpoint_pause(name: NameArgument, namespace: NamespaceOption = None) -> None:
    """Stop an endpoint; it costs nothing until it is resumed."""
    from hub_tools.endpoints.hiring import end

    end(_service(namespace), name, "pause", _say)


@endpoint_app.command("resume")
def endpoint_resume(
    name: NameArgument, price: PriceOption = None, wait: WaitOption = 30, namespace: NamespaceOption = None
) -> None:
    """Start a paused endpoint again, and wait until it answers."""
    from hub_tools.endpoints.hiring import resume

    typer.echo(resume(_service(namespace), name, price, _say, wait * 60))


@endpoint_app.command("down")
def endpoint_down(name: NameArgument, namespace: NamespaceOption = None) -> None:
    """Delete an endpoint for good; one that is gone already is as good."""
    from hub_tools.endpoints.hiring import end

    end(_service(namespace), name, "down", _say)


def _service(namespace: str | None) -> Dedicated:
    from huggingface_hub import get_token

    from hub_tools.endpoints.dedicated import HUGGING_FACE, Dedicated

    elsewhere = os.environ.get("HF_ENDPOINT", HUGGING_FACE).rstrip("/")
    if elsewhere != HUGGING_FACE:  # the token in HF_TOKEN is that Hub's
        raise BackforthError(
            f"HF_ENDPOINT is {elsewhere}, and dedicated endpoints serve models of {HUGGING_FACE}; unset it, "
            f"and set HF_TOKEN to a token of {HUGGING_FACE}"
        )
    return Dedicated(os.environ.get("HF_TOKEN") or get_token(), namespace)


def _say(text: str) -> None:
    typer.echo(text, err=True)
