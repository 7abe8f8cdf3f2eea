"""Files at a revision: a folder's entries, and one file as text, picture or columns."""

from __future__ import annotations

import mimetypes
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.responses import RedirectResponse, Response

from hub_tools.hub.server import cards, commits, wire
from hub_tools.hub.server.commits import Commit
from hub_tools.hub.server.errors import entry_not_found
from hub_tools.hub.server.pages.insides import insides
from hub_tools.hub.server.pages.markdown import rendered
from hub_tools.hub.server.pages.render import count, size
from hub_tools.hub.server.pages.tables import form_of
from hub_tools.hub.server.pages.visit import Visit
from hub_tools.hub.server.trees import Entry

PAGE_OF_FILES = 500
MAX_SHOWN = 200_000
MAX_LINES = 2_000
MAX_WIDTH = 400  # longer lines are wrapped: nobody scrolls that far
_PICTURES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml"})


@dataclass(frozen=True)
class Line:
    """A file or folder in a list; a folder has the size of all that is in it."""

    name: str
    path: str
    folder: bool
    size: int
    changed: Commit | None


def tree_page(visit: Visit) -> Response:
    """The entries of a folder; the card stands below those of the root."""
    path = visit.call.part("path")
    if path in visit.tree:
        return RedirectResponse(visit.at("blob", path), 303)
    lines = _lines(visit, path)
    if path and not lines:
        raise entry_not_found(path, visit.revision, visit.oid)
    number = max(1, visit.call.number("page", 1, 10**6))
    text = "" if path else cards.split(wire.read_card(visit.call.store.blobs, visit.tree))[1]
    return visit.show(
        "tree",
        tab="files",
        path=path,
        lines=lines[(number - 1) * PAGE_OF_FILES : number * PAGE_OF_FILES],
        total=len(lines),
        number=number,
        last=max(1, -(-len(lines) // PAGE_OF_FILES)),
        html=rendered(text, "", visit.at("resolve"), visit.at("blob")) if text.strip() else None,
    )


def _lines(visit: Visit, folder: str) -> list[Line]:
    """Folders first, each last changed when one of its files was."""
    prefix = f"{folder}/" if folder else ""
    changes = commits.by_id(visit.db, visit.repo)
    found: dict[str, Line] = {}
    for path, entry in visit.tree.items():
        if not path.startswith(prefix):
            continue
        name, deeper, _ = path[len(prefix) :].partition("/")
        change = changes.get(entry.commit)
        known = found.get(name)
        whole = entry.size + (known.size if known else 0)
        newest = max((c for c in (change, known and known.changed) if c), key=lambda c: c.date, default=None)
        found[name] = Line(name, prefix + name, bool(deeper), whole, newest)
    return sorted(found.values(), key=lambda line: (not line.folder, line.name))


def blob_page(visit: Visit) -> Response:
    """One file."""
    path = visit.call.part("path")
    if not path or (path not in visit.tree and _lines(visit, path)):
        return RedirectResponse(visit.at("tree", path), 303)
    visit.require_access()
    entry = visit.entry(path)
    media = mimetypes.guess_type(path)[0]
    text = None if media in _PICTURES and media != "image/svg+xml" else _text(visit, entry)
    lines = text.splitlines() if text is not None else []
    markdown = None
    if (
        text is not None
        and path.lower().endswith(".md")
        and not visit.query("plain")
        and entry.size <= MAX_SHOWN
    ):
        body = cards.split(text)[1]
        markdown = rendered(body, path.rpartition("/")[0], visit.at("resolve"), visit.at("blob"))
    return visit.show(
        "blob",
        tab="files",
        path=path,
        entry=entry,
        changed=commits.by_id(visit.db, visit.repo).get(entry.commit),
        picture=media in _PICTURES,
        rows=visit.repo.kind == "dataset" and bool(form_of(path)),
        html=markdown,
        text=text is not None,
        lines=lines[:MAX_LINES],
        cut=_cut(entry, lines),
        wraps=max(map(len, lines), default=0) > MAX_WIDTH,
        insides=insides(visit.call.store.blobs, path, entry) if text is None else None,
    )


def _cut(entry: Entry, lines: Sequence[str]) -> str:
    """How much of a text is shown, where it is not all."""
    if len(lines) > MAX_LINES:
        return f"{count(MAX_LINES)} lines"
    return size(MAX_SHOWN) if entry.size > MAX_SHOWN else ""


def _text(visit: Visit, entry: Entry) -> str | None:
    """The beginning of a file; None if it is no text."""
    with visit.call.store.blobs.path(entry.sha256).open("rb") as file:
        data = file.read(MAX_SHOWN)
    if b"\0" in data:
        return None
    try:
        # A character may have been cut in two at the end.
        return (
            data.decode("utf-8") if len(data) < MAX_SHOWN else data[: MAX_SHOWN - 4].decode("utf-8", "ignore")
        )
    except UnicodeDecodeError:
        return None
