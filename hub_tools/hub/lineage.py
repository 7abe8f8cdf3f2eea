"""Lineage: everything that a published repo is made of, read from one provenance statement after another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from hub_tools.errors import HubError
from hub_tools.hub.provenance import PROVENANCE, Dependency, Statement, StatementError
from hub_tools.hub.repository import Hub, Ref


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A repo or a source file of a lineage.

    `ref` is None for a file, `statement` for what backforth did not publish; `ends` then says why nothing
    is known before it, and `damaged` that there is a statement, but none that can be read. `parents` are
    what it was made of: the name that the node reads it by, and its key.
    """

    key: str
    ref: Ref | None
    statement: Statement | None = None
    ends: str = ""
    damaged: bool = False
    parents: Sequence[tuple[str, str]] = ()

    @property
    def title(self) -> str:
        """Its node, else the repo or file itself."""
        if self.statement:
            return self.statement.node
        return self.ref.repo if self.ref else self.key.partition("#")[0].rpartition("/")[2]

    @property
    def rows(self) -> str:
        """How many of the rows that it read came through, as people read it; empty if nothing says so."""
        run = self.statement.run if self.statement else {}
        read, kept = run.get("read"), run.get("kept")
        if not isinstance(read, int) or not isinstance(kept, int) or not read:
            return ""
        rows = run.get("rows")
        chosen = rows.get("kept") if isinstance(rows, dict) else None
        more = f", {chosen:,} chosen" if isinstance(chosen, int) else ""
        return (f"{kept:,} rows" if kept == read else f"{kept:,} of {read:,} rows") + more


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A lineage: its links by key, every one after those that it was made of; the last is the repo itself."""

    links: dict[str, Link]

    @property
    def head(self) -> Link:
        """The repo whose lineage this is."""
        return list(self.links.values())[-1]

    def datasets(self) -> Iterator[tuple[Ref, Statement]]:
        """Yield the datasets that backforth published, from the corpus on."""
        for link in self.links.values():
            if link.ref and link.statement and link.ref.kind == "dataset":
                yield link.ref, link.statement


def arrows(links: Iterable[Link]) -> list[tuple[str, str]]:
    """Return what leads to what among links, by key, each pair once."""
    return list(dict.fromkeys((parent, link.key) for link in links for _, parent in link.parents))


class Walker:
    """Follows statements back; what was read once is not read again, since a commit never changes.

    `statement` reads one; without it, the cache of huggingface_hub is good enough.
    """

    def __init__(self, hub: Hub, statement: Callable[[Ref], Statement | None] | None = None) -> None:
        self._statement = statement or hub.statement
        self._links: dict[str, Link] = {}

    def chain(self, ref: Ref) -> Chain:
        """Return the lineage of a repo at a commit."""
        order: dict[str, Link] = {}
        self._visit(self._repo(ref), order)
        return Chain(links=order)

    def statement(self, ref: Ref) -> Statement | None:
        """Return the statement of a repo at a commit; None where it has none that can be read."""
        return self._repo(ref).statement

    def together(self, dependencies: Sequence[Dependency]) -> tuple[list[tuple[str, str]], dict[str, Link]]:
        """Return the parents that these inputs are, and all links before a repo that is made of them."""
        order: dict[str, Link] = {}
        parents = self._parents(dependencies)
        for _, key in parents:
            self._visit(self._links[key], order)
        return parents, order

    def _visit(self, link: Link, order: dict[str, Link]) -> None:
        if link.key in order:
            return
        for _, parent in link.parents:
            self._visit(self._links[parent], order)
        order[link.key] = link

    def _repo(self, ref: Ref) -> Link:
        if ref.uri in self._links:
            return self._links[ref.uri]
        statement, damaged = None, False
        ends = f"it has no {PROVENANCE}: it was not published by backforth"
        try:
            statement = self._statement(ref)
        except HubError as error:
            ends, damaged = str(error), isinstance(error, StatementError)
        if statement and ref.version is None:
            ref = Ref(ref.kind, ref.repo, ref.sha, statement.version)
        parents = self._parents(statement.dependencies) if statement else ()
        link = Link(
            key=ref.uri,
            ref=ref,
            statement=statement,
            ends="" if statement else ends,
            damaged=damaged,
            parents=parents,
        )
        self._links[ref.uri] = link
        return link

    def _parents(self, dependencies: Sequence[Dependency]) -> list[tuple[str, str]]:
        return [(dependency.name, self._dependency(dependency).key) for dependency in dependencies]

    def _dependency(self, dependency: Dependency) -> Link:
        ref = Ref.parse(dependency.uri)
        if ref:
            return self._repo(ref)
        sha256 = dependency.digest.get("sha256", "")
        key = f"{dependency.uri}#{sha256[:12]}"
        what = "a package" if dependency.uri.startswith("pkg:") else "a source file"
        place = " on the Hub" if dependency.uri.startswith("hf://") else ""
        self._links[key] = Link(key=key, ref=None, ends=f"{what}{place} with the sha256 {sha256[:12]}…")
        return self._links[key]
