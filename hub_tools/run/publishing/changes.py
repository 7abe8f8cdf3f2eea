"""What is new in a version: rows by their ids, settings and inputs, against the version before it."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dataset_cards.facts import Changes, RowChanges
from hub_tools.hub.digests import sha256
from hub_tools.hub.provenance import Dependency, Statement
from hub_tools.hub.repository import Hub, Ref, shard_config


def changes(
    hub: Hub,
    before: Ref,
    settings: Mapping[str, Any],
    stage_version: int,
    seed: int | None,
    prompts: Mapping[str, str],
    dependencies: Sequence[Dependency],
    files: Mapping[str, Path | bytes],
) -> Changes | None:
    """Return how a version to be published differs from what is there now; None where that is no version.

    Shards with the same bytes are not read. Memory is sixteen bytes a row and version.
    """
    statement = hub.statement(before)
    if statement is None or statement.version is None:
        return None
    texts = _others(stage_version, seed, prompts)
    were = _others(statement.stage_version, statement.seed, statement.prompts)
    return Changes(
        since=statement.version,
        rows=_rows(hub, before, statement, files),
        settings=_differences(_flat(statement.settings) | were, _flat(settings) | texts),
        inputs=_differences(_uris(statement.dependencies), _uris(dependencies)),
    )


def _others(stage_version: int, seed: int | None, prompts: Mapping[str, str]) -> dict[str, str]:
    """Return what can change rows beside settings and inputs, by what cards call it."""
    own = {"version of the stage": str(stage_version)} | (
        {} if seed is None else {"seed of the run": str(seed)}
    )
    return own | {f"prompt {name}": text for name, text in prompts.items()}


def record(found: Changes) -> dict[str, Any]:
    """Return changes as the provenance statement records them."""
    rows = {
        config: {"added": now.added, "dropped": now.dropped, "changed": now.changed, "same": now.same}
        for config, now in found.rows.items()
    }
    return {
        "since": found.since,
        "rows": rows,
        "settings": [list(entry) for entry in found.settings],
        "inputs": [list(entry) for entry in found.inputs],
    }


def _rows(
    hub: Hub, before: Ref, statement: Statement, files: Mapping[str, Path | bytes]
) -> dict[str, RowChanges]:
    was: dict[str, dict[str, str]] = {}
    for subject in statement.subject:
        if config := shard_config(subject.name):
            was.setdefault(config, {})[subject.name] = subject.sha256
    now: dict[str, dict[str, Path]] = {}
    for name, content in files.items():
        if isinstance(content, Path) and (config := shard_config(name)):
            now.setdefault(config, {})[name] = content
    found = {}
    for config in [*now, *(config for config in was if config not in now)]:
        shards, sums = now.get(config, {}), was.get(config, {})
        if sums == {name: sha256(path) for name, path in shards.items()}:
            same = sum(_count(path) for path in shards.values())
            found[config] = RowChanges(added=0, dropped=0, changed=0, same=same)
        else:
            old = hub.matching(before, list(sums)).values() if sums else ()
            found[config] = _compare(list(old), list(shards.values()))
    return found


def _compare(before: Sequence[Path], now: Sequence[Path]) -> RowChanges:
    import numpy as np

    old_ids, old = _digests(before)
    new_ids, new = _digests(now)
    _, at_old, at_new = np.intersect1d(old_ids, new_ids, assume_unique=True, return_indices=True)
    same = int((old[at_old] == new[at_new]).sum())
    return RowChanges(
        added=len(new_ids) - len(at_new),
        dropped=len(old_ids) - len(at_old),
        changed=len(at_old) - same,
        same=same,
    )


def _digests(shards: Sequence[Path]) -> tuple[Any, Any]:
    """Return the ids of all rows, and a digest of each row, as arrays of 64-bit numbers."""
    import numpy as np
    import pyarrow.parquet as pq

    ids, rows = array("Q"), array("Q")
    for shard in shards:
        for batch in pq.ParquetFile(shard).iter_batches(batch_size=1000):
            names = sorted(batch.schema.names)
            if "id" not in names:
                break
            columns = [batch.column(name).to_pylist() for name in names]
            for row_id, row in zip(batch.column("id").to_pylist(), zip(*columns, strict=True), strict=True):
                ids.append(_number(str(row_id)))
                rows.append(_number(repr((names, row))))
    return np.frombuffer(ids, dtype=np.uint64), np.frombuffer(rows, dtype=np.uint64)


def _number(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def _count(shard: Path) -> int:
    import pyarrow.parquet as pq

    return int(pq.read_metadata(shard).num_rows)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = json.dumps(value, ensure_ascii=False)
    return found


def _uris(dependencies: Sequence[Dependency]) -> dict[str, str]:
    found: dict[str, str] = {}
    for dependency in dependencies:
        sha = dependency.digest.get("sha256", "")
        found[dependency.name] = " ".join(
            filter(None, [found.get(dependency.name), dependency.uri, sha[:12]])
        )
    return found


def _differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[tuple[str, str, str]]:
    names = [*now, *(name for name in before if name not in now)]
    return [
        (name, before.get(name, ""), now.get(name, ""))
        for name in names
        if before.get(name, "") != now.get(name, "")
    ]
