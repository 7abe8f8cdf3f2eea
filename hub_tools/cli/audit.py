"""The verbs that look back: `versions`, `lineage`, `trace`, `verify`, `replay`."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from hub_tools.cli.app import LOOK_BACK, app, console
from hub_tools.errors import BackforthError

if TYPE_CHECKING:
    from hub_tools.hub.repository import Hub

RepoArgument = Annotated[
    str,
    typer.Argument(
        help="A dataset or model: namespace/name, or namespace/name@revision; `datasets/` or `models/` "
        "in front says which, where both exist.",
        metavar="REPO[@REV]",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
StoreOption = Annotated[
    Path,
    typer.Option(help="Folder of the embedded Hub; used where HF_ENDPOINT is not set and that Hub is up."),
]
SourceOption = Annotated[
    Optional[list[Path]],  # noqa: UP045  (typer reads it)
    typer.Option(help="File or folder with local source files, found by their sha256; may be repeated."),
]
DEFAULT_STORE = Path(".backforth/hub")


@app.command(rich_help_panel=LOOK_BACK)
def versions(repo: RepoArgument, as_json: JsonOption = False, store: StoreOption = DEFAULT_STORE) -> None:
    """List the versions of a repo: when, how many rows, and what changed from one to the next."""
    from hub_tools.cli.show.versions import print_versions, versions_json
    from hub_tools.hub.versions import versions as found

    hub = _hub(store)
    ref = hub.locate(repo)
    listed = list(found(hub, ref.repo, ref.kind))
    if not listed:
        raise BackforthError(f"{ref.kind} {ref.repo} has no version: no tag v1, v2, …")
    if as_json:
        _print_json(versions_json(listed))
    else:
        print_versions(console(), ref, listed)


@app.command(rich_help_panel=LOOK_BACK)
def lineage(
    repo: RepoArgument,
    svg: Annotated[
        Path | None, typer.Option(help="Write the drawing to this file, as the cards show it.")
    ] = None,
    as_json: JsonOption = False,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Show everything that a repo was made of, back to the corpus: node, version, commit, rows."""
    from hub_tools.cli.show.lineage import chain_json, draw_chain, print_chain
    from hub_tools.hub.lineage import Walker

    hub = _hub(store)
    chain = Walker(hub).chain(hub.locate(repo))
    if svg:
        svg.write_text(draw_chain(hub, chain), encoding="utf-8")
    if as_json:
        _print_json(chain_json(chain))
    else:
        print_chain(console(), chain)


@app.command(rich_help_panel=LOOK_BACK)
def trace(
    repo: RepoArgument,
    row_id: Annotated[str, typer.Argument(help="The row's `id`, 16 hexadecimal digits.")],
    full: Annotated[bool, typer.Option(help="Show long texts whole.")] = False,
    as_json: JsonOption = False,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Show one row's life: its web page, instruction, score and judgement, rewrite, mix.

    REPO may be any dataset or model of the run; the row is followed back from there.
    """
    from hub_tools.cli.show.trace import print_trace, trace_json
    from hub_tools.hub.trace import trace as follow

    hub = _hub(store)
    stops = follow(hub, hub.locate(repo), row_id)
    if as_json:
        _print_json(trace_json(stops))
    else:
        print_trace(console(), hub, stops, full)


@app.command(rich_help_panel=LOOK_BACK)
def verify(
    repo: RepoArgument,
    source: SourceOption = None,
    statement: Annotated[
        str | None,
        typer.Option(help="The sha256 that the repo's own statement must have, as you got it elsewhere."),
    ] = None,
    as_json: JsonOption = False,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Recompute the sha256 of every file against the provenance statements, all the way down.

    Names the repo, file and row group that does not match, and ends with exit code 1 then. Nothing is taken
    from a cache: every byte comes from the Hub. Says what could not be checked.
    """
    from hub_tools.cli.show.verify import Watch, print_checked, verify_json
    from hub_tools.hub.verify import verify as check

    if statement and not re.fullmatch("[0-9a-fA-F]{64}", statement):
        raise BackforthError(f"--statement {statement!r}: a sha256 has 64 hexadecimal digits")
    hub = _hub(store)
    ref = hub.locate(repo)
    with Watch("verifying") as watch:
        checked = list(check(hub, ref, source or [], statement, watch.count))
    if as_json:
        _print_json(verify_json(checked))
    else:
        print_checked(console(), ref, checked, watch.seconds)
    if any(found.broken for found in checked):
        raise typer.Exit(1)


@app.command(rich_help_panel=LOOK_BACK)
def replay(
    repo: RepoArgument,
    source: SourceOption = None,
    endpoint: Annotated[
        str | None,
        typer.Option(help="Address of a server with the node's model; the embedded endpoint by default."),
    ] = None,
    as_json: JsonOption = False,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Run a published node again from its own provenance, and say whether it makes the same.

    Nothing is published. Rows are compared one by one, weights tensor by tensor; the first difference is
    shown, and the exit code is 1 then.
    """
    from hub_tools.run.progress import Display
    from hub_tools.run.replay.replay import replay as run_again

    hub = _hub(store)
    display = Display()
    with display.live():
        found = run_again(hub, repo, source or [], endpoint, display.node("replay"))
    if as_json:
        _print_json(found.record())
    else:
        out = console()
        for sentence in found.sentences():
            out.print(sentence, markup=False, highlight=False, soft_wrap=True)
        verdict = "identical" if found.identical else "not identical"
        out.print(f"[bold]{found.ref.name}[/] ({found.node}): {verdict}, replayed in {found.seconds:.0f} s")
    if not found.identical:
        raise typer.Exit(1)


def _hub(store: Path) -> Hub:
    """The Hub of HF_ENDPOINT and HF_TOKEN; without them the embedded one of this folder, if it is up."""
    from huggingface_hub import get_token

    from hub_tools.hub.repository import Hub
    from hub_tools.recipe import HubSection

    if not os.environ.get("HF_ENDPOINT"):
        from hub_tools.hub.server.daemon import running

        address = running(store)
        if address:
            return Hub(address.endpoint, address.token)
    return Hub(HubSection().endpoint, get_token())


def _print_json(document: Any) -> None:
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
