"""The lists: all repos, those of one namespace, and a collection."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from starlette.responses import FileResponse, Response

from hub_tools.hub.server import collection, commits, refs, repos
from hub_tools.hub.server.errors import HubError
from hub_tools.hub.server.http import Call, may_see
from hub_tools.hub.server.pages import render
from hub_tools.hub.server.pages.render import TEMPLATES, href, page
from hub_tools.hub.server.pages.visit import VERSION, record_of
from hub_tools.hub.server.repos import Repo

PAGE_OF_REPOS = 50
_MAX_SEARCH = 200


@dataclass(frozen=True)
class Line:
    """One repo in a list."""

    repo: Repo
    changed: str
    version: str
    rows: int | None
    note: str = ""


def icon(_call: Call) -> Response:
    """The picture in the browser's tab."""
    return FileResponse(TEMPLATES / "favicon.svg", headers={"Cache-Control": "max-age=86400"})


def style(_call: Call) -> Response:
    """What all pages look like."""
    return render.style()


def home(call: Call) -> Response:
    """All repos that the viewer may see, by name and kind, the one changed last first."""
    return _listing(call, "", call.request.query_params.get("kind", ""))


def datasets(call: Call) -> Response:
    """All datasets."""
    return _listing(call, "", "dataset")


def models(call: Call) -> Response:
    """All models."""
    return _listing(call, "", "model")


def namespace(call: Call) -> Response:
    """All repos of one user or organisation."""
    return _listing(call, call.part("ns"), call.request.query_params.get("kind", ""))


def _listing(call: Call, owner: str, kind: str) -> Response:
    search = call.request.query_params.get("search", "")[:_MAX_SEARCH].strip()
    number = max(1, call.number("page", 1, 10**6))
    kinds = [kind] if kind in repos.KINDS else list(repos.KINDS)
    with call.store.db.read() as db:
        named = [repo for one in kinds for repo in repos.every(db, one) if may_see(call.viewer, repo)]
        seen = [
            repo for repo in named if owner in ("", repo.namespace) and search.lower() in repo.name.lower()
        ]
        if owner and not seen and not search and not kind:
            raise HubError(404, f"This Hub shows no repos of {owner}")
        changed = _changes(db)
        seen.sort(key=lambda repo: changed.get(repo.id, repo.created), reverse=True)
        lines = [
            _line(db, call, repo) for repo in seen[(number - 1) * PAGE_OF_REPOS : number * PAGE_OF_REPOS]
        ]
        shelves = [] if number > 1 else collection.every(db, call.viewer.user, call.viewer.orgs)
    path = call.request.scope["path"]
    own = {"search": search, "kind": kind if path not in ("/datasets", "/models") else ""}
    return page(
        "home",
        viewer=call.viewer,
        owner=owner,
        kind=kind if kind in repos.KINDS else "",
        search=search,
        lines=lines,
        total=len(seen),
        collections=[one for one in shelves if owner in ("", one["owner"]["name"])][:20],
        action=f"/{owner}" if owner else "/",
        before=href(path, **own, page=number - 1) if number > 1 else "",
        after=href(path, **own, page=number + 1) if number * PAGE_OF_REPOS < len(seen) else "",
    )


def _changes(db: sqlite3.Connection) -> dict[int, str]:
    """When each repo's main branch last changed."""
    query = (
        "SELECT refs.repo_id, commits.date FROM refs"
        " JOIN commits ON commits.repo_id = refs.repo_id AND commits.oid = refs.oid WHERE refs.name = ?"
    )
    return dict(db.execute(query, (refs.BRANCH + "main",)).fetchall())


def _line(db: sqlite3.Connection, call: Call, repo: Repo, note: str = "") -> Line:
    every = refs.every(db, repo)
    versions = [ref.removeprefix(refs.TAG) for ref, _ in every if ref.startswith(refs.TAG)]
    numbers = [int(found[1]) for name in versions if (found := VERSION.fullmatch(name))]
    oid = dict(every).get(refs.BRANCH + "main")
    record = record_of(call, db, repo, oid) if oid else None
    return Line(
        repo,
        commits.get(db, repo, oid).date if oid else repo.created,
        f"v{max(numbers)}" if numbers else "",
        record.size if record else None,
        note,
    )


def collection_page(call: Call) -> Response:
    """A collection: its repos in order, with their notes; repos that the viewer may not see are left out."""
    with call.store.db.read() as db:
        slug = f"{call.part('ns')}/{call.part('slug')}"
        body = collection.get(db, slug, call.viewer.user, call.viewer.orgs)
        lines = []
        for item in body["items"]:
            repo = repos.get(db, item["type"], item["id"])
            if repo and may_see(call.viewer, repo):
                lines.append(_line(db, call, repo, (item["note"] or {}).get("text", "")))
    return page("collection", viewer=call.viewer, body=body, lines=lines)
