"""What ties a statement to its repo: the commit that seals it, the tags of its version, its fingerprint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from hub_tools.hub.findings import Finding
from hub_tools.hub.fingerprint import stated
from hub_tools.hub.provenance import PROVENANCE, Statement
from hub_tools.hub.publishing import SEAL
from hub_tools.hub.repository import VERSION, Hub, Ref, fingerprint_tag

Seals = Sequence[tuple[str, str]]  # commit and sha256, the newest first


def loose_ends(hub: Hub, ref: Ref, statement: Statement, vouched: bool) -> Iterator[Finding]:
    """Find where a statement does not fit its commits, its tags or itself.

    `vouched` says that the statement of a node that read this repo names this very one.

    Raises:
        HubError: the Hub does not answer.
    """
    seals = _seals(hub, ref)
    yield from _sealed(ref, statement, seals, vouched)
    yield from _tagged(ref, statement, seals, hub.tags(ref.repo, ref.kind))
    yield from _consistent(ref, statement)


def _seals(hub: Hub, ref: Ref) -> Seals:
    commits = hub.call(
        f"{ref.kind} {ref.name}",
        lambda: hub.api.list_repo_commits(ref.repo, revision=ref.sha, repo_type=ref.kind),
    )
    return [
        (commit.commit_id, commit.message.partition(SEAL)[2][:64])
        for commit in commits
        if SEAL in commit.message
    ]


def _sealed(ref: Ref, statement: Statement, seals: Seals, vouched: bool) -> Iterator[Finding]:
    """Hold the statement against the sha256 that the commit that published it states."""
    if seals and seals[0][1] != statement.sha256:
        what = f"has the sha256 {statement.sha256[:12]}…, but its commit was made with {seals[0][1][:12]}…"
        yield Finding(repo=ref.name, file=PROVENANCE, what=what)
    elif not seals and not vouched:
        what = (
            "no commit states its sha256, so that only you can tell whether it is the one that was published"
        )
        yield Finding(repo=ref.name, file=PROVENANCE, what=what, note=True, unchecked=True)


def _tagged(ref: Ref, statement: Statement, seals: Seals, tags: Mapping[str, str]) -> Iterator[Finding]:
    """Find tags that somebody moved: foreign ones at this commit, and its own at another one."""
    own = [statement.version or "", fingerprint_tag(statement.fingerprint)]
    for tag, sha in sorted(tags.items()):
        if sha == ref.sha and tag not in own and (VERSION.fullmatch(tag) or tag.startswith("fp-")):
            what = f"the tag {tag} was moved here by hand: this commit was published as {' and '.join(own)}"
            yield Finding(repo=ref.name, what=what)
    published = next((commit for commit, seal in seals if seal == statement.sha256), None)
    for tag in own:
        at = tags.get(tag)
        if at is None:
            yield Finding(repo=ref.name, what=f"its tag {tag} is gone", note=True)
        elif published is not None and at not in (published, ref.sha):
            what = f"its tag {tag} was moved by hand: it stands at {at[:12]}, not at {published[:12]}"
            yield Finding(repo=ref.name, what=what)
        elif at != ref.sha and tag == own[0]:
            what = f"its tag {tag} stands at {at[:12]}; this is {ref.sha[:12]}"
            yield Finding(repo=ref.name, what=what, note=True)


def _consistent(ref: Ref, statement: Statement) -> Iterator[Finding]:
    """Find what a statement says in two places, and not the same: somebody edited one of them."""
    made = stated(statement)
    if made != statement.fingerprint:
        what = (
            f"its stage, settings, prompts and inputs give the fingerprint {made[:12]}…, not "
            f"{statement.fingerprint[:12]}…: it was edited"
        )
        yield Finding(repo=ref.name, file=PROVENANCE, what=what)
    for entry in statement.dependencies:
        pinned, digest = Ref.parse(entry.uri), entry.digest.get("gitCommit")
        if pinned and digest not in (None, pinned.sha):
            what = f"names the input {entry.name} at {pinned.sha[:12]} and at {digest[:12]}: it was edited"
            yield Finding(repo=ref.name, file=PROVENANCE, what=what)
