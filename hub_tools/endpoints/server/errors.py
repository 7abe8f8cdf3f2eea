"""TGI's errors: a status, an `error_type`, and a sentence; nothing else ever reaches a client."""

from __future__ import annotations


class RequestError(Exception):
    """An answer other than 200; `str(error)` is the sentence in the body."""

    status = 500
    error_type = "incomplete_generation"


class ValidationError(RequestError):
    """The request cannot be served as it is; asking again does not help."""

    status = 422
    error_type = "validation"

    def __init__(self, message: str) -> None:
        super().__init__(f"Input validation error: {message}")


class BodyError(RequestError):
    """The body is no JSON (400), too large (413), not declared as JSON (415) or of another shape (422)."""

    error_type = "validation"

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class TemplateError(RequestError):
    """The tokenizer's chat template does not take these messages."""

    status = 422
    error_type = "template_error"

    def __init__(self, message: str) -> None:
        super().__init__(f"Template error: {message}")


class GenerationError(RequestError):
    """The model failed on this request; another try may succeed."""

    status = 424
    error_type = "generation"

    def __init__(self, message: str) -> None:
        super().__init__(f"Request failed during generation: {message}")


class OverloadedError(RequestError):
    """As many requests as `max_concurrent_requests` are already here; TGI does not queue past it."""

    status = 429
    error_type = "overloaded"

    def __init__(self) -> None:
        super().__init__("Model is overloaded")


class UnauthorizedError(RequestError):
    """The server wants a bearer token that the request does not carry."""

    status = 401
    error_type = "unauthorized"

    def __init__(self) -> None:
        super().__init__("a valid bearer token is required")


class ClientGoneError(RequestError):
    """The client closed the connection; its slot is free again, and nobody reads this."""

    status = 499

    def __init__(self) -> None:
        super().__init__("the client has gone")


class UnhealthyError(RequestError):
    """The thread that runs the model has ended."""

    status = 503
    error_type = "healthcheck"

    def __init__(self) -> None:
        super().__init__("unhealthy")
