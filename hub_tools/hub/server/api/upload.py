"""From files to a commit: how each file should travel, and the commit itself."""

from __future__ import annotations

import base64
import binascii

from pathspec import GitIgnoreSpec
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hub_tools.hub.server import commits, discussions, refs, repos
from hub_tools.hub.server.accounts import Viewer
from hub_tools.hub.server.blobs import BlobStore
from hub_tools.hub.server.errors import bad_request, too_large
from hub_tools.hub.server.http import (
    Access,
    Call,
    base_url,
    find_repo,
    limited,
    redirect_if_moved,
    route,
    store_of,
    viewer_of,
)
from hub_tools.hub.server.operations import CommitReader, CommitRequest
from hub_tools.hub.server.repos import Repo
from hub_tools.hub.server.trees import MAX_SIZE, Tree, check_path

MAX_REGULAR_BYTES = 10 << 20
# One line holds one regular file in base64, with room for clients that ignore the upload mode.
MAX_LINE_BYTES = 64 << 20
MAX_COMMIT_BYTES = 4 << 30
MAX_GITIGNORE_BYTES = 64 << 10

_BINARY_FORMATS = """
    7z arrow avro bin bz2 ckpt ftz gguf gz h5 jpeg jpg joblib lz4 mlmodel model mp3 mp4 msgpack npy npz onnx
    ot parquet pb pickle pkl png pt pth rar safetensors tar tflite tgz wasm wav webp xz zip zst
"""
_LFS_SUFFIXES = tuple(f".{name}" for name in _BINARY_FORMATS.split())
GITATTRIBUTES = "".join(
    f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in _LFS_SUFFIXES
).encode()


class _File(BaseModel):
    path: str
    size: int = Field(ge=0, le=MAX_SIZE)
    sample: str = ""


class _Files(BaseModel):
    files: list[_File]
    gitIgnore: str | None = None  # noqa: N815 - the wire's name


def preupload(call: Call) -> Response:
    """Tell for each file whether its bytes go into the commit or to the large-file storage."""
    body = call.parse(_Files)
    wanted = body.files
    for file in wanted:
        check_path(file.path)
    with call.store.db.read() as db:
        repo = call.repo(db, _access(call.request))
        tree = commits.tree(db, repo, refs.resolve(db, repo, call.part("rev")))
    ignored = _ignored(call.store.blobs, tree) if body.gitIgnore is None else _patterns(body.gitIgnore)
    answer = [
        {
            "path": file.path,
            "uploadMode": "lfs" if _goes_to_lfs(file) else "regular",
            "shouldIgnore": ignored.match_file(file.path),
            "oid": tree[file.path].etag if file.path in tree else None,
        }
        for file in wanted
    ]
    return JSONResponse({"files": answer})


def _ignored(blobs: BlobStore, tree: Tree) -> GitIgnoreSpec:
    entry = tree.get(".gitignore")
    if entry is None or entry.size > MAX_GITIGNORE_BYTES or not blobs.has(entry.sha256):
        return _patterns("")
    return _patterns(blobs.get(entry.sha256).decode("utf-8", "replace"))


def _patterns(text: str) -> GitIgnoreSpec:
    try:
        return GitIgnoreSpec.from_lines(text[:MAX_GITIGNORE_BYTES].splitlines())
    except ValueError:
        # A file that git could not read either ignores nothing.
        return GitIgnoreSpec.from_lines([])


def _goes_to_lfs(file: _File) -> bool:
    if file.size > MAX_REGULAR_BYTES or file.path.lower().endswith(_LFS_SUFFIXES):
        return True
    try:
        sample = base64.b64decode(file.sample, validate=True)
    except (binascii.Error, ValueError) as error:
        raise bad_request(f"The sample of {file.path!r} is not base64: {error}") from error
    try:
        return "\0" in sample.decode()
    except UnicodeDecodeError as error:
        # The sample may end in the middle of a character.
        return error.start < len(sample) - 3


async def commit(request: Request) -> Response:
    """Read a commit line by line, store its contents, and then move the branch in one step."""
    viewer = viewer_of(request)
    await run_in_threadpool(_check_write, request, viewer)
    reader = CommitReader(store_of(request).blobs)
    try:
        wanted = await _read(request, reader)
    finally:
        await run_in_threadpool(reader.close)
    return await run_in_threadpool(_finish, request, viewer, wanted)


async def _read(request: Request, reader: CommitReader) -> CommitRequest:
    buffer = bytearray()
    async for piece in limited(request, MAX_COMMIT_BYTES, "The commit"):
        buffer += piece
        if b"\n" in piece:
            *lines, rest = buffer.split(b"\n")
            buffer = bytearray(rest)
            await run_in_threadpool(_feed, reader, lines)
        if len(buffer) > MAX_LINE_BYTES:
            raise too_large("One file in the commit's body", MAX_LINE_BYTES)
    await run_in_threadpool(_feed, reader, [buffer])
    return await run_in_threadpool(reader.finish)


def _feed(reader: CommitReader, lines: list[bytearray]) -> None:
    for line in lines:
        if line.strip():
            reader.feed(bytes(line))


def _target(request: Request) -> tuple[str, str, str]:
    part = request.path_params
    return part["kind"], f"{part['ns']}/{part['name']}", part["rev"]


def _check_write(request: Request, viewer: Viewer) -> None:
    kind, name, revision = _target(request)
    with store_of(request).db.read() as db:
        repo = find_repo(db, viewer, kind, name, _access(request))
        redirect_if_moved(request, repo)
        refs.resolve(db, repo, revision)


def _access(request: Request) -> Access:
    """Writing to a pull request is open to all who can write at all; the rest to the repo's own people."""
    proposed = _is_new_request(request) or request.path_params["rev"].startswith(refs.PULL_REQUEST)
    return "propose" if proposed else "write"


def _is_new_request(request: Request) -> bool:
    return request.query_params.get("create_pr", "").lower() in ("1", "true")


def _finish(request: Request, viewer: Viewer, wanted: CommitRequest) -> Response:
    kind, name, revision = _target(request)
    number = None
    with store_of(request).db.write() as db:
        repo = find_repo(db, viewer, kind, name, _access(request))
        author = viewer.require_user()
        if revision.startswith(refs.PULL_REQUEST):
            _check_own_request(db, viewer, repo, revision)
        if _is_new_request(request):
            oid, number = commits.propose(db, repo, revision, wanted, author)
        else:
            oid = commits.apply(db, repo, revision, wanted, author)
    page = base_url(request) + repos.web_path(kind, repo.name)
    answer = {"success": True, "commitOid": oid, "commitUrl": f"{page}/commit/{oid}", "hookOutput": ""}
    if number is not None:
        answer["pullRequestUrl"] = f"{page}/discussions/{number}"
    return JSONResponse(answer)


def _check_own_request(db: commits.Database, viewer: Viewer, repo: Repo, revision: str) -> None:
    refs.writable(db, repo, revision)
    found = discussions.get(db, repo, int(revision.removeprefix(refs.PULL_REQUEST)))
    if found.author != viewer.user:
        viewer.require_write(repo.namespace, f"commit to the pull request of {found.author}")
    if found.status == "merged":
        raise bad_request(f"The pull request {found.number} is merged; open another one")


ROUTES = [
    route("/api/{kind:kind}/{ns:part}/{name:part}/preupload/{rev:part}", preupload, ["POST"]),
    Route("/api/{kind:kind}/{ns:part}/{name:part}/commit/{rev:part}", commit, methods=["POST"]),
]
