"""Checking a store: every commit, ref and tree entry, and every byte of every file."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from hub_tools.hub.server import attachments, objects, refs, repos
from hub_tools.hub.server.errors import HubError, HubServerError
from hub_tools.hub.server.repos import Repo
from hub_tools.hub.server.store import Store
from hub_tools.hub.server.trees import Entry, Tree, blob_id, check_no_clash, check_path, lfs_pointer, unpack
from hub_tools.hub.server.xet.xorb import Xorb

_PIECE = 1 << 20


@dataclass
class Report:
    """What was looked at, and each thing that is wrong in one line."""

    repos: int = 0
    commits: int = 0
    files: int = 0
    xorbs: int = 0
    size: int = 0
    orphans: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Use:
    """Where a file's content is named, to say what is lost if it is damaged."""

    entry: Entry
    place: str


def check(path: Path, advance: Callable[[int, int], None] = lambda done, total: None) -> Report:
    """Check the whole store, also while a server runs; `advance` gets the bytes done and all of them."""
    if not (path / "hub.sqlite").is_file():
        raise HubServerError(f"There is no Hub's store in {path}")
    with closing(Store(path)) as store:
        return _check_store(store, advance)


def _check_store(store: Store, advance: Callable[[int, int], None]) -> Report:
    report, uses = Report(), dict[str, _Use]()
    with store.db.read() as db:
        report.problems += [
            f"database: {row[0]}" for row in db.execute("PRAGMA integrity_check") if row[0] != "ok"
        ]
        report.problems += [f"database: dangling row {row}" for row in db.execute("PRAGMA foreign_key_check")]
        for kind in repos.KINDS:
            for repo in repos.every(db, kind):
                report.repos += 1
                report.problems += _check_repo(db, repo, report, uses)
        for name, entry in attachments.every(db).items():
            uses.setdefault(entry.sha256, _Use(entry, f"attachment {name}"))
    _check_files(store, report, uses, advance)
    return report


def _check_repo(db: sqlite3.Connection, repo: Repo, report: Report, uses: dict[str, _Use]) -> Iterator[str]:
    name = f"{repo.kind} {repo.name}"
    rows = db.execute("SELECT oid, parent FROM commits WHERE repo_id = ?", (repo.id,)).fetchall()
    known, held = {str(oid) for oid, _ in rows}, objects.every(db, repo)
    for oid, parent in rows:
        report.commits += 1
        if parent is not None and parent not in known:
            yield f"{name}: commit {oid} has the parent {parent}, which is missing"
        yield from _check_commit(db, repo, str(oid), known, held, uses)
    for ref, oid in refs.every(db, repo):
        if oid not in known:
            yield f"{name}: {ref} points to the commit {oid}, which is missing"
    if refs.get(db, repo, refs.BRANCH + "main") is None:
        yield f"{name}: the branch main is missing"


def _check_commit(
    db: sqlite3.Connection, repo: Repo, oid: str, known: set[str], held: set[str], uses: dict[str, _Use]
) -> Iterator[str]:
    place = f"{repo.kind} {repo.name}@{oid[:12]}"
    try:
        query = "SELECT tree FROM commits WHERE repo_id = ? AND oid = ?"
        tree: Tree = unpack(bytes(db.execute(query, (repo.id, oid)).fetchone()[0]))
        check_no_clash(tree)
    except HubError as error:
        yield f"{place}: {error.message}"
        return
    except Exception as error:  # a damaged tree fails in every way that zlib and JSON know
        yield f"{place}: the list of its files is damaged: {error}"
        return
    for path, entry in tree.items():
        try:
            check_path(path)
        except HubError as error:
            yield f"{place}: {error.message}"
        if entry.commit not in known:
            yield f"{place}: {path} was last changed by the commit {entry.commit}, which is missing"
        if entry.lfs and entry.oid != blob_id(lfs_pointer(entry.sha256, entry.size)):
            yield f"{place}: {path} has the id {entry.oid}, which is not that of its LFS pointer"
        if entry.lfs and entry.sha256 not in held:
            continue
        present = uses.setdefault(entry.sha256, _Use(entry, f"{place}:{path}"))
        if present.entry.size != entry.size:
            yield f"{place}: {path} has another size than {present.place}, which has the same content"
        if entry.lfs == present.entry.lfs and present.entry.oid != entry.oid:
            yield f"{place}: {path} has another git id than {present.place}, which has the same content"
        if present.entry.lfs and not entry.lfs:
            uses[entry.sha256] = _Use(entry, f"{place}:{path}")


def _check_files(
    store: Store, report: Report, uses: dict[str, _Use], advance: Callable[[int, int], None]
) -> None:
    files, xorbs = list(store.blobs.files()), list(store.blobs.xorbs())
    present = {file.name for file in files}
    report.problems += [
        f"{use.place}: its content {sha256} is missing"
        for sha256, use in uses.items()
        if sha256 not in present
    ]
    total = sum(file.stat().st_size for file in [*files, *xorbs])
    for file in files:
        report.files += 1
        report.size += file.stat().st_size
        report.orphans += file.name not in uses
        report.problems += _check_file(file, uses.get(file.name))
        advance(report.size, total)
    for xorb in xorbs:
        report.xorbs += 1
        report.size += xorb.stat().st_size
        report.problems += _check_xorb(xorb)
        advance(report.size, total)


def _check_file(file: Path, use: _Use | None) -> Iterator[str]:
    place, entry = (use.place, use.entry) if use else ("a file that no commit names", None)
    size = file.stat().st_size
    sha256, git = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with file.open("rb") as source:
        while piece := source.read(_PIECE):
            sha256.update(piece)
            if entry and not entry.lfs:
                git.update(piece)
    if sha256.hexdigest() != file.name:
        yield f"{place}: its content has the sha256 {sha256.hexdigest()}, not {file.name}"
    elif entry and size != entry.size:
        yield f"{place}: its content has {size} bytes, not {entry.size}"
    elif entry and not entry.lfs and git.hexdigest() != entry.oid:
        yield f"{place}: its content has the git id {git.hexdigest()}, not {entry.oid}"


def _check_xorb(file: Path) -> Iterator[str]:
    try:
        xorb = Xorb(file)
    except HubError as error:
        yield f"xorb {file.name}: {error.message} (delete all xorbs with: backforth hub gc)"
        return
    try:
        for index in range(len(xorb)):
            xorb.chunk(index)
    except HubError as error:
        yield f"xorb {file.name}: {error.message} (delete all xorbs with: backforth hub gc)"
    finally:
        xorb.close()
