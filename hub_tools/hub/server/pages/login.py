"""Logging in with a token, and out again; a signed cookie remembers who it is."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.responses import RedirectResponse, Response

from hub_tools.hub.server import sessions
from hub_tools.hub.server.accounts import Viewer
from hub_tools.hub.server.errors import HubError
from hub_tools.hub.server.http import Call
from hub_tools.hub.server.pages.render import page


def ask(viewer: Viewer, target: str, status: int = 200, problem: str = "") -> Response:
    """The form that asks for a token, and then leads on to `target`."""
    return page("login", status, viewer=viewer, target=target, problem=problem)


def form(call: Call) -> Response:
    """Ask for a token."""
    return ask(call.viewer, "/")


def login(call: Call) -> Response:
    """Check the token, remember its user in a signed cookie, and go on to the page that was asked for."""
    _require_own_form(call)
    target = call.form.get("next", ["/"])[0]
    # Only a path of this server: anything else would make the form a way to lead people elsewhere.
    if not target.startswith("/") or target.startswith(("//", "/\\")) or any(char <= " " for char in target):
        target = "/"
    try:
        ticket = sessions.ticket(call.store, call.form.get("token", [""])[0].strip())
    except HubError:
        return ask(call.viewer, target, 401, "This Hub does not know that token.")
    answer = RedirectResponse(target, 303)
    secure = call.request.scope["scheme"] == "https"
    # Lax: a link in a notebook or a chat opens as well as a typed address; sessions can do no more than read.
    answer.set_cookie(
        sessions.COOKIE, ticket, max_age=sessions.SECONDS, httponly=True, samesite="lax", secure=secure
    )
    return answer


def _require_own_form(call: Call) -> None:
    """Refuse a form that a page of another site has sent: it could log people in as somebody else."""
    headers = call.request.headers
    sites = headers.get("sec-fetch-site")
    origin = headers.get("origin")
    if sites is not None:
        own = sites in ("same-origin", "none")
    else:
        own = origin is None or urlsplit(origin).netloc == headers.get("host")
    if not own:
        raise HubError(
            403, "This form was sent by a page of another site. Open the page here, and send it again."
        )


def logout_form(call: Call) -> Response:
    """Ask whether to log out: opening a page never does it, a picture in a card could."""
    return page("logout", viewer=call.viewer)


def logout(call: Call) -> Response:
    """Forget who it is."""
    _require_own_form(call)
    answer = RedirectResponse("/", 303)
    answer.delete_cookie(sessions.COOKIE, httponly=True, samesite="lax")
    return answer
