"""Compiles one grammar in a process of its own: the request comes on stdin, the result goes to stdout.

A short regular expression can need minutes and gigabytes (`.{1,9999}`), and nothing can interrupt the
compiler from within. A process can be stopped, and its memory is limited.
"""

from __future__ import annotations

import pickle
import resource
import sys
from collections.abc import Mapping
from typing import Any

from outlines_core import Index, Vocabulary

LARGEST_BYTES = 2_000_000_000
LARGEST_RESULT = 256_000_000  # the server keeps some of them


def build(regex: str, eos_id: int, tokens: Mapping[bytes, list[int]]) -> Any:
    """The automaton over tokens; raises `ValueError` for a regular expression that is not valid."""
    return Index(regex, Vocabulary(eos_id, dict(tokens)))


def main() -> None:
    """Answer with a pickled index, or with a pickled sentence that says why there is none."""
    resource.setrlimit(resource.RLIMIT_AS, (LARGEST_BYTES, LARGEST_BYTES))
    try:
        result = pickle.dumps(build(*pickle.load(sys.stdin.buffer)))  # noqa: S301 - our own parent wrote it
    except ValueError as error:
        result = pickle.dumps(str(error))
    if len(result) > LARGEST_RESULT:
        raise MemoryError
    sys.stdout.buffer.write(result)


if __name__ == "__main__":
    main()
