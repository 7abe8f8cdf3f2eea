"""Tickets: short-lived, signed permissions that travel in an address, a header or a cookie."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time

from hub_tools.hub.server.errors import HubError


class Signer:
    """Issues and checks tickets with the store's own secret."""

    def __init__(self, secret: str) -> None:
        self._key = secret.encode()

    def ticket(self, scope: str, seconds: int) -> str:
        """Allow `scope` for some seconds."""
        payload = (
            f"{int(time.time()) + seconds}.{base64.urlsafe_b64encode(scope.encode()).decode().rstrip('=')}"
        )
        return f"{payload}.{self._signature(payload)}"

    def scope(self, ticket: str) -> str:
        """What a ticket allows; raises 401 if it was not issued here or has expired."""
        payload, _, signature = ticket.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(payload).encode()):
            raise HubError(401, "This upload permission was not issued by this Hub")
        expires, _, scope = payload.partition(".")
        if int(expires) < time.time():
            raise HubError(401, "This upload permission has expired; ask for a new one")
        return base64.urlsafe_b64decode(scope + "=" * (-len(scope) % 4)).decode()

    def mark(self, secret: str) -> str:
        """What stands for a secret where it must not be read, the same whenever it is asked for."""
        return self._signature(f"mark:{secret}")

    def _signature(self, payload: str) -> str:
        return hmac.new(self._key, payload.encode("utf-8", "replace"), hashlib.sha256).hexdigest()
