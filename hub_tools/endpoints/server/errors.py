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


class SuffixError(RequestError):
    """`/v1/completions` got a suffix."""

    status = 422
    error_type = "suffix not supported"

    def __init__(self) -> None:
        super().__init__("Suffix is not supported and can be achieved by preprocessing the prompt.")


class BatchError(RequestError):
    """`/v1/completions` got more prompts than one request may have, or none."""

    status = 422
    error_type = "batch size exceeded"

    def __init__(self, largest: int) -> None:
        super().__init__(f"Number of prompts must be at least 1 and at most {largest}")


class TemplateError(RequestError):
    """The tokenizer's chat template does not take these messages."""

    status = 422
    error_type = "template_error"

    def __init__(self, message: str) -> None:
        super().__init__(f"Template error: {message}")


class ToolError(RequestError):
    """The tools cannot be used as asked, or the answer is no call of one of them."""

    status = 422
    error_type = "tool_error"

    def __init__(self, message: str) -> None:
        super().__init__(f"Tool error: {message}")


class GenerationError(RequestError):
    """The model failed on this request; another try may succeed."""

    status = 424
    error_type = "generation"

    def __init__(self, message: str) -> None:
        super().__init__(f"Request failed during generation: {message}")

    @classmethod
    def of(cls, error: Exception) -> GenerationError:
        """What a library raised, by its first line."""
        return cls((str(error).strip() or type(error).__name__).splitlines()[0])


class IncompleteError(RequestError):
    """Something broke that should not have; what it was stands in the server's log alone."""

    def __init__(self) -> None:
        super().__init__("Incomplete generation")


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
