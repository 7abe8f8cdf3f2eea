"""The Hub as the runner sees it: pin a revision, find a fingerprint, fetch files, publish one versioned
commit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hub_tools.errors import HubError

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

Kind = Literal["dataset", "model"]
PROVENANCE = "provenance.json"
VERSION = re.compile(r"v(\d+)")


@dataclass(frozen=True, slots=True)
class Ref:
    """A repo at one commit; `version` is its `vN` tag where it has one."""

    kind: Kind
    repo: str
    sha: str
    version: str | None = None

    @property
    def uri(self) -> str:
        """The address that provenance statements use."""
        return f"hf://{'datasets/' if self.kind == 'dataset' else ''}{self.repo}@{self.sha}"

    @property
    def revision(self) -> str:
        """The revision as people read it: the version, else the first digits of the sha."""
        return self.version or self.sha[:12]


class Hub:
    """One Hub, huggingface.co or any other that speaks its protocol, with one token."""

    def __init__(self, endpoint: str, token: str | None, private: bool = True) -> None:
        self.endpoint = endpoint.rstrip("/")
        self.token = token
        self._private = private

    @cached_property
    def api(self) -> HfApi:
        """The client of huggingface_hub, bound to this Hub and token alone."""
        from huggingface_hub import HfApi

        return HfApi(endpoint=self.endpoint, token=self.token or False, library_name="backforth")

    def check_access(self, namespace: str) -> None:
        """Make sure that the token may write to a namespace.

        Raises:
            HubError: no token, an unknown one, a read-only one, or one of somebody else.
        """
        if not self.token:
            raise HubError(
                f"there is no token for {self.endpoint}; set HF_TOKEN to one that may write to {namespace}"
            )
        with self._translated("the token"):
            me = self.api.whoami()
        mine = [me["name"], *(org["name"] for org in me.get("orgs") or [])]
        if namespace not in mine:
            raise HubError(
                f"the token for {self.endpoint} belongs to {me['name']} and cannot write to the "
                f"namespace {namespace!r}; "
                f"set `namespace:` to one of {', '.join(mine)}, or use another token"
            )
        role = ((me.get("auth") or {}).get("accessToken") or {}).get("role")
        if role == "read":
            raise HubError(f"the token for {self.endpoint} may only read; make one with the role write")

    def pin(self, repo: str, kind: Kind, revision: str | None) -> Ref:
        """Resolve a revision (the main branch by default) to its commit.

        Raises:
            HubError: no such repo or revision, or no access to it.
        """
        with self._translated(f"{kind} {repo}@{revision or 'main'}"):
            sha = self.api.repo_info(repo, revision=revision, repo_type=kind).sha
        version = revision if revision and VERSION.fullmatch(revision) else None
        return Ref(kind, repo, str(sha), version)

    def tags(self, repo: str, kind: Kind) -> dict[str, str]:
        """Return the tags of a repo with the commit of each; none where the repo does not exist."""
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            with self._translated(f"{kind} {repo}", passing=(RepositoryNotFoundError,)):
                return {
                    tag.name: tag.target_commit for tag in self.api.list_repo_refs(repo, repo_type=kind).tags
                }
        except RepositoryNotFoundError:
            return {}

    def find(self, repo: str, kind: Kind, fingerprint: str) -> Ref | None:
        """Return the published version of a fingerprint, if there is one."""
        tags = self.tags(repo, kind)
        sha = tags.get(fingerprint_tag(fingerprint))
        if sha is None:
            return None
        versions = [tag for tag, target in tags.items() if target == sha and VERSION.fullmatch(tag)]
        return Ref(kind, repo, sha, max(versions, key=_number)) if versions else None

    def fetch(self, ref: Ref, patterns: Sequence[str] | None = None) -> Path:
        """Download a repo's files at a commit into the cache of huggingface_hub and return their folder."""
        from huggingface_hub import snapshot_download

        with self._translated(f"{ref.kind} {ref.repo}"):
            return Path(
                snapshot_download(
                    ref.repo,
                    repo_type=ref.kind,
                    revision=ref.sha,
                    allow_patterns=list(patterns) if patterns else None,
                    endpoint=self.endpoint,
                    token=self.token or False,
                )
            )

    def matching(self, ref: Ref, patterns: Sequence[str]) -> dict[str, Path]:
        """Download the files of a repo that match patterns; return them by path in the repo, sorted."""
        folder = self.fetch(ref, patterns)
        paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        return {
            name: paths[name]
            for name in sorted(paths)
            if any(fnmatch(name, pattern) for pattern in patterns)  # the cache may hold others, too
        }

    def file(self, ref: Ref, name: str) -> Path | None:
        """Download one file of a repo at a commit; None where the repo has none of that name."""
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import RemoteEntryNotFoundError

        try:
            with self._translated(f"{ref.kind} {ref.repo}", passing=(RemoteEntryNotFoundError,)):
                return Path(
                    hf_hub_download(
                        ref.repo,
                        name,
                        repo_type=ref.kind,
                        revision=ref.sha,
                        endpoint=self.endpoint,
                        token=self.token or False,
                    )
                )
        except RemoteEntryNotFoundError:
            return None

    def read_json(self, ref: Ref, name: str) -> dict[str, Any] | None:
        """Return a JSON file of a repo, or None where the repo has none of that name."""
        path = self.file(ref, name)
        try:
            return dict(json.loads(path.read_text(encoding="utf-8"))) if path else None
        except ValueError as error:
            raise HubError(f"{name} of {ref.repo}@{ref.sha[:12]} is no JSON object: {error}") from error

    def license(self, ref: Ref) -> str | None:
        """Return the licence that a repo's card names at a commit, or None."""
        with self._translated(f"{ref.kind} {ref.repo}"):
            info = self.api.repo_info(ref.repo, revision=ref.sha, repo_type=ref.kind)
        card = getattr(info, "card_data", None) or {}
        name = card.get("license_name") or card.get("license")
        return str(name) if name else None

    def url(self, ref: Ref) -> str:
        """Return the address of a repo's page at its version."""
        kind = "datasets/" if ref.kind == "dataset" else ""
        return f"{self.endpoint}/{kind}{ref.repo}/tree/{ref.version or ref.sha}"

    def publish(
        self,
        repo: str,
        kind: Kind,
        fingerprint: str,
        files: Callable[[str, str | None], Mapping[str, Path | bytes]],
        message: str,
    ) -> Ref:
        """Publish one version: one commit with all files, then the tags `vN` and, last, `fp-…`.

        `files(version, previous card)` returns what the commit holds, by path. A commit of the same
        fingerprint that
        was left without its tags by a crash is tagged and not repeated.

        Raises:
            HubError: the Hub refuses, or somebody else published meanwhile.
        """
        with self._translated(f"{kind} {repo}"):
            self.api.create_repo(repo, repo_type=kind, private=self._private, exist_ok=True)
            head = self.pin(repo, kind, None)
            tags = self.tags(repo, kind)
            version = f"v{1 + max((_number(tag) for tag in tags if VERSION.fullmatch(tag)), default=0)}"
            statement = self.read_json(head, PROVENANCE)
            if statement is None or _fingerprint(statement) != fingerprint:
                operations = self._operations(head, files(version, self._card(head)))
                done = self.api.create_commit(
                    repo, operations, commit_message=message, repo_type=kind, parent_commit=head.sha
                )
                sha = done.oid
            else:
                sha = head.sha
                version = next(
                    (tag for tag, at in tags.items() if at == sha and VERSION.fullmatch(tag)), version
                )
            self.api.create_tag(repo, tag=version, revision=sha, repo_type=kind, exist_ok=True)
            self.api.create_tag(
                repo, tag=fingerprint_tag(fingerprint), revision=sha, repo_type=kind, exist_ok=True
            )
        return Ref(kind, repo, sha, version)

    def _card(self, head: Ref) -> str | None:
        path = self.file(head, "README.md")
        return path.read_text(encoding="utf-8") if path else None

    def _operations(
        self, head: Ref, files: Mapping[str, Path | bytes]
    ) -> list[CommitOperationAdd | CommitOperationDelete]:
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        there = self.api.list_repo_files(head.repo, revision=head.sha, repo_type=head.kind)
        gone = [path for path in there if path not in files and path != ".gitattributes"]
        return [
            *(
                CommitOperationAdd(path_in_repo=path, path_or_fileobj=content)
                for path, content in files.items()
            ),
            *(CommitOperationDelete(path_in_repo=path) for path in gone),
        ]

    @contextmanager
    def _translated(self, what: str, passing: tuple[type[Exception], ...] = ()) -> Iterator[None]:
        """Turn what the client library raises into one line."""
        from huggingface_hub import errors

        try:
            yield
        except passing:
            raise
        except errors.RepositoryNotFoundError as error:
            raise HubError(
                f"{what}: there is no such repo on {self.endpoint}, or the token cannot see it"
            ) from error
        except errors.RevisionNotFoundError as error:
            raise HubError(f"{what}: there is no such revision on {self.endpoint}") from error
        except errors.HfHubHTTPError as error:
            raise HubError(f"{what}: {self.endpoint} answers {_status_line(error)}") from error
        except (OSError, ValueError) as error:
            raise HubError(f"{what}: {self.endpoint}: {type(error).__name__}: {_one_line(error)}") from error
        except Exception as error:
            if type(error).__module__.startswith(("httpx", "httpcore")):
                raise HubError(f"{self.endpoint} does not answer ({_one_line(error)}); is it up?") from error
            raise


def fingerprint_tag(fingerprint: str) -> str:
    """Return the tag that marks the version of a fingerprint."""
    return f"fp-{fingerprint[:12]}"


def _number(tag: str) -> int:
    return int(tag[1:])


def _fingerprint(statement: Mapping[str, Any]) -> str | None:
    try:
        return str(statement["predicate"]["buildDefinition"]["internalParameters"]["fingerprint"])
    except (KeyError, TypeError):
        return None


def _status_line(error: Any) -> str:
    status = getattr(getattr(error, "response", None), "status_code", "")
    hint = "; somebody else published meanwhile, run again" if status == 412 else ""
    return f"{status} {_one_line(getattr(error, 'server_message', None) or error)}{hint}"


def _one_line(error: object) -> str:
    return " ".join(str(error).split())[:300]
