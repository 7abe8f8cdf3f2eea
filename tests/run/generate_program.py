"""A run of the generator as a program of its own, to be killed: `URL JOURNAL OUT ROWS CONCURRENCY`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from generate_support import generator, outcomes

if __name__ == "__main__":
    url, journal, out, count, concurrency = sys.argv[1:]
    server: Any = SimpleNamespace(url=url)
    work = generator(server, Path(journal), concurrency=int(concurrency), attempts=2)
    lines = [json.dumps(asdict(row)) for row in outcomes(work, int(count))]
    Path(out).write_text("\n".join(lines), encoding="utf-8")
