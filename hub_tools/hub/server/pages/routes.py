"""Which address shows which page, and what a page says when there is nothing to show."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from anyio import CapacityLimiter
from starlette.responses import Response
from starlette.routing import Route

from hub_tools.hub.server.errors import HubError
from hub_tools.hub.server.http import Call, route
from hub_tools.hub.server.pages import discussions, files, history, home, lineage, login, repository, viewer
from hub_tools.hub.server.pages.refused import refused
from hub_tools.hub.server.pages.visit import Visit
from hub_tools.hub.server.pages.warmth import warm_up

# Reading rows takes its time: however many people do, other pages and programs find threads of their own.
_THREADS, _ROW_THREADS = CapacityLimiter(6), CapacityLimiter(4)
_REPO_PAGES: tuple[tuple[str, Callable[[Visit], Response]], ...] = (
    ("", repository.card_page),
    ("/go", repository.go),
    ("/tree", files.tree_page),
    ("/tree/{rev:part}{path:rest}", files.tree_page),
    ("/blob/{rev:part}{path:rest}", files.blob_page),
    ("/commits", history.commits_page),
    ("/commits/{rev:part}", history.commits_page),
    ("/commit/{rev:part}", history.commit_page),
    ("/versions", history.versions_page),
    ("/tags", history.versions_page),
    ("/viewer", viewer.viewer_page),
    ("/viewer/{config:part}", viewer.viewer_page),
    ("/viewer/{config:part}/{split:part}", viewer.viewer_page),
    ("/picture", viewer.picture_page),
    ("/lineage", lineage.lineage_page),
    ("/discussions", discussions.list_page),
    ("/discussions/{number:part}", discussions.discussion_page),
)


def _readable(handler: Callable[[Call], Response]) -> Callable[[Call], Response]:
    """Show refusals as pages."""

    def shown(call: Call) -> Response:
        try:
            answer = handler(call)
            warm_up()
            return answer
        except HubError as error:
            if error.status < 400:
                raise
            return refused(call.request, error, call.viewer)

    shown.__name__ = handler.__name__
    return shown


def _of_repo(kind: str, handler: Callable[[Visit], Response]) -> Callable[[Call], Response]:
    """Find the repo and revision before the page, and read both in one snapshot."""

    def visited(call: Call) -> Response:
        with call.store.db.read() as db:
            return handler(Visit.of(call, db, kind))

    visited.__name__ = handler.__name__
    return _readable(visited)


def _page(path: str, handler: Callable[[Call], Response], methods: Sequence[str] = ("GET",)) -> Route:
    rows = path.endswith("/picture") or "/viewer" in path
    return route(path, handler, methods, threads=_ROW_THREADS if rows else _THREADS)


ROUTES = [
    _page("/", _readable(home.home)),
    _page("/favicon.svg", home.icon),
    _page("/style.css", home.style),
    _page("/datasets", _readable(home.datasets)),
    _page("/models", _readable(home.models)),
    _page("/login", login.form),
    _page("/login", _readable(login.login), ["POST"]),
    _page("/logout", login.logout_form),
    _page("/logout", _readable(login.logout), ["POST"]),
    _page("/collections/{ns:part}/{slug:part}", _readable(home.collection_page)),
    *(
        _page(f"{prefix}/{{ns:part}}/{{name:part}}{path}", _of_repo(kind, handler))
        for prefix, kind in (("/datasets", "dataset"), ("/spaces", "space"), ("", "model"))
        for path, handler in _REPO_PAGES
    ),
    _page("/{ns:part}", _readable(home.namespace)),
]
