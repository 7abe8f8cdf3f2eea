"""The numbers of the paper (arXiv 2408.04614v2) that stand beside ours in tables and figures."""

from __future__ import annotations

# Table 6: mean tokens of instruction and response.
MEAN_TOKENS: dict[str, tuple[int, int]] = {
    "Dolma + filtering": (69, 499),
    "Dolma + rewriting": (58, 449),
    "Dolma + filtering + rewriting": (69, 468),
    "Dolma + filtering + distilling": (69, 567),
    "ClueWeb + filtering": (31, 442),
    "Open Orca": (248, 181),
    "ShareGPT": (264, 318),
    "Alpaca-GPT4": (25, 163),
    "Self-instruct": (38, 37),
    "Open Assistant": (40, 273),
}

# Section 2: the share of the judge's answers that hold a score from 1 to 5, and of the pool that scores 5.
PARSED_SHARE = 0.88
TOP_SHARE = 0.136
