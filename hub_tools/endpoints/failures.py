"""What can go wrong with a request, as huggingface_hub's own errors: who catches those catches these."""

from __future__ import annotations

from huggingface_hub.errors import (
    GenerationError,
    IncompleteGenerationError,
    InferenceTimeoutError,
    OverloadedError,
    TextGenerationError,
    ValidationError,
)

from hub_tools.errors import EndpointDown


class WrongModel(EndpointDown):
    """A server is up, and serves another model than it should."""


class Refused(ValidationError):  # noqa: N818
    """The server will never take this request (400, 413, 422): the row is at fault."""


class EndpointError(TextGenerationError):
    """A request failed in a way that may pass: another try can succeed.

    `retry_after` is how many seconds the server wants to be left alone, None where it does not say.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Overloaded(EndpointError, OverloadedError):  # noqa: N818  (named after what happened, like TGI's error type)
    """The server has no room now (429)."""


class GenerationFailed(EndpointError, GenerationError):  # noqa: N818
    """The model failed on this request (424)."""


class Unfinished(EndpointError, IncompleteGenerationError):  # noqa: N818
    """The server failed (500) or broke off in the middle of an answer."""


class Dropped(Unfinished):
    """The connection broke: whoever answers next at the address may be another."""


class TimedOut(EndpointError, InferenceTimeoutError):  # noqa: N818
    """No answer within the time limit."""


class Unavailable(EndpointError):  # noqa: N818
    """The server is not ready for any request (502, 503, 504)."""


class Unreachable(Unavailable):
    """Nobody answers at the address, or somebody who is no endpoint (401, 403, 404)."""
