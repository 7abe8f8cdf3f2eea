"""The bearer token."""

from __future__ import annotations

import hmac


def carries(header: str | None, token: str) -> bool:
    """Whether an Authorization header carries this bearer token."""
    scheme, _, given = (header or "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())
