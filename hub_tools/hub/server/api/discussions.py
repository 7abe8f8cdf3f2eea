"""Discussions and pull requests: list, read, comment, rename, open and close, merge."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from hub_tools.hub.server import discussions, gating, refs
from hub_tools.hub.server.api.repositories import REPO
from hub_tools.hub.server.discussions import Database, Discussion
from hub_tools.hub.server.errors import HubError, bad_request
from hub_tools.hub.server.http import Call, route
from hub_tools.hub.server.merging import PullRequest
from hub_tools.hub.server.repos import Repo

PAGE_OF_DISCUSSIONS = 50
Title = Annotated[str, Field(min_length=1, max_length=200)]
Text = Annotated[str, Field(max_length=100_000)]


class _Creation(BaseModel):
    title: Title
    description: Text = ""
    pullRequest: bool = False  # noqa: N815 - the wire's name


class _Comment(BaseModel):
    comment: Annotated[Text, Field(min_length=1)]


class _Content(BaseModel):
    content: Annotated[Text, Field(min_length=1)]


class _Title(BaseModel):
    title: Title


class _Status(BaseModel):
    status: Literal["open", "closed"]
    comment: Text | None = None


class _Merge(BaseModel):
    comment: Text | None = None


def _json(repo: Repo, found: Discussion) -> dict[str, Any]:
    return {
        "num": found.number,
        "title": found.title,
        "author": {"name": found.author},
        "createdAt": found.created,
        "status": found.status,
        "repo": {"name": repo.name, "type": repo.kind},
        "isPullRequest": found.base is not None,
        "pinned": False,
    }


def list_all(call: Call) -> Response:
    """One page of a repo's discussions, the newest first."""
    query = call.request.query_params
    kind, status, author = query.get("type", "all"), query.get("status", "all"), query.get("author")
    with call.store.db.read() as db:
        repo = call.repo(db)
        found = [_json(repo, one) for one in discussions.every(db, repo)]
    found = [
        one
        for one in found
        if (kind == "all" or (kind == "pull_request") == one["isPullRequest"])
        and (status == "all" or (status == "closed") == (one["status"] in ("closed", "merged")))
        and author in (None, one["author"]["name"])
    ]
    start = call.number("p", 0, 10**6) * PAGE_OF_DISCUSSIONS
    page = found[start : start + PAGE_OF_DISCUSSIONS]
    return JSONResponse({"discussions": page, "count": len(found), "start": start, "numClosedDiscussions": 0})


def read(call: Call) -> Response:
    """One discussion with its events; of a pull request also what it changes."""
    with call.store.db.read() as db:
        repo = call.repo(db)
        found = _found(call, db, repo)
        answer = _json(repo, found) | {"events": discussions.events(db, repo, found.number)}
        if found.base is not None:
            request = PullRequest(db, repo, found)
            answer["changes"] = {"base": found.base, "mergeCommitId": found.merged}
            answer["filesWithConflicts"] = request.conflicts() if found.merged is None else []
            if call.flag("diff") and gating.has_access(db, call.viewer, repo):
                answer["diff"] = request.diff(call.store.blobs)
    return JSONResponse(answer)


def _found(call: Call, db: Database, repo: Repo) -> Discussion:
    text = call.part("number")
    if not text.isdigit() or len(text) > 9:
        raise bad_request(f"{text[:50]!r} is no number of a discussion")
    return discussions.get(db, repo, int(text))


def create(call: Call) -> Response:
    """Open a discussion, or an empty pull request to commit to."""
    wanted = call.parse(_Creation)
    with call.store.db.write() as db:
        repo = call.repo(db, "propose")
        base = refs.BRANCH + "main" if wanted.pullRequest else None
        found = discussions.open_one(
            db,
            repo,
            call.viewer.require_user(),
            wanted.title,
            wanted.description,
            base=base,
            draft=bool(base),
        )
        if base:
            refs.put(db, repo, f"{refs.PULL_REQUEST}{found.number}", refs.resolve(db, repo, "main"))
    url = f"{call.base}{repo.web_path}/discussions/{found.number}"
    return JSONResponse({"num": found.number, "url": url, "pullRequest": wanted.pullRequest})


