"""The responses stage: web documents that may become responses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from pydantic import Field

from hub_tools.records import Rejected, Response, row_id
from hub_tools.stages import quality
from hub_tools.stages.registry import (
    MODEL,
    Input,
    Inputs,
    Reject,
    Render,
    StageConfig,
    Transform,
    rejected,
    stage,
)
from hub_tools.stages.sources import BadLines, json_lines


class ResponsesConfig(StageConfig):
    """Settings of the responses stage (paper, section 2: documents near or over the context length are
    dropped).
    """

    source: str = Field(
        description="Documents in Dolma's format, or C4's (.jsonl or .jsonl.gz; one object with "
        "`text` a line): a path, "
        "a glob, or hf://datasets/REPO@REVISION/FILE."
    )
    license: str = Field("odc-by", description="The licence of the corpus.")
    language: str | None = Field(
        "en", description="Keep documents whose metadata name this language, or none at all."
    )
    min_words: int = Field(20, ge=1, description="Drop shorter documents, in words.")
    max_tokens: int = Field(1500, ge=1, description="Drop longer documents, in tokens of the base model.")
    near_duplicate: float = Field(
        0.7,
        gt=0,
        le=1,
        description="Drop a document that shares this much of its five-word shingles with an earlier one.",
    )
    max_documents: int | None = Field(
        None, ge=1, description="Keep the first so many documents; null keeps all."
    )
    bad_lines: BadLines = Field("stop", description="What a line that is not JSON does: stop, or reject.")

    def files(self) -> list[str]:
        """Return the one source that the settings name."""
        return [self.source]


@stage("responses", writes=Response, reads={"base": Input(MODEL)})
def responses(config: ResponsesConfig, render: Render) -> Transform[Response]:
    """Candidate responses: web documents that a model could have written to somebody's request.

    Their text is as it was found; too short or long ones, copies, lists and menus are left out.
    """

    def rows(inputs: Inputs) -> Iterator[Response | Rejected]:
        count = quality.TokenCounter(inputs.folder("base", ["tokenizer.json"]))
        checks = _checks(config, count)
        kept = 0
        for document in json_lines(inputs.files(), config.bad_lines, "stages.responses"):
            if isinstance(document, Rejected):
                yield document
                continue
            row = _row(document, config, count)
            reject = next((reject for check in checks if (reject := check(document, row))), None)
            if reject is None and config.max_documents is not None and kept >= config.max_documents:
                reject = Reject("over_count", f"more than max_documents={config.max_documents}")
            kept += reject is None
            yield rejected(row, reject) if reject else row

    return Transform(rows=rows)


Check = Callable[[dict[str, Any], Response], Reject | None]


def _checks(config: ResponsesConfig, count: quality.TokenCounter) -> list[Check]:
    duplicates = quality.Duplicates(config.near_duplicate)
    return [
        lambda document, row: _language(document, config.language),
        lambda document, row: quality.length(row.text, row.n_tokens, config.min_words, config.max_tokens),
        lambda document, row: quality.control_tokens(row.text, count.control_tokens),
        lambda document, row: quality.boilerplate(row.text),
        lambda document, row: duplicates.check(row.text),
    ]


def _language(document: dict[str, Any], wanted: str | None) -> Reject | None:
    metadata = document.get("metadata")
    language = metadata.get("language") if isinstance(metadata, dict) else document.get("language")
    if wanted and isinstance(language, str) and language != wanted:
        return Reject("language", f"{language}, not {wanted}")
    return None


def _row(document: dict[str, Any], config: ResponsesConfig, count: quality.TokenCounter) -> Response:
    metadata = document["metadata"] if isinstance(document.get("metadata"), dict) else {}
    text = document["text"].strip() if isinstance(document.get("text"), str) else ""
    source = str(document.get("source") or "web")
    url = metadata.get("url") or document.get("url")
    key = str(document.get("id") or url or json.dumps(document, sort_keys=True))
    return Response(
        id=row_id(source, key),
        source=source,
        url=str(url) if url else None,
        license=config.license,
        text=text,
        n_tokens=count(text),
        created=_text(document.get("created") or document.get("timestamp")),
        dump=_text(metadata.get("cc_segment") or metadata.get("dump")),
    )


def _text(value: object) -> str | None:
    return str(value) if value else None
