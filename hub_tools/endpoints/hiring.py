"""Dedicated endpoints that a person minds: bring one up, end it, and see what runs and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from hub_tools.endpoints import leases
from hub_tools.endpoints.dedicated import ASLEEP, FREE, Dedicated, Wanted, instance_of, serves
from hub_tools.endpoints.leases import AtEnd, Lease
from hub_tools.errors import EndpointDown

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """An endpoint in words: what it is, costs (dollars), and who minds it; `warning` where nobody does."""

    name: str
    model: str
    instance: str
    state: str
    per_hour: str = ""
    since: str = ""
    cost: str = ""
    minded_by: str = ""
    warning: str = ""


def bring_up(
    service: Dedicated, wanted: Wanted, name: str, price: float | None, say: Say, timeout: float
) -> str:
    """Create an endpoint, or resume it if it is there; return its address once it answers.

    Raises:
        EndpointDown: there is another model under that name, no known price, or it does not come up.
    """
    found = service.find(name)
    if found and not serves(found, wanted):
        raise EndpointDown(
            f"{name} serves {found.repository}@{found.revision}; take it down first, or give another --name"
        )
    if found:
        return resume(service, name, price, say, timeout)
    on = service.room(wanted, name)
    _begin(service, name, price or on.price_per_hour, wanted.replicas, say)
    return str(service.wait(service.create(wanted, name), say, timeout).url)


def resume(service: Dedicated, name: str, price: float | None, say: Say, timeout: float) -> str:
    """Start an endpoint again if it does not run; return its address once it answers.

    Raises:
        EndpointDown: there is none of that name, no known price, or it does not come up.
    """
    found = service.get(name)
    if found.status in ASLEEP:
        replicas = int(found.raw["compute"]["scaling"]["maxReplica"])
        _begin(service, name, price or service.hardware(instance_of(found)).price_per_hour, replicas, say)
        found = service.wake(name)
    return str(service.wait(found, say, timeout).url)


def end(service: Dedicated, name: str, how: AtEnd, say: Say) -> None:
    """Pause or delete an endpoint, and say what it cost as far as that is known.

    Raises:
        EndpointDown: there is none of that name to pause, or the service fails; it may cost on.
    """
    if how == "pause":
        service.get(name)
        service.pause(name)
    else:
        service.delete(name)
    lease = leases.read(service.namespace, name)
    leases.forget(service.namespace, name)
    cost = f"; it cost about ${lease.cost:.2f}" if lease else ""
    say(f"{name} is {'paused' if how == 'pause' else 'deleted'}{cost}")


def survey(service: Dedicated) -> Iterator[Survey]:
    """Tell of every endpoint that the service or a record knows; records of what costs nothing are dropped.

    Raises:
        EndpointDown: the service does not answer; the message names what the records know of.
    """
    records = {lease.name: lease for lease in leases.known(service.namespace)}
    try:
        found = {one.name: one for one in service.ours()}
    except EndpointDown as error:
        left = ", ".join(name for name, lease in records.items() if not leases.minded(lease))
        raise EndpointDown(f"{error}; the records say that these may run: {left or 'none'}") from error
    for name, one in sorted(found.items()):
        lease = records.pop(name, None)
        state = str(one.status)
        if lease and state in FREE and not leases.minded(lease):
            leases.forget(lease.namespace, name)
            lease = None
        seen = {"name": name, "model": f"{one.repository}@{str(one.revision)[:12]}", "state": state}
        yield Survey(**seen, instance=instance_of(one), **_told(lease, state))
    for name, lease in records.items():
        if not leases.minded(lease):
            leases.forget(lease.namespace, name)


def _begin(service: Dedicated, name: str, each: float | None, replicas: int, say: Say) -> None:
    """Write the endpoint down before it costs anything."""
    if not each:
        raise EndpointDown(f"the service names no price for the instance of {name}; give --price")
    leases.note(
        Lease(
            name=name,
            namespace=service.namespace,
            per_hour=each * replicas,
            at_end=None,
            by="the command line",
        )
    )
    say(f"{name} costs up to ${each * replicas:.2f} an hour until `backforth endpoint pause {name}`")


def _told(lease: Lease | None, state: str) -> dict[str, str]:
    if lease is None:
        return {}
    minded, ends = leases.minded(lease), lease.at_end is not None
    told = {
        "per_hour": f"{lease.per_hour:.2f}",
        "since": datetime.fromtimestamp(lease.started, UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cost": f"{lease.cost:.2f}",
        "minded_by": f"process {lease.process} on {lease.host}" if minded else "nobody" if ends else "you",
    }
    if ends and not minded:
        told["warning"] = (
            f"{lease.name} was left {state} by a run of {lease.by} (process {lease.process}, {lease.host}), "
            f"which was killed; it costs on until `backforth endpoint pause {lease.name}`, or until that run "
            f"goes on and ends"
        )
    return told
