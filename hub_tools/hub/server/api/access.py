"""Access to gated repos: asking for it, and granting it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from hub_tools.hub.server import gating
from hub_tools.hub.server.api.repositories import REPO
from hub_tools.hub.server.errors import HubError, bad_request
from hub_tools.hub.server.http import Call, route
from hub_tools.hub.server.repos import KINDS

PAGE_OF_REQUESTS = 1000
Name = Annotated[str, Field(min_length=1, max_length=100)]


class _Decision(BaseModel):
    status: Literal["pending", "accepted", "rejected"]
    user: Name | None = None
    requestId: Name | None = None  # noqa: N815 - the wire's name
    rejectionReason: Annotated[str, Field(max_length=2000)] | None = None  # noqa: N815 - the wire's name


class _Grant(BaseModel):
    user: Name


def auth_check(call: Call) -> Response:
    """Answer whether the viewer may read the repo's files."""
    with call.store.db.read() as db:
        gating.require_access(db, call.viewer, call.repo(db))
    return JSONResponse({})


def auth_check_write(call: Call) -> Response:
    """Answer whether the viewer may write to the repo."""
    with call.store.db.read() as db:
        call.repo(db, "write")
    return JSONResponse({})


def list_requests(call: Call) -> Response:
    """The requests of one status, for those who may decide about them."""
    status = call.part("status")
    if status not in gating.STATUSES:
        raise bad_request(f"{status[:50]!r} is no status: use one of {', '.join(gating.STATUSES)}")
    with call.store.db.read() as db:
        found = gating.every(db, call.repo(db, "write"), status)
    return call.page_of(
        found,
        PAGE_OF_REQUESTS,
        lambda one: {
            "requestId": one.id,
            "user": {"user": one.user, "fullname": one.user},
            "status": one.status,
            "timestamp": one.created,
            "rejectionReason": one.reason,
        },
    )


def handle(call: Call) -> Response:
    """Accept, reject or reopen a request."""
    wanted = call.parse(_Decision)
    with call.store.db.write() as db:
        repo = call.repo(db, "write")
        request = gating.find(db, repo, wanted.user) if wanted.user else None
        if wanted.requestId:
            request = gating.by_id(db, repo, wanted.requestId)
        if request is None:
            raise HubError(404, f"There is no such access request for {repo.name}")
        gating.settle(db, request, wanted.status, wanted.rejectionReason)
    return JSONResponse({})


def grant(call: Call) -> Response:
    """Let a user in who has not asked."""
    user = call.parse(_Grant).user
    with call.store.db.write() as db:
        repo = call.repo(db, "write")
        if user not in call.store.accounts.users():
            raise HubError(404, f"This Hub has no user {user!r}")
        gating.add(db, repo, user, "accepted")
    return JSONResponse({})


def ask(call: Call) -> Response:
    """Ask for access to a gated repo."""
    prefix = call.request.scope["raw_path"].split(b"/")[1].decode("latin-1")
    kind = prefix.removesuffix("s") if prefix.removesuffix("s") in KINDS else "model"
    with call.store.db.write() as db:
        repo = call.repo(db, kind=kind)
        if not repo.gated:
            raise bad_request(f"{repo.name} is not gated")
        status = gating.ask(db, repo, call.viewer.require_user())
    return JSONResponse({"status": status})


ROUTES = [
    route(REPO + "/auth-check", auth_check),
    route(REPO + "/auth-check/write", auth_check_write),
    route(REPO + "/user-access-request/handle", handle, ["POST"]),
    route(REPO + "/user-access-request/grant", grant, ["POST"]),
    route(REPO + "/user-access-request/{status:part}", list_requests),
    *[
        route(f"{prefix}/{{ns:part}}/{{name:part}}/ask-access", ask, ["POST"])
        for prefix in ("/datasets", "/spaces", "")
    ],
]
