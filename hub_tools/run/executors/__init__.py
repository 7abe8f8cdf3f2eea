"""Spreads the rows of a stage that asks a model over tasks, on this machine or on many."""

from __future__ import annotations