def comment(call: Call) -> Response:
    """Add a comment."""
    wanted = call.parse(_Comment)
    with call.store.db.write() as db:
        repo = call.repo(db, "propose")
        found = _found(call, db, repo)
        event = discussions.comment(db, repo, found.number, call.viewer.require_user(), wanted.comment)
    return JSONResponse({"newMessage": event})


def _owned(call: Call, db: Database, what: str) -> tuple[Repo, Discussion]:
    """The discussion, if the viewer opened it or may write to the repo."""
    repo = call.repo(db, "propose")
    found = _found(call, db, repo)
    if found.author != call.viewer.user:
        call.viewer.require_write(repo.namespace, what)
    return repo, found


def rename(call: Call) -> Response:
    """Change the title."""
    wanted = call.parse(_Title)
    with call.store.db.write() as db:
        repo, found = _owned(call, db, "rename a discussion")
        event = discussions.rename(db, repo, found, call.viewer.require_user(), wanted.title)
    return JSONResponse({"newTitle": event})


def set_status(call: Call) -> Response:
    """Open or close."""
    wanted = call.parse(_Status)
    with call.store.db.write() as db:
        repo, found = _owned(call, db, "open or close a discussion")
        user = call.viewer.require_user()
        if wanted.comment:
            discussions.comment(db, repo, found.number, user, wanted.comment)
        event = discussions.set_status(db, repo, found, user, wanted.status)
    return JSONResponse({"newStatus": event})


def merge(call: Call) -> Response:
    """Commit a pull request's changes onto the branch it is for; 409 where they clash."""
    wanted = call.parse(_Merge)
    with call.store.db.write() as db:
        repo = call.repo(db, "write")
        found = _found(call, db, repo)
        if found.base is None or found.status not in ("open", "draft"):
            raise bad_request(f"Discussion {found.number} is not an open pull request")
        user = call.viewer.require_user()
        oid = PullRequest(db, repo, found).merge(user, wanted.comment)
        if wanted.comment:
            discussions.comment(db, repo, found.number, user, wanted.comment)
        discussions.note_merge(db, repo, found, user, oid)
    return JSONResponse({"mergeCommitId": oid})


def edit_comment(call: Call) -> Response:
    """Change one's own comment."""
    return _change_comment(call, call.parse(_Content).content)


def hide_comment(call: Call) -> Response:
    """Hide a comment for good."""
    return _change_comment(call, None)


def _change_comment(call: Call, text: str | None) -> Response:
    with call.store.db.write() as db:
        repo = call.repo(db, "propose")
        found, event = _found(call, db, repo), call.part("event")
        author = discussions.comment_author(db, repo, found.number, event)
        if author != call.viewer.user and (text is not None or author is None):
            raise HubError(403 if author else 404, "There is no comment of yours to change")
        if author != call.viewer.user:
            call.viewer.require_write(repo.namespace, "hide a comment")
        changed = discussions.change_comment(db, repo, found.number, event, call.viewer.require_user(), text)
    return JSONResponse({"updatedComment": changed})


ONE = REPO + "/discussions/{number:part}"
ROUTES = [
    route(REPO + "/discussions", list_all),
    route(REPO + "/discussions", create, ["POST"]),
    route(ONE, read),
    route(ONE + "/comment", comment, ["POST"]),
    route(ONE + "/comment/{event:part}/edit", edit_comment, ["POST"]),
    route(ONE + "/comment/{event:part}/hide", hide_comment, ["POST"]),
    route(ONE + "/title", rename, ["POST"]),
    route(ONE + "/status", set_status, ["POST"]),
    route(ONE + "/merge", merge, ["POST"]),
]
