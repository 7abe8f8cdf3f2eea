"""Logging in with a token, and out again; a signed cookie remembers who it is."""

from __future__ import annotations

from starlette.responses import RedirectResponse, Response

from hub_tools.hub.server.errors import HubError
from hub_tools.hub.server.http import SESSION_COOKIE, Call
from hub_tools.hub.server.pages.render import page

SESSION_SECONDS = 7 * 24 * 3600


def ask(call: Call, target: str, status: int = 200, problem: str = "") -> Response:
    """The form that asks for a token, and then leads on to `target`."""
    return page("login", status, viewer=call.viewer, target=target, problem=problem)


def form(call: Call) -> Response:
    """Ask for a token."""
    return ask(call, "/")


def login(call: Call) -> Response:
    """Check the token, remember its user in a signed cookie, and go on to the page that was asked for."""
    target = call.form.get("next", ["/"])[0]
    # Only a path of this server: anything else would make the form a way to lead people elsewhere.
    if not target.startswith("/") or target.startswith(("//", "/\\")) or any(char <= " " for char in target):
        target = "/"
    try:
        viewer = call.store.accounts.viewer(call.form.get("token", [""])[0].strip())
    except HubError:
        return ask(call, target, 401, "This Hub does not know that token.")
    answer = RedirectResponse(target, 303)
    ticket = call.store.signer.ticket(f"session:{viewer.user}", SESSION_SECONDS)
    secure = call.request.scope["scheme"] == "https"
    answer.set_cookie(
        SESSION_COOKIE, ticket, max_age=SESSION_SECONDS, httponly=True, samesite="strict", secure=secure
    )
    return answer


def logout_form(call: Call) -> Response:
    """Ask whether to log out: opening a page never does it, a picture in a card could."""
    return page("logout", viewer=call.viewer)


def logout(_call: Call) -> Response:
    """Forget who it is."""
    answer = RedirectResponse("/", 303)
    answer.delete_cookie(SESSION_COOKIE, httponly=True, samesite="strict")
    return answer
