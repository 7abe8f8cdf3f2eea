"""Provenance: what a published repo was made of, as an in-toto Statement v1 with the SLSA provenance v1
predicate.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from hub_tools import __version__

BUILD_TYPE = "urn:backforth:node:v1"
LIBRARIES = ("datasets", "huggingface_hub", "peft", "pyarrow", "torch", "transformers", "trl")


def statement(
    *,
    node: str,
    stage: str,
    stage_version: int,
    fingerprint: str,
    parameters: Mapping[str, Any],
    dependencies: Sequence[Mapping[str, Any]],
    files: Mapping[str, Path | bytes],
    started: datetime,
    run: Mapping[str, Any],
) -> dict[str, Any]:
    """Build the statement for the files of one commit; `run` holds counts, endpoint facts and times.

    `dependencies` are SLSA resource descriptors: `{name, uri, digest}`. No token and no local path goes in.
    """
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": path, "digest": {"sha256": sha256(files[path])}} for path in sorted(files)],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"node": node, "stage": stage, **parameters},
                "internalParameters": {"fingerprint": fingerprint, "stage_version": stage_version},
                "resolvedDependencies": list(dependencies),
            },
            "runDetails": {
                "builder": {"id": f"backforth@{__version__}", "version": versions()},
                "metadata": {"startedOn": _time(started), "finishedOn": _time(datetime.now(UTC))},
                "byproducts": [{"name": "run", "annotations": dict(run)}],
            },
        },
    }


def to_bytes(document: Mapping[str, Any]) -> bytes:
    """Return a statement as it is stored."""
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def run_details(provenance: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a statement records of its run: counts, seconds, losses."""
    byproducts = provenance["predicate"]["runDetails"]["byproducts"]
    return next((entry["annotations"] for entry in byproducts if entry["name"] == "run"), {})


def parameters(provenance: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings and prompts that a statement records."""
    return dict(provenance["predicate"]["buildDefinition"]["externalParameters"])


def dependencies(provenance: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the pinned inputs that a statement records."""
    return list(provenance["predicate"]["buildDefinition"]["resolvedDependencies"])


def sha256(content: Path | bytes) -> str:
    """Return the sha256 of a file or of bytes, in hexadecimal."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that shape results, where they are installed."""
    found = {"python": platform.python_version(), "backforth": __version__}
    for library in LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return found


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
