"""The fingerprint of a node: one sha256 over everything that can change what it makes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from hub_tools.hub.digests import sha256
from hub_tools.hub.provenance import Statement
from hub_tools.hub.repository import Ref


def fingerprint(
    *,
    stage: tuple[str, int],
    settings: Mapping[str, Any],
    prompts: Mapping[str, str],
    inputs: Mapping[str, tuple[str, str | None]],
    files: Sequence[str],
    model: str | None,
    seed: int | None,
) -> str:
    """Return the fingerprint, 64 hexadecimal digits.

    `stage` is name and version, `inputs` are address and config by name, `files` the sha256 of the source
    files in their order, `model` the address of the model that is asked. `urn:backforth:node:v1` stands for
    this very form: another one needs another build type.
    """
    content = {
        "stage": list(stage),
        "settings": settings,
        "prompts": {name: sha256(text.encode()) for name, text in prompts.items()},
        "inputs": {name: list(address) for name, address in inputs.items()},
        "files": list(files),
        "model": model,
        "seed": seed,
    }
    return sha256(json.dumps(content, sort_keys=True).encode())


def stated(statement: Statement) -> str:
    """Return the fingerprint of what a statement says that its node was made of."""
    entries = statement.dependencies
    repos = [entry for entry in entries if Ref.parse(entry.uri)]
    # A stage that asks a model has a seed, and its model stands behind its inputs.
    model = repos.pop() if statement.seed is not None and repos else None
    return fingerprint(
        stage=(statement.stage, statement.stage_version),
        settings=statement.settings,
        prompts=statement.prompts,
        inputs={entry.name: (entry.uri, entry.config) for entry in repos},
        files=[entry.digest.get("sha256", "") for entry in entries if entry.is_source],
        model=model.uri if model else None,
        seed=statement.seed,
    )
