"""What trainings and conversions raise: one line that says what was wrong, what was found and the way out."""

from __future__ import annotations


class TrainingError(Exception):
    """A training that cannot start, or that stopped."""


class OutOfMemory(TrainingError):  # noqa: N818
    """A training whose micro-batch does not fit into memory; a smaller one may."""


class NotCompiled(TrainingError):  # noqa: N818
    """A training whose layers the compiler could not compile; it may run without."""


class ConversionError(Exception):
    """A model file that cannot be fetched, read, or trusted after conversion."""


def one_line(error: BaseException) -> str:
    """Return what an error says, or else is, in one line of at most 300 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:299] + "…"
