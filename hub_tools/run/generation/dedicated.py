"""Dedicated endpoints of a run: started when first asked for, ended when the run ends, however it ends."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from hub_tools.endpoints import leases
from hub_tools.endpoints.dedicated import ASLEEP, HUGGING_FACE, Dedicated, Wanted, serves
from hub_tools.endpoints.leases import AtEnd, Held, Lease
from hub_tools.errors import BackforthError, EndpointDown, RecipeError
from hub_tools.hub.repository import Hub, Ref
from hub_tools.recipe import DedicatedSection, Recipe

ENDINGS = (signal.SIGTERM, signal.SIGHUP)
SAY_EVERY = 60.0  # seconds


class Hired:
    """The endpoints that this run has started and must end; `say` tells the user what costs money."""

    def __init__(self, recipe: Recipe, hub: Hub, say: Callable[[str], None]) -> None:
        self._recipe = recipe
        self._hub = hub
        self._say = say
        self._held: dict[str, Held] = {}
        self._handlers: dict[signal.Signals, Any] = {}

    @cached_property
    def service(self) -> Dedicated:
        """The service, under the recipe's namespace."""
        return Dedicated(self._hub.token, self._recipe.file.namespace)

    def check(self) -> None:
        """Make sure that every dedicated endpoint can be started, before anything runs.

        Raises:
            RecipeError: the recipe's Hub is not the one whose models they serve, or a price is not known.
            EndpointDown: the service does not have the instance, or does not answer.
        """
        for name, section in self._recipe.file.endpoints.items():
            if section.dedicated:
                if self._hub.endpoint != HUGGING_FACE:
                    raise RecipeError(
                        f"{self._recipe.where}: endpoints.{name}.dedicated serves models of {HUGGING_FACE}, "
                        f"and hub.endpoint is {self._recipe.file.hub.endpoint}; publish there, or give a url"
                    )
                self.per_hour(name)

    def per_hour(self, name: str) -> float:
        """Return what an endpoint costs for every hour that it is up, in dollars: as the recipe says, else as
        the service does.
        """
        section = self._recipe.file.endpoints[name]
        assert section.dedicated is not None
        if section.price and section.price.per_hour:
            return section.price.per_hour
        each = self.service.hardware(section.dedicated.instance).price_per_hour
        if not each:
            raise RecipeError(
                f"{self._recipe.where}: the service names no price for {section.dedicated.instance}; set "
                f"endpoints.{name}.price.per_hour"
            )
        return each * section.dedicated.replicas

    def url(self, name: str, model: Ref) -> str:
        """Return the address of a dedicated endpoint once it answers; it is started or resumed as needed.

        Raises:
            EndpointDown: it does not come up; it is ended like the others.
        """
        section = self._recipe.file.endpoints[name]
        asked = section.dedicated
        assert asked is not None
        wanted = _wanted(asked, model)
        found = self.service.find(wanted.name)
        if found and not serves(found, wanted):
            raise EndpointDown(
                f"endpoints.{name}: {wanted.name} serves {found.repository}@{found.revision}, not "
                f"{model.repo}@{model.sha}; take it down with `backforth endpoint down {wanted.name}`"
            )
        if wanted.name not in self._held:
            record = leases.read(self.service.namespace, wanted.name)
            awake = found is not None and found.status not in ASLEEP
            if (awake and record is None) or (record and record.at_end is None):
                self._say(f"{wanted.name} is there already; this run leaves it as it is at its end")
            else:  # a record with an end is what a killed run left: this one minds it now
                self._hold(name, wanted, asked.at_end if record or found is None else "pause")
        if found is None:
            found = self.service.create(wanted, wanted.name)
        elif found.status in ASLEEP:
            found = self.service.wake(wanted.name)
        return str(self.service.wait(found, self._seldom(), asked.patience * 60).url)

    def end(self, *, failed: bool) -> None:
        """Pause or delete every endpoint that this run started; `failed` says that there is an error already.

        Raises:
            EndpointDown: one could not be ended, and costs on; its record stays.
        """
        troubles = []
        with _undisturbed():
            for name, held in self._held.items():
                try:
                    self._end(held)
                except BackforthError as error:
                    held.left()
                    lease = held.lease
                    troubles.append(
                        f"{name} could not be ended ({error}) and costs ${lease.per_hour:.2f} an hour; end "
                        f"it with `backforth endpoint {lease.at_end} {name} --namespace {lease.namespace}`"
                    )
        self._held.clear()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()
        for trouble in troubles if failed else troubles[1:]:
            self._say(trouble)
        if troubles and not failed:
            raise EndpointDown(troubles[0])

    def _hold(self, name: str, wanted: Wanted, at_end: AtEnd) -> None:
        lease = Lease(
            name=wanted.name,
            namespace=self.service.namespace,
            per_hour=self.per_hour(name),
            at_end=at_end,
            by=f"{self._recipe.file.namespace}/{self._recipe.file.name}",
        )
        self._held[wanted.name] = leases.hold(lease)
        self._mind_signals()
        self._say(
            f"endpoints.{name}: {wanted.name} on {wanted.replicas} x {wanted.instance}, "
            f"${lease.per_hour:.2f} an hour from now on; it is "
            f"{'paused' if lease.at_end == 'pause' else 'deleted'} when this run ends"
        )

    def _end(self, held: Held) -> None:
        lease = held.lease
        there = self.service.find(lease.name)
        if there and lease.at_end == "down":
            self.service.delete(lease.name)
        elif there and there.status != "paused":
            self.service.pause(lease.name)
        held.ended()
        if there:
            done = "deleted" if lease.at_end == "down" else "paused"
            minutes = (time.time() - lease.started) / 60
            self._say(f"{lease.name} is {done} after {minutes:.1f} minutes: about ${lease.cost:.2f}")

    def _mind_signals(self) -> None:
        """End as after Ctrl-C when the process is told to end; what was told to be ignored stays ignored."""
        if threading.current_thread() is threading.main_thread() and not self._handlers:
            for number in ENDINGS:
                if signal.getsignal(number) == signal.SIG_DFL:
                    interrupt = lambda *_: signal.raise_signal(signal.SIGINT)  # noqa: E731
                    self._handlers[number] = signal.signal(number, interrupt)

    def _seldom(self) -> Callable[[str], None]:
        """Return what tells of a state when it is another, or a minute has gone by."""
        last = ("", 0.0)

        def tell(text: str) -> None:
            nonlocal last
            state, now = text.rpartition(",")[0], time.monotonic()
            if state != last[0] or now - last[1] >= SAY_EVERY:
                last = (state, now)
                self._say(text)

        return tell


def _wanted(section: DedicatedSection, model: Ref) -> Wanted:
    return Wanted(
        repo=model.repo,
        sha=model.sha,
        instance=section.instance,
        image=section.image,
        replicas=section.replicas,
        idle=section.idle,
    )


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let no signal break off what ends the costs."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, *ENDINGS)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
