"""What disqualifies a web document: its length, control tokens, boilerplate, and copies of earlier
documents.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

from hub_tools.errors import DataError
from hub_tools.stages.registry import Reject

ENDS_A_SENTENCE = tuple(".!?:;\"')…\u201d\u2019")
SKETCH = 64


class TokenCounter:
    """Counts tokens as the base model does; `control_tokens` are the texts that steer that model."""

    def __init__(self, model: Path) -> None:
        from tokenizers import Tokenizer

        try:
            self._tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
        except Exception as error:
            raise DataError(f"the base model has no tokenizer.json that can be read: {error}") from error
        added = json.loads(self._tokenizer.to_str()).get("added_tokens") or []
        self.control_tokens = frozenset(token["content"] for token in added if token.get("special"))

    def __call__(self, text: str) -> int:
        """Return the number of tokens of a text, without the tokens that begin and end a sequence."""
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)


def length(text: str, tokens: int, min_words: int, max_tokens: int) -> Reject | None:
    """Reject a text that is too short to answer anything, or too long for the model's context."""
    words = len(text.split())
    if words < min_words:
        return Reject("too_short", f"{words} words, fewer than {min_words}")
    if tokens > max_tokens:
        return Reject("too_long", f"{tokens} tokens, more than {max_tokens}")
    return None


def control_tokens(text: str, tokens: Collection[str]) -> Reject | None:
    """Reject a text that holds a control token, since it would steer the model that reads it."""
    found = sorted(token for token in tokens if token in text)
    return Reject("control_tokens", f"holds {', '.join(found)}") if found else None


def boilerplate(text: str) -> Reject | None:
    """Reject a text that is menus, lists of links and prices rather than sentences."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    words = sum(len(line.split()) for line in lines)
    in_sentences = sum(
        len(line.split()) for line in lines if line.endswith(ENDS_A_SENTENCE) or len(line.split()) > 12
    )
    letters = sum(character.isalpha() or character.isspace() for character in text)
    if words and in_sentences / words < 0.5:
        return Reject("boilerplate", f"{in_sentences} of {words} words stand in sentences")
    if text and letters / len(text) < 0.7:
        return Reject("boilerplate", f"{letters} of {len(text)} characters are letters or spaces")
    return None


class Duplicates:
    """Finds exact and near copies of earlier texts by the smallest hashes of their five-word shingles
    (MinHash).

    `share` is the estimated Jaccard similarity from which two texts count as the same. Memory grows by about
    10 kB a text.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._exact: set[bytes] = set()
        self._sketches: list[frozenset[int]] = []
        self._holders: defaultdict[int, list[int]] = defaultdict(list)

    def check(self, text: str) -> Reject | None:
        """Reject a copy; remember everything else."""
        words = re.findall(r"\w+", text.lower())
        digest = hashlib.sha256(" ".join(words).encode()).digest()
        if digest in self._exact:
            return Reject("duplicate", "the same words as an earlier document")
        sketch = _sketch(words)
        likeness = max((self._likeness(sketch, other) for other in self._candidates(sketch)), default=0.0)
        if likeness >= self._share:
            return Reject("near_duplicate", f"about {likeness:.0%} of it stands in an earlier document")
        self._exact.add(digest)
        for value in sketch:
            self._holders[value].append(len(self._sketches))
        self._sketches.append(sketch)
        return None

    def _candidates(self, sketch: frozenset[int]) -> set[int]:
        return {index for value in sketch for index in self._holders.get(value, ())}

    def _likeness(self, sketch: frozenset[int], other: int) -> float:
        theirs = self._sketches[other]
        smallest = sorted(sketch | theirs)[:SKETCH]
        return sum(value in sketch and value in theirs for value in smallest) / len(smallest)


def _sketch(words: list[str]) -> frozenset[int]:
    shingles = {" ".join(words[start : start + 5]) for start in range(max(1, len(words) - 4))}
    hashes = (int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) for text in shingles)
    return frozenset(sorted(hashes)[:SKETCH])
