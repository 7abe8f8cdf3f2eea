"""JSON as bytes, one way everywhere: requests, journals and keys are made of it, some thousand a second."""

from __future__ import annotations

import json
from typing import Any

import orjson


def encode(value: Any) -> bytes:
    """Return compact JSON in UTF-8 with sorted keys; what UTF-8 cannot hold (half a surrogate pair) is
    escaped.
    """
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def decode(content: bytes | str) -> Any:
    """Read JSON.

    Raises:
        ValueError: it is none, or holds what JSON has no words for (NaN, half a surrogate pair).
    """
    return orjson.loads(content)
