"""Compiles one grammar in a process of its own: the request comes on stdin, the result goes to stdout.

A short regular expression can need minutes and gigabytes (`.{1,9999}`), a small schema can become a huge
expression, and nothing can interrupt the compiler from within. A process can be stopped, and its memory and
time are limited.
"""

from __future__ import annotations

import pickle
import resource
import sys
from collections.abc import Mapping
from typing import Any

from outlines_core import Index, Vocabulary
from outlines_core.json_schema import build_regex_from_schema

LARGEST_BYTES = 2_000_000_000
LARGEST_RESULT = 256_000_000  # the server keeps some of them
LONGEST_CPU_SECONDS = 120  # the parent is stricter, but may be gone


def build(kind: str, text: str, eos_id: int, tokens: Mapping[bytes, list[int]]) -> Any:
    """The automaton over tokens, or a sentence that says why there is none."""
    try:
        regex = text if kind == "regex" else str(build_regex_from_schema(text))
    except (ValueError, TypeError, RecursionError) as error:
        return f"cannot compile regex from schema: {_first_line(error)}"
    try:
        return Index(regex, Vocabulary(eos_id, dict(tokens)))
    except ValueError as error:
        return f"grammar is not valid: {_first_line(error)}"


def main() -> None:
    """Answer with a pickled index, or with a pickled sentence."""
    resource.setrlimit(resource.RLIMIT_AS, (LARGEST_BYTES, LARGEST_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (LONGEST_CPU_SECONDS, LONGEST_CPU_SECONDS))
    result = pickle.dumps(build(*pickle.load(sys.stdin.buffer)))  # noqa: S301 - our own parent wrote it
    if len(result) > LARGEST_RESULT:
        raise MemoryError
    sys.stdout.buffer.write(result)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


if __name__ == "__main__":
    main()
