"""Pages for people: what a browser shows at an address that a client printed."""

from __future__ import annotations

from collections.abc import Callable

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from hub_tools.hub.server import cards, collection, commits, pages, refs, repos, wire
from hub_tools.hub.server.errors import HubError
from hub_tools.hub.server.http import SESSION_COOKIE, Call, find_repo, route

SESSION_SECONDS = 7 * 24 * 3600

Handler = Callable[[Call], Response]


def _readable(handler: Handler) -> Handler:
    """Show refusals as pages, and a form to log in where a token could help."""

    def shown(call: Call) -> Response:
        try:
            return handler(call)
        except HubError as error:
            if error.status == 401:
                return pages.page("Log in", pages.login_body(call.request.scope["path"]), 401)
            return pages.page("Not here", pages.paragraph(error.message), error.status)

    shown.__name__ = handler.__name__
    return shown


def home(call: Call) -> Response:
    """All repos that the viewer may see."""
    with call.store.db.read() as db:
        every = [repo for kind in repos.KINDS for repo in repos.every(db, kind)]
    visible = [repo for repo in every if not repo.private or repo.namespace == call.viewer.user]
    body = pages.listed(pages.link(repo.web_path, f"{repo.kind} {repo.name}") for repo in visible)
    login = "" if call.viewer.user else f"<p>{pages.link('/login', 'Log in')} to see private repos.</p>"
    return pages.page("Repos of this Hub", login + body)


def _repo_page(kind: str) -> Handler:
    def repo_page(call: Call) -> Response:
        """A repo at a branch, tag, commit or pull request."""
        revision = call.part("rev") or "main"
        if call.part("number"):
            revision = refs.PULL_REQUEST + call.part("number")
        with call.store.db.read() as db:
            repo = find_repo(db, call.viewer, kind, call.name)
            tree = commits.tree(db, repo, refs.resolve(db, repo, revision))
            every = refs.every(db, repo)
        card = cards.split(wire.read_card(call.store.blobs, tree))[1].strip()
        files = [(path, entry.size) for path, entry in sorted(tree.items())]
        return pages.page(repo.name, pages.repo_body(repo, revision, card, every, files))

    return repo_page


def collection_page(call: Call) -> Response:
    """A collection with links to its repos."""
    with call.store.db.read() as db:
        body = collection.get(db, f"{call.part('ns')}/{call.part('slug')}", call.viewer.user)
    named = [(item["type"], item["id"]) for item in body["items"]]
    items = [pages.link(repos.web_path(kind, name), f"{kind} {name}") for kind, name in named]
    return pages.page(body["title"], pages.paragraph(body["description"] or "") + pages.listed(items))


def login_form(call: Call) -> Response:
    """Ask for a token."""
    return pages.page("Log in", pages.login_body("/"))


def login(call: Call) -> Response:
    """Check the token, remember its user in a signed cookie, and go on to the page that was asked for."""
    target = call.form.get("next", ["/"])[0]
    # Only a path of this server: anything else would make the form a way to lead people elsewhere.
    if not target.startswith("/") or target.startswith(("//", "/\\")) or any(char <= " " for char in target):
        target = "/"
    try:
        viewer = call.store.accounts.viewer(call.form.get("token", [""])[0].strip())
    except HubError:
        return pages.page("Log in", pages.login_body(target, "This Hub does not know that token."), 401)
    answer = RedirectResponse(target, 303)
    ticket = call.store.signer.ticket(f"session:{viewer.user}", SESSION_SECONDS)
    secure = call.request.scope["scheme"] == "https"
    answer.set_cookie(
        SESSION_COOKIE, ticket, max_age=SESSION_SECONDS, httponly=True, samesite="strict", secure=secure
    )
    return answer


def _repo_routes(prefix: str, kind: str) -> list[Route]:
    handler = _readable(_repo_page(kind))
    one = prefix + "/{ns:part}/{name:part}"
    plain = [one, one + "/commits/{rev:part}", one + "/commit/{rev:part}", one + "/discussions/{number:part}"]
    deep = [f"{one}/{verb}/{{rev:part}}{{path:rest}}" for verb in ("tree", "blob")]
    return [route(path, handler) for path in plain + deep]


ROUTES = [
    route("/", _readable(home)),
    route("/login", login_form),
    route("/login", login, ["POST"]),
    route("/collections/{ns:part}/{slug:part}", _readable(collection_page)),
    *_repo_routes("/datasets", "dataset"),
    *_repo_routes("/spaces", "space"),
    *_repo_routes("", "model"),
]
