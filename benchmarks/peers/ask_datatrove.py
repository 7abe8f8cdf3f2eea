"""Asks one server with datatrove's InferenceRunner, in a virtual environment of its own.

    pip install --no-deps datatrove
    pip install aiofiles aiosqlite dill fsspec httpx huggingface_hub humanize loguru multiprocess numpy
    pip install openai orjson rich tqdm xxhash

As many requests at once as the server has slots: one more would be turned away. The address ends in /v1 and
is not localhost's, so that the runner takes its `openai` client: that one sends a request up to three times,
which its client for localhost never does. Checkpoints are on, and what lies in them counts as finished, since
a rank that fails may leave no other rows.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.inference.run_inference import InferenceConfig, InferenceRunner
from datatrove.pipeline.writers import JsonlWriter
from interface import Given, Row, main


async def rollout(document: Document, generate: Any) -> str:
    """Send one request a document."""
    request = {"messages": [{"role": "user", "content": document.text}], "max_tokens": 1024}
    return str((await generate(request)).text)


def ask(given: Given, rows: list[Row]) -> Iterator[tuple[str, str | None]]:
    """Run one task, and read what it wrote, also if it fails."""
    config = InferenceConfig(
        server_type="endpoint",
        endpoint_url=f"{given.urls[0]}/v1",
        api_key="none",
        model_name_or_path="demo/simulated",
        use_chat=True,
        max_concurrent_generations=given.slots,
        default_generation_params={"temperature": 1.0, "top_p": 0.9},
        request_timeout=given.timeout,
    )
    failed = None
    with tempfile.TemporaryDirectory() as folder:
        runner = InferenceRunner(
            rollout_fn=rollout,
            config=config,
            output_writer=JsonlWriter(
                folder, output_filename="${rank}_${chunk_index}.jsonl", compression=None
            ),
            checkpoints_local_dir=f"{folder}/checkpoints",
            records_per_chunk=100,
        )
        documents = [Document(id=row["id"], text=row["text"]) for row in rows]
        try:
            LocalPipelineExecutor([documents, runner], logging_dir=f"{folder}/logs").run()
        except Exception as error:
            failed = error
        yield from finished(Path(folder))
    if failed:
        raise failed


def finished(folder: Path) -> Iterator[tuple[str, str | None]]:
    """Yield the rows of all files that a task left, checkpoints included, each once."""
    rows = dict[str, str | None]()
    for path in folder.rglob("*.jsonl"):
        for line in path.read_text().splitlines():
            found = json.loads(line)
            texts = found["metadata"]["rollout_results"]
            rows[found["id"]] = texts[0] if texts else None
    yield from rows.items()


if __name__ == "__main__":
    main(ask)
