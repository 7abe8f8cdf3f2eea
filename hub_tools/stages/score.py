"""Finds the judge's score, 1 to 5, in an answer that may put it in many ways; a doubtful score is none."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# A new "Instruction:" block after the verdict is the model running on into an example of its own.
RUN_ON = re.compile(r"\n\s*#*\s*\**\s*(instruction|answer|response|question)\s*\**\s*:", re.IGNORECASE)
WRAP = r"[\s*_`\"'(<\[{]*"
NUMBER = r"(?P<number>[+-]?\d+(?:[.,]\d+)?)"
SCALE = r"(?:\s*[*_`\"')>\]}]*\s*(?:/|out\s+of|of)\s*[*_]*(?P<scale>\d+))?"
RANGE = r"(?P<range>\s*(?:-|\u2013|to|or|/)\s*\d)?"
LABEL = re.compile(
    rf"\b(?:score|rating|grade)\"?\s*[*_]*\s*(?::|=|is|of)\s*{WRAP}{NUMBER}{SCALE}{RANGE}", re.IGNORECASE
)
OUT_OF = re.compile(
    r"(?<![\d.,-])(?P<number>\d+(?:[.,]\d+)?)\s*(?:/|out\s+of)\s*(?P<scale>\d+)", re.IGNORECASE
)
VERB = re.compile(
    rf"\b(?:rate|give|score|award)\b(?:\s+(?:this|that|it|the|its|answer|response|text|with|as|a|an)\b)*\s+{WRAP}{NUMBER}{SCALE}{RANGE}",
    re.IGNORECASE,
)
CLOSE = r"[ \t*_`\"')>\]}.]*"
ALONE = re.compile(rf"(?:\A\s*{WRAP}{NUMBER}{CLOSE}(?:\n|\Z))|(?:\n{WRAP}(?P<last>\d){CLOSE}\s*\Z)")
DIGITS = frozenset("12345")
# The last bits of a probability depend on how many threads summed it up.
DIGITS_THAT_COUNT = 6
RULES = (("label", LABEL), ("out_of", OUT_OF), ("verb", VERB), ("alone", ALONE))


@dataclass(frozen=True, slots=True)
class Score:
    """A score of 1 to 5, or None, and the rule that found it (`none` where no rule did)."""

    value: int | None
    rule: str


def parse_score(text: str) -> Score:
    """Return the last score that the strongest rule finds before the answer runs on into a new example."""
    run_on = RUN_ON.search(text)
    verdict = text[: run_on.start()] if run_on and LABEL.search(text[: run_on.start()]) else text
    for name, pattern in RULES:
        matches = list(pattern.finditer(verdict))
        if matches:
            return Score(_value(matches[-1]), name)
    return Score(None, "none")


def _value(match: re.Match[str]) -> int | None:
    groups = match.groupdict()
    number = float((groups["number"] or groups["last"]).replace(",", "."))
    if groups.get("range") and not groups.get("scale"):
        return None
    if groups.get("scale") not in (None, "5"):
        return None
    return int(number) if number in (1, 2, 3, 4, 5) else None


def expected_score(tokens: Sequence[tuple[str, Mapping[str, float]]], score: int | None) -> float | None:
    """Return the mean of 1 to 5 under the judge's probabilities at the token that gave the score; None
    without them.
    """
    for token, rivals in reversed(tokens):
        if token.strip() == str(score):
            weights = [
                (int(rival), math.exp(value)) for rival, value in rivals.items() if rival.strip() in DIGITS
            ]
            total = sum(weight for _, weight in weights)
            mean = sum(value * weight for value, weight in weights) / total if total else None
            return None if mean is None else round(mean, DIGITS_THAT_COUNT)
    return None
