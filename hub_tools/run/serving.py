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
from hub_tools.endpoints.failures import WrongModel
from hub_tools.endpoints.pool import Pool
from hub_tools.endpoints.wire import Info
from hub_tools.errors import EndpointDown
from hub_tools.hub.repository import Hub, Ref
from hub_tools.recipe import Recipe
from hub_tools.run.generate import Asked

ADAPTER_CONFIG = "adapter_config.json"


@dataclass(frozen=True, slots=True)
class Served:
    """What must be served so that a model answers: a base and, for an adapter, the adapter beside it."""

    base: str
    base_sha: str
    adapter: Ref | None


class Serving:
    """The endpoints of one run; use it as a context manager, since it ends the processes that it started."""

    def __init__(self, recipe: Recipe, hub: Hub, work: Path) -> None:
        self._recipe = recipe
        self._hub = hub
        self._work = work
        self._processes: dict[str, Any] = {}
        self._adapters: dict[str, dict[str, str]] = {}

    def __enter__(self) -> Serving:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.stop()

    def check(self, published: Container[str]) -> None:
        """Make sure that the endpoints with a URL answer, before anything runs.

        An endpoint for a model that this recipe is yet to train cannot be up; it is checked when needed.

        Raises:
            EndpointDown: one does not answer.
        """
        for name, section in self._recipe.file.endpoints.items():
            to_be_trained = section.model in self._recipe.file.stages and section.model not in published
            if section.urls and not to_be_trained:
                self._info(name, section.urls)

    def asked(self, name: str, model: Ref) -> Asked:
        """Return whom to ask at the endpoint `name`, which must serve `model`.

        Raises:
            EndpointDown: it does not answer, or serves something else.
        """
        section = self._recipe.file.endpoints[name]
        served = self._served(model)
        urls = section.urls or [self._embedded(served)]

        def check(info: Info) -> None:
            _check_model(name, info, served)

        info = self._info(name, urls, check)
        return Asked(
            urls=urls,
            name=model.repo if served.adapter or info.kind == "openai" else info.model_id,
            model=model.repo,
            sha=model.sha,
            kind=info.kind,
            timeout=section.timeout,
            tries=section.tries,
            patience=section.patience,
            concurrency=section.concurrency,
            token=_token() if section.urls else None,
            stop_when=section.stop_when,
            check=check,
        )

    def _served(self, model: Ref) -> Served:
        config = self._hub.read_json(model, ADAPTER_CONFIG)
        if config is None:
            return Served(model.repo, model.sha, None)
        base = self._hub.pin(config["base_model_name_or_path"], "model", config.get("revision"))
        return Served(base.repo, base.sha, model)

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

    def _info(self, name: str, urls: Sequence[str], check: Callable[[Info], None] = lambda _: None) -> Info:
        """Return what the first replica that answers says of itself; the pool meets all of them later."""

        async def ask() -> Info:
            pool = Pool([EndpointClient(url, _token()) for url in urls], check)
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


def _check_model(name: str, info: Info, served: Served) -> None:
    if info.model_id not in (served.base, served.adapter.repo if served.adapter else None):
        raise WrongModel(
            f"serves {info.model_id}, and endpoints.{name} of the recipe asks for {served.base}; serve that "
            f"model there"
        )
    if info.model_sha and info.model_id == served.base and info.model_sha != served.base_sha:
        raise WrongModel(
            f"serves {info.model_id} at {info.model_sha[:12]}, and endpoints.{name} of the recipe asks for "
            f"revision {served.base_sha[:12]}; start it with that revision"
        )


def _token() -> str | None:
    """Return the token for an endpoint, from the variable ENDPOINT_TOKEN; the Hub's token is for the Hub
    alone.
    """
    return os.environ.get("ENDPOINT_TOKEN")
