"""Reading about repos and their files: lists, info, trees and paths."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from hub_tools.hub.server import (
    cards,
    commits,
    evaluations,
    gating,
    model_files,
    objects,
    refs,
    repos,
    wire,
)
from hub_tools.hub.server.api.repositories import REPO
from hub_tools.hub.server.commits import Commit
from hub_tools.hub.server.errors import entry_not_found
from hub_tools.hub.server.http import Call, may_see, route
from hub_tools.hub.server.repos import Repo
from hub_tools.hub.server.trees import Tree, folders

PAGE_OF_REPOS = 1000
PAGE_OF_FILES = 10_000


class _Paths(BaseModel):
    paths: list[str] | str = []
    expand: bool = False


def list_repos(call: Call) -> Response:
    """The repos a viewer may see, filtered, sorted and paged."""
    tags, fields, full = set(call.listed("filter")), call.listed("expand"), call.flag("full")
    sort, task = (call.request.query_params.get(name, "") for name in ("sort", "pipeline_tag"))
    with call.store.db.read() as db:
        named = [repo for repo in repos.every(db, call.kind) if _is_wanted(call, repo)]
        found = [(repo, wire.repo_json(db, call.store.blobs, repo)) for repo in named]
        found = [(repo, info) for repo, info in found if tags | ({task} - {""}) <= set(info["tags"])]
        if sort in ("lastModified", "createdAt"):
            found.sort(key=lambda pair: str(pair[1][sort]), reverse=True)

        def render(pair: tuple[Repo, wire.Json]) -> wire.Json:
            repo, info = pair
            if full or "siblings" in fields:
                info["siblings"] = wire.siblings_json(commits.tree(db, repo, info["sha"]), blobs=False)
            return wire.pick(info, fields)

        return call.page_of(found, PAGE_OF_REPOS, render)


def tags_by_type(call: Call) -> Response:
    """The tags that repos have here, in groups, as clients offer them for a choice."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    with call.store.db.read() as db:
        for repo in (repo for repo in repos.every(db, call.kind) if may_see(call.viewer, repo)):
            tree = commits.tree(db, repo, refs.resolve(db, repo, "main"))
            card = wire.card_data(call.store.blobs, tree) or {}
            for tag, type_ in cards.typed_tags(card, repo.kind).items():
                one = {"type": type_, "label": tag.rpartition(":")[2], "id": tag}
                found.setdefault(type_, {})[tag] = one
    return JSONResponse({type_: [group[tag] for tag in sorted(group)] for type_, group in found.items()})


def _is_wanted(call: Call, repo: Repo) -> bool:
    query = call.request.query_params
    author = query.get("author")
    gated = query.get("gated")
    return (
        may_see(call.viewer, repo)
        and author in (None, repo.namespace)
        and all(text.lower() in repo.name.lower() for text in query.getlist("search"))
        and (gated is None or (gated.lower() == "true") == bool(repo.gated))
    )


def info(call: Call) -> Response:
    """All about one repo at one revision."""
    with call.store.db.read() as db:
        repo = call.repo(db)
        answer = wire.repo_json(db, call.store.blobs, repo, call.part("rev") or "main")
        tree = commits.tree(db, repo, answer["sha"])
        present = objects.readable(db, repo, tree)
        readable = gating.has_access(db, call.viewer, repo)
    answer["siblings"] = wire.siblings_json(tree, blobs=call.flag("blobs"))
    fields = call.listed("expand")
    if repo.kind == "model" and (not fields or {"safetensors", "config"} & set(fields)):
        answer |= model_files.facts(call.store.blobs, present)
    if repo.kind == "model" and "evalResults" in fields:
        answer["evalResults"] = evaluations.results(call.store.blobs, present) if readable else []
    return JSONResponse(wire.pick(answer, fields))


def list_tree(call: Call) -> Response:
    """The files and folders of a revision, or of one of its folders; 404 if that is missing."""
    folder, revision = call.part("path"), call.part("rev")
    with call.store.db.read() as db:
        repo = call.repo(db)
        oid = refs.resolve(db, repo, revision)
        tree, ids, changes = _snapshot(db, repo, oid, call.flag("expand"))
    if folder and folder not in ids:
        raise entry_not_found(folder, revision, oid)
    prefix = folder + "/" if folder else ""
    paths = sorted(path for path in [*tree, *folders(tree)] if path.startswith(prefix))
    if not call.flag("recursive"):
        paths = [path for path in paths if "/" not in path[len(prefix) :]]
    return call.page_of(paths, PAGE_OF_FILES, lambda path: _any_json(path, tree, ids, changes))


def paths_info(call: Call) -> Response:
    """The same about single paths; those that are missing are left out."""
    if "json" in call.request.headers.get("content-type", ""):
        wanted = call.parse(_Paths)
    else:
        expand = call.form.get("expand", [""])[0].lower() in ("1", "true")
        wanted = _Paths(paths=call.form.get("paths", []), expand=expand)
    listed = [wanted.paths] if isinstance(wanted.paths, str) else wanted.paths
    with call.store.db.read() as db:
        repo = call.repo(db)
        tree, ids, changes = _snapshot(db, repo, refs.resolve(db, repo, call.part("rev")), wanted.expand)
    present = [
        path for path in (name.strip("/") for name in listed) if path in tree or (path and path in ids)
    ]
    return JSONResponse([_copyable(_any_json(path, tree, ids, changes)) for path in present])


def _copyable(answer: wire.Json) -> wire.Json:
    """Clients copy a file between repos only if it has a `xetHash`, which they read here alone."""
    return answer | {"xetHash": answer["lfs"]["oid"]} if "lfs" in answer else answer


def _snapshot(
    db: sqlite3.Connection, repo: Repo, oid: str, expand: bool
) -> tuple[Tree, Mapping[str, str], Mapping[str, Commit] | None]:
    tree = commits.tree(db, repo, oid)
    changes = wire.last_changes(tree, commits.by_id(db, repo)) if expand else None
    return tree, commits.tree_ids(db, repo, oid), changes


def _any_json(
    path: str, tree: Tree, ids: Mapping[str, str], changes: Mapping[str, Commit] | None
) -> wire.Json:
    if path in tree:
        return wire.file_json(path, tree[path], changes)
    return wire.folder_json(path, ids, changes)


ROUTES = [
    route("/api/{kind:kind}", list_repos),
    route("/api/{kind:kind}-tags-by-type", tags_by_type),
    route(REPO, info),
    route(REPO + "/revision/{rev:part}", info),
    route(REPO + "/tree/{rev:part}{path:rest}", list_tree),
    route(REPO + "/paths-info/{rev:part}", paths_info, ["POST"]),
]
