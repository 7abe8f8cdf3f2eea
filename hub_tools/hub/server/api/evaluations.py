"""The leaderboard of a dataset that models are evaluated on."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response

from hub_tools.hub.server import commits, evaluations, gating, objects, refs, repos, wire
from hub_tools.hub.server.http import Call, may_see, route


def leaderboard(call: Call) -> Response:
    """The models with a result on a dataset, the best first; with `base_model` none made from others."""
    found: list[tuple[wire.Json, wire.Json]] = []
    with call.store.db.read() as db:
        name = call.repo(db, kind="dataset").name
        for repo in (repo for repo in repos.every(db, "model") if may_see(call.viewer, repo)):
            if not gating.has_access(db, call.viewer, repo):
                continue
            tree = commits.tree(db, repo, refs.resolve(db, repo, "main"))
            if call.flag("base_model") and (wire.card_data(call.store.blobs, tree) or {}).get("base_model"):
                continue
            model = {"modelId": repo.name, "author": _author(call, repo.namespace)}
            found += [
                (model, result)
                for result in evaluations.results(call.store.blobs, objects.readable(db, repo, tree))
                if "data" in result and result["data"]["dataset"]["id"] == name
            ]
    return JSONResponse(evaluations.ranked(found))


def _author(call: Call, namespace: str) -> wire.Json:
    type_ = "org" if call.store.accounts.members(namespace) else "user"
    return {"type": type_, "name": namespace, "fullname": namespace, "avatarUrl": ""}


ROUTES = [route("/api/datasets/{ns:part}/{name:part}/leaderboard", leaderboard)]
