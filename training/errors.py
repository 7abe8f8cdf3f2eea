"""What trainings and conversions raise: one line that says what was wrong, what was found and the way out."""

from __future__ import annotations


class TrainingError(Exception):
    """A training that cannot start, or that stopped."""


class ConversionError(Exception):
    """A model file that cannot be fetched, read, or trusted after conversion."""
