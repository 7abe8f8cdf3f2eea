"""Finds who answers for an endpoint of the recipe: the server at its URL, or the embedded one, started when
first asked.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub_tools.endpoints.client import EndpointClient
from hub_tools.endpoints.dedicated import MOUNTED
from hub_tools.endpoints.failures import WrongModel
from hub_tools.endpoints.pool import Pool
from hub_tools.endpoints.wire import Info
from hub_tools.errors import EndpointDown
from hub_tools.hub.repository import Hub, Ref
from hub_tools.recipe import Recipe
from hub_tools.run.generation.dedicated import Hired
from hub_tools.run.generation.generate import Asked

ADAPTER_CONFIG = "adapter_config.json"


@dataclass(frozen=True, slots=True)
class Served:
    """What must be served so that a model answers: a base and, for an adapter, the adapter beside it."""

    base: str
    base_sha: str
    adapter: Ref | None


@dataclass(frozen=True, slots=True)
class Expected:
    """What the replicas of an endpoint must say that they serve; plain values, so that tasks take it along.

    A `mounted` model is one whose name a dedicated endpoint does not know; its service says what it is.
    """

    endpoint: str
    base: str
    base_sha: str
    adapter: str | None
    mounted: bool

    def __call__(self, info: Info) -> None:
        """Check one replica.

        Raises:
            WrongModel: it serves something else.
        """
        if self.mounted and info.model_id == MOUNTED:
            return
        if info.model_id not in (self.base, self.adapter):
            raise WrongModel(
                f"serves {info.model_id}, and endpoints.{self.endpoint} of the recipe asks for {self.base}; "
                f"serve that model there"
            )
        if info.model_sha and info.model_id == self.base and info.model_sha != self.base_sha:
            raise WrongModel(
                f"serves {info.model_id} at {info.model_sha[:12]}, and endpoints.{self.endpoint} of the "
                f"recipe asks for revision {self.base_sha[:12]}; start it with that revision"
            )


class Serving:
    """The endpoints of one run; use it as a context manager, since it ends what it started: processes, and
    dedicated endpoints, of which `say` tells.
    """

    def __init__(
        self, recipe: Recipe, hub: Hub, work: Path, say: Callable[[str], None] = lambda _: None
    ) -> None:
        self._recipe = recipe
        self._hub = hub
        self._work = work
        self._processes: dict[str, Any] = {}
        self._adapters: dict[str, dict[str, str]] = {}
        self.hired = Hired(recipe, hub, say)

    def __enter__(self) -> Serving:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            for process in self._processes.values():
                process.stop()
        finally:
            self.hired.end(failed=kind is not None)

    def check(self, published: Container[str]) -> None:
        """Make sure that the endpoints with a URL answer, before anything runs.

        An endpoint for a model that this recipe is yet to train cannot be up; it is checked when needed.

        Raises:
            EndpointDown: one does not answer, or cannot be had.
        """
        self.hired.check()
        for name, section in self._recipe.file.endpoints.items():
            to_be_trained = section.model in self._recipe.file.stages and section.model not in published
            if section.urls and not to_be_trained:
                self._info(name, section.urls, _token())

    def asked(self, name: str, model: Ref) -> Asked:
        """Return whom to ask at the endpoint `name`, which must serve `model`.

        Raises:
            EndpointDown: it does not answer, or serves something else.
        """
        section = self._recipe.file.endpoints[name]
        served = self._served(model)
        urls, token = section.urls, _token()
        if section.dedicated:
            urls = [self._dedicated(name, served)]
            token = token or self.hired.service.token_for(urls[0])
        elif not urls:
            urls, token = [self._embedded(served)], None
        adapter = served.adapter.repo if served.adapter else None
        check = Expected(name, served.base, served.base_sha, adapter, mounted=bool(section.dedicated))
        info = self._info(name, urls, token, check)
        own_name = not section.dedicated and (served.adapter or info.kind == "openai")
        return Asked(
            urls=urls,
            name=model.repo if own_name else info.model_id,
            model=model.repo,
            sha=model.sha,
            kind=info.kind,
            timeout=section.timeout,
            tries=section.tries,
            patience=section.patience,
            concurrency=section.concurrency,
            token=token,
            stop_when=section.stop_when,
            check=check,
        )

    def _served(self, model: Ref) -> Served:
        config = self._hub.read_json(model, ADAPTER_CONFIG)
        if config is None:
            return Served(model.repo, model.sha, None)
        base = self._hub.pin(config["base_model_name_or_path"], "model", config.get("revision"))
        return Served(base.repo, base.sha, model)

    def _dedicated(self, name: str, served: Served) -> str:
        if served.adapter:
            raise EndpointDown(
                f"endpoints.{name}: {served.adapter.repo} is a LoRA adapter, and a dedicated endpoint serves "
                f"whole models; train it with merge: true"
            )
        return self.hired.url(name, Ref("model", served.base, served.base_sha))

    def _embedded(self, served: Served) -> str:
        """Return the address of the process that serves a base; one more adapter means starting it anew."""
        from hub_tools.endpoints.server import EndpointServerError, ServerOptions
        from hub_tools.endpoints.server.process import EndpointProcess

        base = f"{served.base}@{served.base_sha}"
        adapters = self._adapters.setdefault(base, {})
        wanted = (
            {served.adapter.repo: f"{served.adapter.repo}@{served.adapter.sha}"} if served.adapter else {}
        )
        process = self._processes.get(base)
        if process is None or not process.alive or not wanted.items() <= adapters.items():
            if process is not None:
                process.stop()
            adapters.update(wanted)
            options = ServerOptions(model=base, adapters=dict(adapters), threads=os.cpu_count())
            try:
                process = EndpointProcess.start(options, self._environment(), self._work / "endpoint.log")
            except EndpointServerError as error:
                raise EndpointDown(f"the embedded endpoint did not start: {error}") from error
            self._processes[base] = process
        return str(process.url)

    def _environment(self) -> Mapping[str, str]:
        environment = {**os.environ, "HF_ENDPOINT": self._hub.endpoint, "HF_HUB_DISABLE_TELEMETRY": "1"}
        if self._hub.token:
            environment["HF_TOKEN"] = self._hub.token
        return environment

    def _info(
        self,
        name: str,
        urls: Sequence[str],
        token: str | None,
        check: Callable[[Info], None] = lambda _: None,
    ) -> Info:
        """Return what the first replica that answers says of itself; the pool meets all of them later."""

        async def ask() -> Info:
            pool = Pool([EndpointClient(url, token) for url in urls], check)
            async with pool:
                return next(replica.info for replica in pool.replicas if replica.info)

        try:
            return asyncio.run(ask())
        except WrongModel:
            raise
        except EndpointDown as error:
            model = self._recipe.file.endpoints[name].model
            raise EndpointDown(
                f"endpoints.{name}: {error}; serve {model} there, or mend endpoints.{name}.url"
            ) from error


def _token() -> str | None:
    """Return the token for an endpoint, from the variable ENDPOINT_TOKEN; the Hub's token is for the Hub
    alone.
    """
    return os.environ.get("ENDPOINT_TOKEN")
