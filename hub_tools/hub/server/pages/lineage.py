"""What a repo is made of, as far back as this Hub and the viewer's rights reach."""

from __future__ import annotations

from collections import deque
from typing import Literal

from starlette.responses import Response

from dataset_cards.facts import Lineage, Step
from hub_tools.hub.server import refs
from hub_tools.hub.server.errors import HubError
from hub_tools.hub.server.http import find_repo
from hub_tools.hub.server.pages.render import count, href, trusted
from hub_tools.hub.server.pages.statements import Input, Record
from hub_tools.hub.server.pages.visit import VERSION, Visit, record_of

# Anybody's statements are followed: neither a long chain nor a wide one may hold up the page.
_MAX_STEPS = 100


def lineage_page(visit: Visit) -> Response:
    """The drawing, and the same as a list for those who cannot see it."""
    from dataset_cards.lineage import drawing

    found, whole = _walk(visit)
    return visit.show(
        "lineage",
        tab="lineage",
        lineage=found,
        drawing=trusted(drawing(found)),
        whole=whole,
    )


def _walk(visit: Visit) -> tuple[Lineage, bool]:
    """Follow the inputs of statements, each commit once; and whether that reached every end."""
    steps: list[Step] = []
    arrows: list[tuple[str, str]] = []
    start = Input(
        "", _address(visit.repo.kind, visit.repo.name, visit.oid), visit.repo.kind, visit.repo.name, visit.oid
    )
    waiting, known = deque([start]), {start.uri}
    while waiting and len(steps) < _MAX_STEPS:
        item = waiting.popleft()
        step, inputs = _step(visit, item)
        steps.append(step)
        for one in inputs:
            arrows.append((one.uri, item.uri))
            if one.uri not in known:
                known.add(one.uri)
                waiting.append(one)
    drawn = {step.key for step in steps}
    # The drawing wants the corpus first and the repo itself last.
    inside = [(a, b) for a, b in arrows if a in drawn and b in drawn]
    return Lineage(steps=_from_the_start(steps, inside), arrows=inside), not waiting


def _address(kind: str, name: str, oid: str) -> str:
    return f"hf://{'datasets/' if kind == 'dataset' else ''}{name}@{oid}"


def _step(visit: Visit, item: Input) -> tuple[Step, list[Input]]:
    if not item.repo:
        return Step(key=item.uri, title=item.uri or item.name, lines=[item.name], kind="file"), []
    sha = f"{item.sha[:8]}"
    try:
        repo = find_repo(visit.db, visit.call.viewer, item.kind, item.repo)
        oid = refs.resolve(visit.db, repo, item.sha)
    except HubError:
        return Step(key=item.uri, title=item.repo, lines=[sha, "not on this Hub"], kind="foreign"), []
    version = next(
        (
            ref.removeprefix(refs.TAG)
            for ref, at in refs.every(visit.db, repo)
            if at == oid and VERSION.fullmatch(ref.removeprefix(refs.TAG))
        ),
        "",
    )
    record = record_of(visit.call, visit.db, repo, oid)
    lines = [f"{version} · {sha}" if version else sha]
    link = href(repo.web_path, revision=version or oid)
    if record is None:
        return Step(key=item.uri, title=repo.name, lines=lines, kind="foreign", link=link), []
    lines = [repo.name, *lines, *([rows] if (rows := _rows(record)) else [])]
    kind: Literal["dataset", "model"] = "dataset" if repo.kind == "dataset" else "model"
    return Step(key=item.uri, title=record.node or repo.name, lines=lines, kind=kind, link=link), list(
        record.inputs
    )


def _rows(record: Record) -> str:
    if not record.read or record.kept is None:
        return ""
    return f"{count(record.kept)} of {count(record.read)} rows kept"


def _from_the_start(steps: list[Step], arrows: list[tuple[str, str]]) -> list[Step]:
    """The steps in an order in which each comes after those that it was made of."""
    before = {step.key: {a for a, b in arrows if b == step.key and a != b} for step in steps}
    ordered: list[Step] = []
    left = list(reversed(steps))
    while left:
        done = {step.key for step in ordered}
        # A circle cannot be made by commits, only by statements that lie: it is cut anywhere.
        ready = next((step for step in left if before[step.key] <= done), left[0])
        ordered.append(ready)
        left.remove(ready)
    return ordered
