"""Asks one server with distilabel, in a virtual environment of its own.

    pip install distilabel openai requests

It sends a batch at once and waits for the slowest row of it, so replicas of the step are its means against a
long tail: sixteen here, which together hold as many rows as the server has slots (more of them would be small
batches for many processes). The loader hands over all rows as one batch, or else the replicas take turns.
`top_p` is below its default of 1.0, which TGI refuses; it tries a request seven times by default.
"""

from __future__ import annotations

from collections.abc import Iterator

from distilabel.models import OpenAILLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts, StepResources
from distilabel.steps.tasks import ChatGeneration
from interface import Given, Row, main

PROCESSES = 16


def ask(given: Given, rows: list[Row]) -> Iterator[tuple[str, str | None]]:
    """Run the pipeline, and read the rows of the dataset that comes out."""
    chats = [{"id": row["id"], "messages": [{"role": "user", "content": row["text"]}]} for row in rows]
    with Pipeline(name="rewrite") as pipeline:
        load = LoadDataFromDicts(data=chats, batch_size=len(chats))
        generate = ChatGeneration(
            llm=OpenAILLM(
                model="demo/simulated",
                base_url=f"{given.urls[0]}/v1",
                api_key="none",
                timeout=given.timeout,
                generation_kwargs={"max_new_tokens": 1024, "temperature": 1.0, "top_p": 0.9},
            ),
            input_batch_size=given.slots // PROCESSES,
            resources=StepResources(replicas=PROCESSES),
            add_raw_output=False,
            add_raw_input=False,
        )
        load >> generate
    for row in pipeline.run(use_cache=False)["default"]["train"]:
        yield row["id"], row["generation"]


if __name__ == "__main__":
    main(ask)
