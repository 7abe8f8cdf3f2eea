"""Runs a stage's function over files, as the runner would, without a Hub."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hub_tools.prompts import Prompts
from hub_tools.records import Generation
from hub_tools.stages.registry import Answer

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "hub_tools" / "recipes" / "demo"
SHARED = ROOT.parent / "shared" / "data"
RENDER = Prompts().render


class FileInputs:
    """Inputs of a stage that reads source files and rows from memory."""

    name = "stage-under-test"

    def __init__(
        self, work: Path, files: Sequence[Path] = (), model: Path | None = None, **rows: Any
    ) -> None:
        self.work = work
        self._files = files
        self._model = model
        self._rows = rows

    def tick(self, *_: Any, **__: Any) -> None:
        pass

    def rows(self, name: str) -> Iterator[Any]:
        return iter(self._rows[name])

    def files(self) -> Sequence[Path]:
        return self._files

    def folder(self, name: str, patterns: Sequence[str] | None = None) -> Path:
        assert self._model is not None
        return self._model

    def node(self, name: str) -> str:
        return name


def answer(text: str, finish_reason: str = "stop", tokens: Any = ()) -> Answer:
    """An answer as an endpoint would have given it."""
    generation = Generation(
        model="demo/model",
        model_sha="0" * 40,
        endpoint="test",
        temperature=1.0,
        top_p=0.9,
        seed=1,
        finish_reason=finish_reason,
        prompt_tokens=10,
        completion_tokens=5,
        prompt_sha256="0" * 64,
    )
    return Answer(text=text, generation=generation, tokens=tokens)
