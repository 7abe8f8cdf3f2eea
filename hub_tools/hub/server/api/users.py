"""Users and organisations: who they are and what they keep here."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse, Response

from hub_tools.hub.server import commits, refs, repos
from hub_tools.hub.server.api.repositories import REPO
from hub_tools.hub.server.errors import HubError
from hub_tools.hub.server.http import Call, may_see, route

PAGE_OF_REPOS = 1000


def _counts(call: Call, namespace: str) -> dict[str, int]:
    with call.store.db.read() as db:
        return {
            f"num{kind.title()}s": sum(
                repo.namespace == namespace and may_see(call.viewer, repo) for repo in repos.every(db, kind)
            )
            for kind in repos.KINDS
        }


def _org_json(org: str) -> dict[str, Any]:
    return {"type": "org", "name": org, "fullname": org, "avatarUrl": ""}


def user_overview(call: Call) -> Response:
    """A user in numbers."""
    user = call.part("user")
    if user not in call.store.accounts.users():
        raise HubError(404, f"This Hub has no user {user[:100]!r}")
    answer = {"user": user, "fullname": user, "type": "user", "isPro": False, "avatarUrl": ""}
    orgs = [_org_json(org) for org in call.store.accounts.orgs(user)]
    return JSONResponse(answer | _counts(call, user) | {"orgs": orgs})


def _members(call: Call) -> list[str]:
    members = call.store.accounts.members(call.part("org"))
    if not members:
        raise HubError(404, f"This Hub has no organisation {call.part('org')[:100]!r}")
    return members


def org_overview(call: Call) -> Response:
    """An organisation in numbers."""
    members, org = _members(call), call.part("org")
    return JSONResponse(_org_json(org) | _counts(call, org) | {"numUsers": len(members)})


def org_members(call: Call) -> Response:
    """Who is in an organisation."""
    users = [{"user": user, "fullname": user, "avatarUrl": ""} for user in _members(call)]
    return JSONResponse(users)


def nobody(call: Call) -> Response:
    """The empty list: people follow and like on the public Hub's own pages."""
    if call.part("ns"):
        with call.store.db.read() as db:
            call.repo(db)
    return JSONResponse([])


def unlike(call: Call) -> Response:
    """Take back a like, which nobody can give here."""
    call.viewer.require_user()
    with call.store.db.read() as db:
        call.repo(db)
    return JSONResponse({})


def own_repos(call: Call) -> Response:
    """The repos of a namespace with their sizes, for those who belong to it."""
    namespace = call.part("org") or call.viewer.require_user()
    if not call.viewer.belongs_to(namespace):
        raise HubError(403, f"You do not belong to {namespace[:100]!r}")
    with call.store.db.read() as db:
        found = [
            {
                "id": repo.name,
                "type": repo.kind,
                "updatedAt": commits.get(db, repo, refs.resolve(db, repo, "main")).date,
                "visibility": "private" if repo.private else "public",
                "storage": sum(
                    entry.size for entry in commits.tree(db, repo, refs.resolve(db, repo, "main")).values()
                ),
            }
            for kind in repos.KINDS
            for repo in repos.every(db, kind)
            if repo.namespace == namespace
        ]
    total = sum(int(str(one["storage"])) for one in found) or 1
    return call.page_of(
        found, PAGE_OF_REPOS, lambda one: one | {"storagePercent": int(str(one["storage"])) / total}
    )


ROUTES = [
    route("/api/users/{user:part}/overview", user_overview),
    *[route(f"/api/users/{{user:part}}/{what}", nobody) for what in ("followers", "following", "likes")],
    route("/api/organizations/{org:part}/overview", org_overview),
    route("/api/organizations/{org:part}/members", org_members),
    route("/api/organizations/{org:part}/followers", nobody),
    route("/api/organizations/{org:part}/settings/repositories", own_repos),
    route("/api/settings/repositories", own_repos),
    route(REPO + "/likers", nobody),
    route(REPO + "/like", unlike, ["DELETE"]),
]
