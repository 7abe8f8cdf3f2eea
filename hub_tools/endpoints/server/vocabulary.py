"""The bytes that a tokenizer's tokens stand for."""

from __future__ import annotations

import json
from typing import Any


def token_bytes(tokenizer: Any) -> dict[bytes, list[int]]:
    """The bytes that each ordinary token stands for, from the tokenizer's own vocabulary."""
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    byte_level = _byte_alphabet() if _is_byte_level(tokenizer) else None
    found: dict[bytes, list[int]] = {}
    for token, number in tokenizer.get_vocab().items():
        if number not in special and (spelt := _spell(token, byte_level)):
            found.setdefault(spelt, []).append(number)
    return found


def _is_byte_level(tokenizer: Any) -> bool:
    return "ByteLevel" in json.dumps(json.loads(tokenizer.backend_tokenizer.to_str()).get("decoder"))


def _spell(token: str, byte_level: dict[str, int] | None) -> bytes:
    if byte_level is not None:
        return bytes(byte_level[character] for character in token) if set(token) <= byte_level.keys() else b""
    if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        return bytes([int(token[3:5], 16)])
    return token.replace("\u2581", " ").encode()


def _byte_alphabet() -> dict[str, int]:
    """The printable character by which byte-level BPE writes each byte (GPT-2's table)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(byte): byte for byte in printable}
    others = [byte for byte in range(256) if byte not in set(printable)]
    table.update({chr(256 + place): byte for place, byte in enumerate(others)})
    return table
