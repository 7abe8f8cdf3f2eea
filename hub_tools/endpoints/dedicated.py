"""Hugging Face Inference Endpoints: one model at a pinned revision, on hardware that is paid by the hour."""

from __future__ import annotations

import asyncio
import difflib
import hashlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from urllib.parse import urlsplit

from hub_tools.endpoints.client import EndpointClient
from hub_tools.errors import EndpointDown

if TYPE_CHECKING:
    from huggingface_hub import HfApi, InferenceEndpoint
    from huggingface_hub._inference_endpoints import InferenceEndpointHardware

Result = TypeVar("Result")
Image = Literal["tgi", "vllm"]

HUGGING_FACE = "https://huggingface.co"  # whose models it serves, and whose token it takes
OWN_HOSTS = ".endpoints.huggingface.cloud"
MOUNTED = "/repository"  # where it puts the model, which is what the server there calls it
TAG = "backforth"
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
IMAGES: dict[Image, dict[str, Any]] = {
    "tgi": {"tgi": {"url": "ghcr.io/huggingface/text-generation-inference:3.3.7", "port": 80}},
    "vllm": {"vLLM": {"url": "vllm/vllm-openai:v0.23.0", "port": 8000}},
}
TO_BE_HAD = ("available", "low_availability", "reserved")
ASLEEP = ("paused", "scaledToZero")
BROKEN = ("failed", "updateFailed")
FREE = ("paused", "failed")  # states that cost nothing until a person does something
POLL = 5.0  # seconds between two looks at an endpoint that comes up
TRIES, PAUSE = 5, 1.0  # of a call that fails in a way that may pass; seconds before the second


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be served, and on what; `idle` is in minutes, after which it is scaled to zero."""

    repo: str
    sha: str
    instance: str
    image: Image = "tgi"
    replicas: int = 1
    idle: int | None = 15

    @property
    def name(self) -> str:
        """A name that tells the model, and differs for anything else wanted; the service takes 32 signs."""
        content = repr((self.repo, self.sha, self.instance, self.image, self.replicas))
        model = re.sub(r"[^a-z0-9]+", "-", self.repo.rpartition("/")[2].lower()).strip("-")
        return f"bf-{model[:20].strip('-')}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"


class Dedicated:
    """The Inference Endpoints of one namespace (the token's own by default)."""

    def __init__(self, token: str | None, namespace: str | None = None) -> None:
        self.token = token
        self._given = namespace

    @cached_property
    def api(self) -> HfApi:
        """The client of huggingface_hub, bound to this token alone."""
        from huggingface_hub import HfApi

        return HfApi(endpoint=HUGGING_FACE, token=self.token or False, library_name="backforth")

    @cached_property
    def namespace(self) -> str:
        """Whose endpoints these are."""
        if not self.token:
            raise EndpointDown("Inference Endpoints need a token of huggingface.co; set HF_TOKEN")
        return self._given or str(self._ask("the token", self.api.whoami)["name"])

    def hardware(self, instance: str) -> InferenceEndpointHardware:
        """Return what `aws-us-east-1-nvidia-l4-x1` names, or `nvidia-l4-x1` where it is cheapest.

        Raises:
            EndpointDown: there is none of that name, or none to be had.
        """
        listed = self._ask(
            "the list of hardware",
            lambda: self.api.list_inference_endpoints_hardware(namespace=self.namespace),
        )
        named = [one for one in listed if instance in (one.id, f"{one.instance_type}-{one.instance_size}")]
        found = [one for one in named if one.status in TO_BE_HAD]
        if found:
            return min(found, key=lambda one: (one.price_per_hour, one.id))
        if named:
            raise EndpointDown(
                f"the instance {instance} is {named[0].status.replace('_', ' ')}; take another"
            )
        ids = [one.id for one in listed if one.status in TO_BE_HAD]
        close = difflib.get_close_matches(instance, ids, n=3, cutoff=0.3) or ids[:3]
        raise EndpointDown(f"there is no instance {instance}; there are {', '.join(close)} and others")

    def find(self, name: str) -> InferenceEndpoint | None:
        """Return an endpoint as it is now, None if there is none of that name."""
        from huggingface_hub.errors import HfHubHTTPError

        try:
            return self._ask(
                f"the endpoint {name}",
                lambda: self.api.get_inference_endpoint(name, namespace=self.namespace),
                passing=True,
            )
        except HfHubHTTPError as error:
            if error.response.status_code == 404:
                return None
            raise EndpointDown(f"the endpoint {name}: {_line(error)}") from error

    def get(self, name: str) -> InferenceEndpoint:
        """Return an endpoint as it is now.

        Raises:
            EndpointDown: there is none of that name.
        """
        found = self.find(name)
        if found is None:
            raise EndpointDown(
                f"{self.namespace} has no endpoint {name}; `backforth endpoint status` lists them"
            )
        return found

    def ours(self) -> list[InferenceEndpoint]:
        """Return all endpoints of the namespace that this package made."""
        listed = self._ask(
            "the list of endpoints", lambda: self.api.list_inference_endpoints(namespace=self.namespace)
        )
        return [one for one in listed if TAG in (one.raw.get("tags") or [])]

    def room(self, wanted: Wanted, name: str) -> InferenceEndpointHardware:
        """Return the hardware for what is wanted under a name.

        Raises:
            EndpointDown: the name cannot be had, there is no such hardware, or the quota has too little left.
        """
        if not NAME.fullmatch(name):
            raise EndpointDown(f"the name {name!r} cannot be had; take a-z, 0-9 and -, 32 signs at most")
        on = self.hardware(wanted.instance)
        needed, left = on.num_accelerators * wanted.replicas, on.max_accelerators - on.used_accelerators
        if needed > left:
            raise EndpointDown(
                f"{wanted.replicas} x {on.id} needs {needed} accelerators, and the quota of {self.namespace} "
                f"has {max(0, left)} left; take fewer replicas, or another instance"
            )
        return on

    def create(self, wanted: Wanted, name: str) -> InferenceEndpoint:
        """Ask for an endpoint; it costs from now on. For what cannot be had, see `room`."""
        on = self.room(wanted, name)
        return self._ask(
            f"creating {name}",
            lambda: self.api.create_inference_endpoint(
                name,
                namespace=self.namespace,
                repository=wanted.repo,
                revision=wanted.sha,
                framework="pytorch",
                task="text-generation",
                accelerator=on.accelerator,
                instance_type=on.instance_type,
                instance_size=on.instance_size,
                vendor=on.vendor,
                region=on.region,
                min_replica=wanted.replicas if wanted.idle is None else 0,
                max_replica=wanted.replicas,
                scale_to_zero_timeout=wanted.idle,
                custom_image=IMAGES[wanted.image],
                tags=[TAG],
                token=self.token,
            ),
            once=True,
        )

    def wake(self, name: str) -> InferenceEndpoint:
        """Resume a paused endpoint, or one that was scaled to zero; it costs from now on."""
        return self._ask(f"resuming {name}", lambda: self._bound(self.api.resume_inference_endpoint, name))

    def pause(self, name: str) -> None:
        """Stop an endpoint; it costs nothing until it is resumed."""
        self._ask(f"pausing {name}", lambda: self._bound(self.api.pause_inference_endpoint, name))

    def delete(self, name: str) -> None:
        """Take an endpoint down for good; one that is gone already is as good."""
        if self.find(name):
            self._ask(f"deleting {name}", lambda: self._bound(self.api.delete_inference_endpoint, name))

    def wait(
        self, endpoint: InferenceEndpoint, tell: Callable[[str], None], timeout: float
    ) -> InferenceEndpoint:
        """Return once an endpoint answers; `tell` hears of its state at each look.

        Raises:
            EndpointDown: it failed, was paused meanwhile, or is not up after `timeout` seconds.
        """
        began = time.monotonic()
        while not self._answers(endpoint):
            state, waited = str(endpoint.status), time.monotonic() - began
            if state in BROKEN or (state == "paused" and waited > POLL):
                raise EndpointDown(f"the endpoint {endpoint.name} is {state}{_told(endpoint)}")
            if waited > timeout:
                raise EndpointDown(
                    f"the endpoint {endpoint.name} is still {state} after {waited / 60:.0f} minutes"
                    f"{_told(endpoint)}"
                )
            tell(f"{endpoint.name}: {state}{_told(endpoint)}, {waited:.0f} s")
            time.sleep(POLL)
            endpoint = self.get(endpoint.name)
        return endpoint

    def token_for(self, url: str) -> str | None:
        """Return the token for requests to an endpoint: this one's, for the service's own hosts alone."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        trusted = (parts.scheme == "https" and host.endswith(OWN_HOSTS)) or host == "127.0.0.1"
        return self.token if trusted else None

    def _answers(self, endpoint: InferenceEndpoint) -> bool:
        url = endpoint.url
        if endpoint.status != "running" or not url:
            return False

        async def ask() -> bool:
            async with EndpointClient(url, self.token_for(url), timeout=10) as client:
                await client.info()
                return await client.healthy()

        try:
            return asyncio.run(ask())
        except EndpointDown:
            return False

    def _bound(self, call: Callable[..., Result], name: str) -> Result:
        return call(name, namespace=self.namespace, token=self.token)

    def _ask(
        self, what: str, ask: Callable[[], Result], *, passing: bool = False, once: bool = False
    ) -> Result:
        """Call the service, again where that may help; any failure becomes one line that names `what`."""
        from huggingface_hub.errors import HfHubHTTPError

        for tried in range(TRIES):
            try:
                return ask()
            except HfHubHTTPError as error:
                passes = error.response.status_code in (429, 500, 502, 503, 504)
                if once or not passes or tried == TRIES - 1:
                    if passing:
                        raise
                    raise EndpointDown(f"{what}: {_line(error)}") from error
            except (KeyError, TypeError, ValueError) as error:
                raise EndpointDown(f"{what}: the answer cannot be read ({_line(error)})") from error
            except Exception as error:
                if not type(error).__module__.startswith(("httpx", "httpcore")) and not isinstance(
                    error, OSError
                ):
                    raise
                if once or tried == TRIES - 1:
                    raise EndpointDown(f"{what}: no answer ({_line(error)}); is the network up?") from error
            time.sleep(PAUSE * 2**tried)
        raise AssertionError("unreachable")


def instance_of(endpoint: InferenceEndpoint) -> str:
    """Return the id of an endpoint's hardware."""
    compute, provider = endpoint.raw.get("compute") or {}, endpoint.raw.get("provider") or {}
    parts = (
        provider.get("vendor"),
        provider.get("region"),
        compute.get("instanceType"),
        compute.get("instanceSize"),
    )
    return "-".join(str(part) for part in parts if part)


def serves(endpoint: InferenceEndpoint, wanted: Wanted) -> bool:
    """Whether an endpoint holds the wanted model at the wanted revision."""
    return (endpoint.repository, endpoint.revision) == (wanted.repo, wanted.sha)


def _told(endpoint: InferenceEndpoint) -> str:
    message = " ".join(str((endpoint.raw.get("status") or {}).get("message") or "").split())[:200]
    shown = "".join(sign for sign in message if sign.isprintable())
    return f" ({shown})" if shown else ""


def _line(error: BaseException) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    text = " ".join(str(getattr(error, "server_message", None) or error).split())[:300]
    shown = "".join(sign for sign in text if sign.isprintable()) or type(error).__name__
    return f"{status}: {shown}" if status else shown
