"""The Hub as the package sees it: pin a revision, find a fingerprint, fetch files and statements."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from hub_tools.errors import HubError
from hub_tools.hub.provenance import PROVENANCE, Statement, read

if TYPE_CHECKING:
    from huggingface_hub import HfApi

Kind = Literal["dataset", "model"]
T = TypeVar("T")
VERSION = re.compile(r"v(\d+)")
ADDRESS = re.compile(r"hf://(?P<dataset>datasets/)?(?P<repo>[\w.-]+/[\w.-]+)@(?P<sha>[0-9a-f]{40})")
TRIES = 5
LONGEST_WAIT = 300.0


@dataclass(frozen=True, slots=True)
class Ref:
    """A repo at one commit; `version` is its `vN` tag where it has one."""

    kind: Kind
    repo: str
    sha: str
    version: str | None = None

    @classmethod
    def parse(cls, uri: str) -> Ref | None:
        """Read an address that a statement names; None for anything but a whole repo at a commit."""
        match = ADDRESS.fullmatch(uri)
        return cls("dataset" if match["dataset"] else "model", match["repo"], match["sha"]) if match else None

    @property
    def uri(self) -> str:
        """The address that provenance statements use."""
        return f"hf://{'datasets/' if self.kind == 'dataset' else ''}{self.repo}@{self.sha}"

    @property
    def revision(self) -> str:
        """The revision as people read it: the version, else the first digits of the sha."""
        return self.version or self.sha[:12]

    @property
    def name(self) -> str:
        """The repo at that revision, as people read it."""
        return f"{self.repo}@{self.revision}"


class Hub:
    """One Hub, huggingface.co or any other that speaks its protocol, with one token."""

    def __init__(self, endpoint: str, token: str | None, private: bool = True) -> None:
        self.endpoint = endpoint.rstrip("/")
        self.token = token
        self.private = private

    @cached_property
    def api(self) -> HfApi:
        """The client of huggingface_hub, bound to this Hub and token alone."""
        from huggingface_hub import HfApi

        return HfApi(endpoint=self.endpoint, token=self.token or False, library_name="backforth")

    def call(self, what: str, ask: Callable[[], T], passing: tuple[type[Exception], ...] = ()) -> T:
        """Ask the Hub; a 429 or 503 is waited out, and any other failure becomes one line that names `what`.

        Raises:
            HubError: the Hub refuses, lacks something, or does not answer; `passing` come as they are.
        """
        from huggingface_hub import errors

        for left in reversed(range(TRIES)):
            try:
                return ask()
            except passing:
                raise
            except errors.HfHubHTTPError as error:
                wait = _wait(error)
                if wait is None or not left:
                    raise HubError(f"{what}: {self._explained(error)}") from error
                time.sleep(wait)
            except HubError:
                raise
            except (OSError, ValueError) as error:
                raise HubError(
                    f"{what}: {self.endpoint}: {type(error).__name__}: {_one_line(error)}"
                ) from error
            except Exception as error:
                if is_network(error):
                    raise HubError(
                        f"{what}: {self.endpoint} does not answer ({_one_line(error)}); is it up?"
                    ) from error
                raise
        raise AssertionError("unreachable")

    def _explained(self, error: Exception) -> str:
        from huggingface_hub import errors

        if isinstance(error, errors.GatedRepoError):
            return f"it is gated on {self.endpoint}; ask for access on its page, then run again"
        if isinstance(error, errors.RepositoryNotFoundError):
            return f"there is no such repo on {self.endpoint}, or the token cannot see it"
        if isinstance(error, errors.RevisionNotFoundError):
            return f"there is no such revision on {self.endpoint}"
        return f"{self.endpoint} answers {_status_line(error)}"

    def check_access(self, namespace: str) -> None:
        """Make sure that the token may write to a namespace.

        Raises:
            HubError: no token, an unknown one, a read-only one, or one of somebody else.
        """
        if not self.token:
            raise HubError(
                f"there is no token for {self.endpoint}; set HF_TOKEN to one that may write to {namespace}"
            )
        me = self.call("the token", self.api.whoami)
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
        info = self.call(
            f"{kind} {repo}@{revision or 'main'}",
            lambda: self.api.repo_info(repo, revision=revision, repo_type=kind),
        )
        version = revision if revision and VERSION.fullmatch(revision) else None
        return Ref(kind, repo, str(info.sha), version)

    def locate(self, address: str) -> Ref:
        """Pin `ns/name[@revision]`, a dataset or a model, whichever there is; its version is looked up.

        An address may begin with `datasets/` or `models/` to say which.

        Raises:
            HubError: there is neither, or no such revision.
        """
        from huggingface_hub.errors import RepositoryNotFoundError

        name, _, revision = address.partition("@")
        prefix, slash, rest = name.partition("/")
        kinds: list[Kind] = ["dataset", "model"]
        if prefix in ("datasets", "models") and "/" in rest:
            name, kinds = rest, ["dataset" if prefix == "datasets" else "model"]
        if not slash or name.count("/") != 1 or not all(name.split("/")):
            raise HubError(f"{address!r} is no repo; write it as namespace/name or namespace/name@revision")
        for kind in kinds:
            try:
                info = self.call(
                    f"{kind} {address}",
                    lambda kind=kind: self.api.repo_info(name, revision=revision or None, repo_type=kind),  # type: ignore[misc]
                    passing=(RepositoryNotFoundError,),
                )
            except RepositoryNotFoundError:
                continue
            return self.versioned(Ref(kind, name, str(info.sha)), prefer=revision)
        raise HubError(f"{name}: {self.endpoint} has no such dataset or model, or the token cannot see it")

    def versioned(self, ref: Ref, prefer: str = "") -> Ref:
        """Return the reference with its newest version tag (or the preferred one), if the commit has any."""
        at = [tag for tag, sha in self.tags(ref.repo, ref.kind).items() if sha == ref.sha]
        versions = [tag for tag in at if VERSION.fullmatch(tag)]
        found = prefer if prefer in versions else max(versions, key=number, default=None)
        return Ref(ref.kind, ref.repo, ref.sha, found)

    def tags(self, repo: str, kind: Kind) -> dict[str, str]:
        """Return the tags of a repo with the commit of each; none where the repo does not exist."""
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            refs = self.call(
                f"{kind} {repo}",
                lambda: self.api.list_repo_refs(repo, repo_type=kind),
                passing=(RepositoryNotFoundError,),
            )
        except RepositoryNotFoundError:
            return {}
        return {tag.name: tag.target_commit for tag in refs.tags}

    def versions(self, repo: str, kind: Kind) -> list[Ref]:
        """Return every published version of a repo, the oldest first."""
        tags = {tag: sha for tag, sha in self.tags(repo, kind).items() if VERSION.fullmatch(tag)}
        return [Ref(kind, repo, tags[tag], tag) for tag in sorted(tags, key=number)]

    def find(self, repo: str, kind: Kind, fingerprint: str) -> Ref | None:
        """Return the published version of a fingerprint, if there is one.

        Raises:
            HubError: the tag stands at a commit of another fingerprint, so somebody moved it.
        """
        tags = self.tags(repo, kind)
        sha = tags.get(fingerprint_tag(fingerprint))
        versions = [tag for tag, target in tags.items() if target == sha and VERSION.fullmatch(tag)]
        if sha is None or not versions:
            return None
        ref = Ref(kind, repo, sha, max(versions, key=number))
        statement = self.statement(ref)
        if statement is None or statement.fingerprint != fingerprint:
            raise HubError(
                f"{kind} {repo}: the tag {fingerprint_tag(fingerprint)} stands at {sha[:12]}, which was not "
                f"made with that fingerprint; somebody moved it: delete the tag and run again"
            )
        return ref

    def fetch(self, ref: Ref, patterns: Sequence[str] | None = None) -> Path:
        """Download a repo's files at a commit into the cache of huggingface_hub and return their folder."""
        from huggingface_hub import snapshot_download

        return Path(
            self.call(
                f"{ref.kind} {ref.repo}",
                lambda: snapshot_download(
                    ref.repo,
                    repo_type=ref.kind,
                    revision=ref.sha,
                    allow_patterns=list(patterns) if patterns else None,
                    endpoint=self.endpoint,
                    token=self.token or False,
                ),
            )
        )

    def names(self, ref: Ref) -> list[str]:
        """Return the paths of all files of a repo at a commit."""
        return self.call(
            f"{ref.kind} {ref.name}",
            lambda: self.api.list_repo_files(ref.repo, revision=ref.sha, repo_type=ref.kind),
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
            return Path(
                self.call(
                    f"{ref.kind} {ref.repo}",
                    lambda: hf_hub_download(
                        ref.repo,
                        name,
                        repo_type=ref.kind,
                        revision=ref.sha,
                        endpoint=self.endpoint,
                        token=self.token or False,
                    ),
                    passing=(RemoteEntryNotFoundError,),
                )
            )
        except RemoteEntryNotFoundError:
            return None

    def read_json(self, ref: Ref, name: str) -> dict[str, Any] | None:
        """Return a JSON file of a repo, or None where the repo has none of that name."""
        path = self.file(ref, name)
        try:
            return dict(json.loads(path.read_bytes())) if path else None
        except (ValueError, TypeError) as error:
            raise HubError(f"{name} of {ref.name} is no JSON object: {error}") from error

    def statement(self, ref: Ref) -> Statement | None:
        """Return the provenance statement of a repo at a commit, or None where it has none.

        Raises:
            StatementError: what is there under its name is no statement, or one of a later version.
        """
        path = self.file(ref, PROVENANCE)
        return read(path.read_bytes(), f"{PROVENANCE} of {ref.name}") if path else None

    def license(self, ref: Ref) -> str | None:
        """Return the licence that a repo's card names at a commit, or None."""
        info = self.call(
            f"{ref.kind} {ref.repo}",
            lambda: self.api.repo_info(ref.repo, revision=ref.sha, repo_type=ref.kind),
        )
        card: Mapping[str, Any] = getattr(info, "card_data", None) or {}
        name = card.get("license_name") or card.get("license")
        return str(name) if name else None

    def url(self, ref: Ref) -> str:
        """Return the address of a repo's page at its version."""
        kind = "datasets/" if ref.kind == "dataset" else ""
        return f"{self.endpoint}/{kind}{ref.repo}/tree/{ref.version or ref.sha}"


def is_network(error: Exception) -> bool:
    """Whether an error comes from the connection; huggingface_hub changes its HTTP library now and then."""
    return type(error).__module__.startswith(("httpx", "httpcore", "hf_xet"))


def fingerprint_tag(fingerprint: str) -> str:
    """Return the tag that marks the version of a fingerprint."""
    return f"fp-{fingerprint[:12]}"


def shard_config(path: str) -> str | None:
    """Return the config that a data shard of a published dataset belongs to; None for other files."""
    parts = path.split("/")
    return parts[1] if len(parts) == 3 and parts[0] == "data" and path.endswith(".parquet") else None


def number(version: str) -> int:
    """Return the N of a version `vN`."""
    return int(version[1:])


def _wait(error: Any) -> float | None:
    """Return how long to wait before asking again, in seconds; None where that would be no use."""
    response = getattr(error, "response", None)
    if getattr(response, "status_code", None) not in (429, 503):
        return None
    asked = str(response.headers.get("Retry-After", "")) if response is not None else ""
    return min(LONGEST_WAIT, float(asked)) if asked.isdigit() else 2.0


def _status_line(error: Any) -> str:
    status = getattr(getattr(error, "response", None), "status_code", "")
    hint = "; somebody else published meanwhile, run again" if status == 412 else ""
    return f"{status} {_one_line(getattr(error, 'server_message', None) or error)}{hint}"


def _one_line(error: object) -> str:
    return " ".join(str(error).split())[:300]
