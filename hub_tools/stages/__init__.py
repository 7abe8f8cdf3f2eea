"""The stages, one a file: its settings, its function, and the prompt it names.

Importing this package registers every stage; `registry.STAGES` then knows them by name.
"""

from hub_tools.stages import (
    backtranslate,
    checkpoint,
    curate,
    distill,
    gguf,
    merge,
    mix,
    report,
    responses,
    rewrite,
    seed,
    train,
)

__all__ = [
    "backtranslate",
    "checkpoint",
    "curate",
    "distill",
    "gguf",
    "merge",
    "mix",
    "report",
    "responses",
    "rewrite",
    "seed",
    "train",
]
