"""Which address shows which page, and what a page says when there is nothing to show."""

from __future__ import annotations

from collections.abc import Callable

from starlette.responses import Response

from hub_tools.hub.server.errors import HubError
from hub_tools.hub.server.http import Call, route
from hub_tools.hub.server.pages import discussions, files, history, home, lineage, login, repository, viewer
from hub_tools.hub.server.pages.refused import refused
from hub_tools.hub.server.pages.visit import Visit
from hub_tools.hub.server.pages.warmth import warm_up

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


ROUTES = [
    route("/", _readable(home.home)),
    route("/favicon.svg", home.icon),
    route("/style.css", home.style),
    route("/datasets", _readable(home.datasets)),
    route("/models", _readable(home.models)),
    route("/login", login.form),
    route("/login", _readable(login.login), ["POST"]),
    route("/logout", login.logout_form),
    route("/logout", _readable(login.logout), ["POST"]),
    route("/collections/{ns:part}/{slug:part}", _readable(home.collection_page)),
    *(
        route(f"{prefix}/{{ns:part}}/{{name:part}}{path}", _of_repo(kind, handler))
        for prefix, kind in (("/datasets", "dataset"), ("/spaces", "space"), ("", "model"))
        for path, handler in _REPO_PAGES
    ),
    route("/{ns:part}", _readable(home.namespace)),
]
