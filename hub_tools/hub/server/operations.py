"""The body of a commit request: one JSON object a line, read one line at a time."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import BaseModel, Field, TypeAdapter

from hub_tools.hub.server.blobs import BlobStore
from hub_tools.hub.server.drafts import Drafts
from hub_tools.hub.server.errors import bad_request
from hub_tools.hub.server.trees import MAX_SIZE, Entry, blob_id, check_path, lfs_entry


@dataclass(frozen=True)
class Put:
    """Write a file whose bytes are in the blob store already."""

    path: str
    entry: Entry


@dataclass(frozen=True)
class Delete:
    """Remove a file, or a folder with all that is in it."""

    path: str
    folder: bool


@dataclass
class CommitRequest:
    """What one commit request asks for; operations apply in the order they were sent."""

    title: str = ""
    message: str = ""
    parent: str | None = None
    operations: list[Put | Delete] = field(default_factory=list)


class _Header(BaseModel):
    summary: str = ""
    description: str = ""
    parentCommit: str | None = None  # noqa: N815 - the wire's name


class _File(BaseModel):
    path: str
    content: str
    encoding: Literal["base64", "utf-8"] = "base64"


class _LfsFile(BaseModel):
    path: str
    oid: str = Field(pattern=r"^[0-9a-f]{64}$")
    algo: Literal["sha256"] = "sha256"
    size: int | None = Field(None, ge=0, le=MAX_SIZE)


class _Path(BaseModel):
    path: str


class _HeaderLine(BaseModel):
    key: Literal["header"]
    value: _Header


class _FileLine(BaseModel):
    key: Literal["file"]
    value: _File


class _LfsLine(BaseModel):
    key: Literal["lfsFile"]
    value: _LfsFile


class _DeleteLine(BaseModel):
    key: Literal["deletedFile", "deletedFolder"]
    value: _Path


_Line = Annotated[_HeaderLine | _FileLine | _LfsLine | _DeleteLine, Field(discriminator="key")]
_LINE: TypeAdapter[_HeaderLine | _FileLine | _LfsLine | _DeleteLine] = TypeAdapter(_Line)


class CommitReader:
    """Turns the lines of a request into operations, storing contents on the way."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._drafts = Drafts(blobs)
        self._started = False
        self.request = CommitRequest()

    def feed(self, line: bytes) -> None:
        """Take one line; the first must be the header. Raises 400 for anything that cannot be committed."""
        parsed = _LINE.validate_json(line)
        if isinstance(parsed, _HeaderLine) == self._started:
            raise bad_request("A commit must start with its header line, and has only one")
        self._started = True
        if isinstance(parsed, _HeaderLine):
            header = parsed.value
            self.request = CommitRequest(header.summary, header.description, header.parentCommit)
        elif isinstance(parsed, _DeleteLine):
            delete = Delete(parsed.value.path.strip("/"), folder=parsed.key == "deletedFolder")
            self.request.operations.append(delete)
        else:
            check_path(parsed.value.path)
            entry = (
                self._regular(parsed.value) if isinstance(parsed, _FileLine) else self._large(parsed.value)
            )
            self.request.operations.append(Put(parsed.value.path, entry))

    def finish(self) -> CommitRequest:
        """Keep the contents and return the whole request, once all lines have come."""
        if not self._started:
            raise bad_request("The commit has no header line")
        self._drafts.keep()
        return self.request

    def close(self) -> None:
        """Remove what was written for a request that was not finished."""
        self._drafts.discard()

    def _regular(self, file: _File) -> Entry:
        try:
            data = (
                base64.b64decode(file.content, validate=True)
                if file.encoding == "base64"
                else file.content.encode()
            )
        except (binascii.Error, ValueError) as error:
            raise bad_request(f"The content of {file.path!r} is not base64: {error}") from error
        return Entry(blob_id(data), len(data), self._drafts.add(data), lfs=False)

    def _large(self, file: _LfsFile) -> Entry:
        if not self._blobs.has(file.oid):
            raise bad_request(f"The LFS object {file.oid} of {file.path!r} has not been uploaded")
        size = self._blobs.size(file.oid)
        if file.size is not None and file.size != size:
            raise bad_request(
                f"{file.path!r} was announced with {file.size} bytes, but its object has {size}"
            )
        return lfs_entry(file.oid, size)
