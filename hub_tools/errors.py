"""Errors that a user meets: one line that says what was wrong, what was found, and what to do."""

from __future__ import annotations


class BackforthError(Exception):
    """A run cannot go on; the message is the one line that the command line prints."""

    exit_code = 1
    label = "error"


class RecipeError(BackforthError):
    """The recipe is wrong; nothing has run."""

    exit_code = 2


class DataError(BackforthError):
    """An input file or dataset does not hold what the stage needs."""


class HubError(BackforthError):
    """The Hub refused, lacks something, or does not answer."""


class EndpointDown(BackforthError):  # noqa: N818  (it names a state, and reads better where it is caught)
    """An endpoint does not answer, or serves another model than the recipe asks for."""


class Stopped(BackforthError):  # noqa: N818  (it is no error)
    """Somebody stopped the run; `exit_code` tells by which signal."""

    label = "stopped"

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
