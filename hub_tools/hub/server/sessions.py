"""Sessions of the pages: a signed cookie that stands for a token, lets its user read, and ends with it."""

from __future__ import annotations

import hmac

from hub_tools.hub.server.accounts import ANONYMOUS, Viewer
from hub_tools.hub.server.errors import HubError
from hub_tools.hub.server.store import Store

COOKIE = "hub_session"
SECONDS = 7 * 24 * 3600


def ticket(store: Store, token: str) -> str:
    """The value of the cookie for a token, which cannot be read out of it; raises 401 for an unknown one."""
    store.accounts.viewer(token)
    return store.signer.ticket(f"session:{store.signer.mark(token)}", SECONDS)


def viewer(store: Store, cookie: str) -> Viewer:
    """Who has this cookie; nobody once it has expired or its token was taken away."""
    try:
        kind, _, mark = store.signer.scope(cookie).partition(":")
    except HubError:
        return ANONYMOUS
    if kind == "session":
        for account in store.accounts.every():
            if hmac.compare_digest(store.signer.mark(account.token), mark):
                return Viewer(account.user, "read", account.orgs)
    return ANONYMOUS
