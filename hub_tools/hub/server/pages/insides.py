"""What is inside files that are no texts: the columns of Parquet, the tensors of safetensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hub_tools.hub.server import model_files
from hub_tools.hub.server.blobs import BlobStore
from hub_tools.hub.server.pages.render import count
from hub_tools.hub.server.trees import Entry

_MAX_LISTED = 2_000


@dataclass(frozen=True)
class Insides:
    """A sentence about the whole, and a table of its parts."""

    words: str
    head: Sequence[str]
    parts: Sequence[Sequence[str]]
    left: int = 0


def insides(blobs: BlobStore, path: str, entry: Entry) -> Insides | None:
    """What a file is made of; None for kinds that are not known here, and damaged ones."""
    if path.lower().endswith(".parquet"):
        return _columns(blobs.path(entry.sha256))
    if path.lower().endswith(".safetensors"):
        return _tensors(blobs, entry)
    return None


def _columns(path: Path) -> Insides | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        footer = pq.read_metadata(path)
        fields = [(field.name, str(field.type)) for field in footer.schema.to_arrow_schema()]
    except (pa.ArrowException, OSError, ValueError):
        return None
    words = f"{count(footer.num_rows)} rows in {count(footer.num_row_groups)} row groups"
    return Insides(words, ("Column", "Type"), fields[:_MAX_LISTED], max(0, len(fields) - _MAX_LISTED))


def _tensors(blobs: BlobStore, entry: Entry) -> Insides | None:
    tensors = model_files.head(blobs, entry)
    tensors.pop("__metadata__", None)
    sizes: dict[str, int] = {}
    parts = []
    for name, tensor in tensors.items():
        kind, size = model_files.parameters(tensor)
        if kind:
            sizes[kind] = sizes.get(kind, 0) + size
            parts.append((name, kind, " x ".join(map(str, tensor["shape"])) or "scalar"))
    if not parts:
        return None
    by_kind = ", ".join(f"{count(size)} {kind}" for kind, size in sorted(sizes.items()))
    words = f"{count(len(parts))} tensors, {count(sum(sizes.values()))} parameters ({by_kind})"
    return Insides(words, ("Tensor", "Type", "Shape"), parts[:_MAX_LISTED], max(0, len(parts) - _MAX_LISTED))
