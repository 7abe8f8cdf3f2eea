"""Streams a repo's file from the Hub itself, past every cache: an audit must see what others would get."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hub_tools.errors import HubError
from hub_tools.hub.provenance import PROVENANCE, Statement, read
from hub_tools.hub.repository import Hub, Ref, is_network

CHUNK = 1 << 20
RESUMES = 5


class MissingFile(HubError):  # noqa: N818  (it names what is the matter)
    """The repo has no file of that name at that commit."""


def stream(hub: Hub, ref: Ref, path: str) -> Iterator[bytes]:
    """Yield a file's bytes as the Hub has them now; a connection that drops is taken up where it ended.

    Raises:
        MissingFile: there is no such file.
        HubError: the Hub does not answer.
    """
    done = 0
    for left in reversed(range(RESUMES)):
        try:
            for piece in _request(hub, ref, path, done):
                done += len(piece)
                yield piece
        except Exception as error:
            if not is_network(error):
                raise
            if not left:
                raise HubError(
                    f"{ref.kind} {ref.name}: the connection dropped {RESUMES} times within {path}"
                ) from error
        else:
            return


def _request(hub: Hub, ref: Ref, path: str, start: int) -> Iterator[bytes]:
    from huggingface_hub import get_session, hf_hub_url, utils
    from huggingface_hub.errors import EntryNotFoundError

    url = hf_hub_url(ref.repo, path, repo_type=ref.kind, revision=ref.sha, endpoint=hub.endpoint)
    headers = utils.build_hf_headers(token=hub.token or False)  # type: ignore[attr-defined]
    headers["Accept-Encoding"] = "identity"
    if start:
        headers["Range"] = f"bytes={start}-"

    def ask() -> Any:
        session = get_session()
        response = session.send(
            session.build_request("GET", url, headers=headers), stream=True, follow_redirects=True
        )
        if response.is_error:
            response.read()
            utils.hf_raise_for_status(response)  # type: ignore[attr-defined]
        return response

    try:
        response = hub.call(f"{ref.kind} {ref.name}: {path}", ask, passing=(EntryNotFoundError,))
    except EntryNotFoundError as error:
        raise MissingFile(f"{ref.kind} {ref.name} has no file {path}") from error
    try:
        if start and response.status_code != 206:
            raise HubError(f"{ref.kind} {ref.name}: {hub.endpoint} cannot go on in the middle of {path}")
        yield from response.iter_raw(CHUNK)
    finally:
        response.close()


def fresh_statement(hub: Hub, ref: Ref) -> Statement | None:
    """Return a repo's statement as the Hub has it now, or None where it has none.

    Raises:
        StatementError: what is there under its name is no statement, or one of a later version.
    """
    try:
        content = b"".join(stream(hub, ref, PROVENANCE))
    except MissingFile:
        return None
    return read(content, f"{PROVENANCE} of {ref.name}")
