"""Errors that a user meets: one line that says what was wrong, what was found, and what to do."""

from __future__ import annotations


class BackforthError(Exception):
    """A run cannot go on; the message is the one line that the command line prints."""

    exit_code = 1


class RecipeError(BackforthError):
    """The recipe is wrong; nothing has run."""

    exit_code = 2


class DataError(BackforthError):
    """An input file or dataset does not hold what the stage needs."""


class HubError(BackforthError):
    """The Hub refused, lacks something, or does not answer."""


class EndpointDown(BackforthError):  # noqa: N818  (it names a state, and reads better where it is caught)
    """An endpoint does not answer, or serves another model than the recipe asks for."""
