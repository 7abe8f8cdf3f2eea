"""The two kinds of failure: of one request, and of the server itself."""

from __future__ import annotations

from typing import Any

INVALID_TOKEN = "Invalid credentials in Authorization header"  # noqa: S105 - clients compare this very text


class HubServerError(Exception):
    """The server cannot start, be found or be stopped; the message is one line for the person who asked."""


class HubError(Exception):
    """A request that is refused: HTTP status, message, and the `X-Error-Code` that clients look for."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        *,
        headers: dict[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = headers or {}
        self.extra = extra


def bad_request(message: str) -> HubError:
    """Refuse a request that can never succeed as it was sent."""
    return HubError(400, message)


def too_large(what: str, limit: int) -> HubError:
    """Refuse a body over `limit` bytes."""
    return HubError(413, f"{what} is larger than the {limit} bytes this Hub takes")


def revision_not_found(revision: str) -> HubError:
    """Say that neither a branch, a tag nor a commit has this name."""
    return HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")


def entry_not_found(path: str, revision: str, commit: str | None = None) -> HubError:
    """Say that the repo has no such file; `commit` lets clients cache the absence."""
    headers = {"X-Repo-Commit": commit} if commit else {}
    message = f'The path "{path}" does not exist on revision "{revision}"'
    return HubError(404, message, "EntryNotFound", headers=headers)
