"""Pages that say what is not here or not allowed, and the form to log in where a token could help."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from hub_tools.hub.server.accounts import ANONYMOUS, Viewer
from hub_tools.hub.server.errors import HubError
from hub_tools.hub.server.http import viewer_of
from hub_tools.hub.server.pages import login
from hub_tools.hub.server.pages.render import page

_TITLES = {400: "Not understood", 403: "Not allowed", 404: "Not here", 500: "This went wrong"}
# Clients compare the wording of these; people get one of their own.
_WORDS = {
    "RepoNotFound": "There is no repo of this name here, or it is not for you to see.",
    "RevisionNotFound": "This repo has no branch, tag or commit {}.",
}


def is_read_by_a_person(request: Request) -> bool:
    """Whether a browser asks, for something that is no part of the API."""
    accepted = request.headers.get("accept", "")
    return (
        request.method == "GET"
        and "text/html" in accepted
        and not request.scope["path"].startswith(("/api/", "/_"))
    )


def refused(request: Request, error: HubError, viewer: Viewer | None = None) -> Response:
    """What a person sees in place of the page or file that they asked for."""
    if error.status == 401:
        return login.ask(ANONYMOUS, _address(request), 401)
    title = _TITLES.get(error.status, "Not possible" if error.status < 500 else _TITLES[500])
    message = _WORDS.get(error.code or "", "{}").format(error.message.removeprefix("Invalid rev id: "))
    return page("refused", error.status, viewer=viewer or _viewer(request), title=title, message=message)


def _viewer(request: Request) -> Viewer:
    try:
        return viewer_of(request)
    except HubError:
        return ANONYMOUS


def _address(request: Request) -> str:
    """The path and query that were asked for."""
    path, query = request.scope["path"], request.url.query
    return f"{path}?{query}" if query else str(path)
