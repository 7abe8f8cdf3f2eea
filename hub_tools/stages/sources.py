"""Source files: JSON lines, plain or gzipped, with errors that name the line."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from hub_tools.errors import DataError
from hub_tools.records import Rejected, row_id

BadLines = Literal["stop", "reject"]


def json_lines(
    paths: Sequence[Path], bad_lines: BadLines, setting: str
) -> Iterator[dict[str, Any] | Rejected]:
    """Yield one object a line; a line that is none stops the run, or is rejected where the recipe says so.

    Raises:
        DataError: a broken line, a file that cannot be read, or no line at all. `setting` names the way out.
    """
    empty = True
    for path in paths:
        for number, line in enumerate(_lines(path), start=1):
            if not line.strip():
                continue
            empty = False
            yield _parse(line, f"{path.name}:{number}", bad_lines, setting)
    if empty:
        names = ", ".join(path.name for path in paths) or "no file"
        raise DataError(f"{names}: there is not a single document; point {setting}.source at JSON lines")


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
            yield from lines
    except (OSError, EOFError) as error:
        raise DataError(f"{path.name} cannot be read to its end: {error}; get the file again") from error


def _parse(line: bytes, place: str, bad_lines: BadLines, setting: str) -> dict[str, Any] | Rejected:
    try:
        value = json.loads(line)
        problem = "" if isinstance(value, dict) else f"a JSON {type(value).__name__}, not an object"
    except (ValueError, RecursionError) as error:
        problem = f"not JSON ({error})"
    if not problem:
        return dict(value)
    if bad_lines == "stop":
        raise DataError(f"{place} is {problem}; mend or remove the line, or set {setting}.bad_lines: reject")
    text = line.decode("utf-8", errors="replace").strip()
    return Rejected(id=row_id("line", place), reason="bad_line", detail=f"{place}: {problem}", row=text)
