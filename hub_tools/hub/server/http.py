"""What every route shares: who calls, on which repo, with which body; and how answers are written."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeVar
from urllib.parse import parse_qs, unquote, urlencode

from anyio import CapacityLimiter, to_thread
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hub_tools.hub.server import repos, sessions
from hub_tools.hub.server.accounts import ANONYMOUS, Viewer
from hub_tools.hub.server.blobs import Incoming
from hub_tools.hub.server.errors import INVALID_TOKEN, HubError, bad_request, too_large
from hub_tools.hub.server.repos import Repo
from hub_tools.hub.server.store import Store

MAX_JSON_BYTES = 16 << 20
_WRITE_BYTES = 1 << 20
_HOST = re.compile(r"[A-Za-z0-9._-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")
Access = Literal["read", "write", "propose"]
_Body = TypeVar("_Body", bound=BaseModel)
_Item = TypeVar("_Item")


class _Part(Convertor[str]):
    """One URL-quoted segment; a quoted slash belongs to it, as in `refs%2Fpr%2F1`."""

    regex = "[^/]+"

    def convert(self, value: str) -> str:
        return unquote(value)

    def to_string(self, value: str) -> str:
        raise NotImplementedError


class _Rest(_Part):
    """The remaining segments, possibly none."""

    regex = "(?:/.*)?"

    def convert(self, value: str) -> str:
        return unquote(value).strip("/")


class _Kind(_Part):
    """The plural that names a kind of repo in addresses of the API."""

    regex = "models|datasets|spaces"

    def convert(self, value: str) -> str:
        return value[:-1]


register_url_convertor("part", _Part())
register_url_convertor("rest", _Rest())
register_url_convertor("kind", _Kind())


def store_of(request: Request) -> Store:
    """The store that this server serves."""
    store: Store = request.app.state.store
    return store


def base_url(request: Request) -> str:
    """The address under which this client reached the server; links in answers start with it."""
    host = request.headers.get("host", "")
    if not _HOST.fullmatch(host):
        host = str(request.app.state.address)
    return f"{request.scope['scheme']}://{host}"


def viewer_of(request: Request) -> Viewer:
    """Who asks: by bearer token, or for reading also by the cookie of the login page; raises 401."""
    header = request.headers.get("authorization")
    if header is not None:
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer":
            raise HubError(401, INVALID_TOKEN)
        return store_of(request).accounts.viewer(token.strip())
    cookie = request.cookies.get(sessions.COOKIE)
    if cookie and request.method in ("GET", "HEAD"):
        return sessions.viewer(store_of(request), cookie)
    return ANONYMOUS


def find_repo(db: sqlite3.Connection, viewer: Viewer, kind: str, name: str, access: Access = "read") -> Repo:
    """Find a repo the viewer may use; to others a private repo looks just like a missing one.

    "propose" is the right to suggest changes, which everybody with a writing token has where they can read.
    """
    repo = repos.get(db, kind, name)
    if repo is None or not may_see(viewer, repo):
        raise repo_not_found(viewer)
    if access == "write":
        viewer.require_write(repo.namespace, f"write to the {kind} repo {name}")
    if access == "propose":
        viewer.require_writer(f"propose changes to the {kind} repo {name}")
    return repo


def may_see(viewer: Viewer, repo: Repo) -> bool:
    """Whether a repo exists as far as the viewer can tell."""
    return not repo.private or viewer.belongs_to(repo.namespace)


def repo_not_found(viewer: Viewer) -> HubError:
    """The one answer for repos that are missing and repos that are hidden."""
    if viewer.user is None:
        return HubError(401, "Invalid username or password.", "RepoNotFound")
    return HubError(404, "Repository not found", "RepoNotFound")


def redirect_if_moved(request: Request, repo: Repo) -> None:
    """Send a client that uses a repo's former name to the same address under the present one."""
    parts = request.path_params
    asked = f"{parts['ns']}/{parts['name']}"
    raw = request.scope["raw_path"].decode("latin-1")
    if repo.name.lower() != asked.lower() and f"/{asked}" in raw:
        query = request.scope["query_string"].decode("latin-1")
        # Relative, as clients follow no redirect to another host with their token.
        address = raw.replace(f"/{asked}", f"/{repo.name}", 1) + (f"?{query}" if query else "")
        raise HubError(307, f"{asked} is now {repo.name}", headers={"Location": address})


@dataclass
class Call:
    """One request with its whole (small) body, ready for a handler that runs in a thread."""

    request: Request
    viewer: Viewer
    body: bytes

    @property
    def store(self) -> Store:
        """The store that this server serves."""
        return store_of(self.request)

    @property
    def base(self) -> str:
        """The address under which the client reached the server."""
        return base_url(self.request)

    def part(self, name: str) -> str:
        """A named part of the path, unquoted; empty if the route has none of this name."""
        return str(self.request.path_params.get(name, ""))

    @property
    def kind(self) -> str:
        """The kind of repo that the path names."""
        return self.part("kind")

    @property
    def name(self) -> str:
        """The full name of the repo that the path names."""
        return f"{self.part('ns')}/{self.part('name')}"

    def repo(self, db: sqlite3.Connection, access: Access = "read", kind: str = "") -> Repo:
        """The repo that the path names, if the viewer may use it so; 307 if it has another name now."""
        repo = find_repo(db, self.viewer, kind or self.kind, self.name, access)
        redirect_if_moved(self.request, repo)
        return repo

    def flag(self, name: str) -> bool:
        """Whether a query parameter is set to yes."""
        return self.request.query_params.get(name, "").lower() in ("1", "true", "yes")

    def number(self, name: str, default: int, most: int) -> int:
        """A query parameter as a number from 0 to `most`; raises 400."""
        text = self.request.query_params.get(name)
        if text is None:
            return default
        if not re.fullmatch(r"[0-9]{1,12}", text):
            raise bad_request(f"{name} must be a number, not {text[:50]!r}")
        return min(int(text), most)

    def listed(self, name: str) -> list[str]:
        """All values of a query parameter, in either spelling (`name` and `name[]`)."""
        query = self.request.query_params
        return query.getlist(name) + query.getlist(f"{name}[]")

    def parse(self, model: type[_Body]) -> _Body:
        """The JSON body as `model`; an empty body counts as an empty object. Raises 400."""
        return model.model_validate_json(self.body or b"{}")

    @cached_property
    def form(self) -> dict[str, list[str]]:
        """The form fields of the body."""
        try:
            return parse_qs(self.body.decode(), keep_blank_values=True, errors="replace")
        except ValueError as error:
            raise bad_request(f"The form cannot be read: {error}") from error

    def window(self, most: int) -> tuple[int, int]:
        """The offset and the length of the page that is asked for, of at most `most` items."""
        return self.number("cursor", 0, 10**9), max(1, self.number("limit", most, most))

    def page_of(self, items: Sequence[_Item], most: int, render: Callable[[_Item], Any]) -> JSONResponse:
        """The page that is asked for out of a whole list."""
        offset, limit = self.window(most)
        page = [render(item) for item in items[offset : offset + limit]]
        return self.page(page, offset, more=offset + limit < len(items))

    def page(self, items: Sequence[Any], offset: int, more: bool) -> JSONResponse:
        """One page of a list, with the address of the next one where there is more."""
        headers = {}
        if more:
            query = [(k, v) for k, v in self.request.query_params.multi_items() if k != "cursor"]
            path = self.request.scope["raw_path"].decode("latin-1")
            address = f"{self.base}{path}?{urlencode([*query, ('cursor', str(offset + len(items)))])}"
            headers["Link"] = f'<{address}>; rel="next"'
        return JSONResponse(list(items), headers=headers)


async def limited(request: Request, limit: int, what: str = "The request body") -> AsyncIterator[bytes]:
    """The body in pieces; raises 413 as soon as it is, or says it is, over `limit` bytes."""
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and (len(announced) > 18 or int(announced) > limit):
        raise too_large(what, limit)
    received = 0
    async for piece in request.stream():
        received += len(piece)
        if received > limit:
            raise too_large(what, limit)
        yield piece


async def receive(request: Request, incoming: Incoming, limit: int, what: str) -> None:
    """Write the body to a file, away from the loop that serves everybody else; raises 413 over `limit`."""
    waiting = bytearray()
    async for piece in limited(request, limit, what):
        waiting += piece
        if len(waiting) >= _WRITE_BYTES:
            await run_in_threadpool(incoming.write, waiting)
            waiting = bytearray()
    await run_in_threadpool(incoming.write, waiting)


def route(
    path: str,
    handler: Callable[[Call], Response],
    methods: Sequence[str] = ("GET",),
    limit: int = MAX_JSON_BYTES,
    threads: CapacityLimiter | None = None,
) -> Route:
    """Route a path to a plain function, which gets the whole body and runs in one of some threads."""

    async def endpoint(request: Request) -> Response:
        viewer = viewer_of(request)
        body = b"".join([piece async for piece in limited(request, limit)])
        return await to_thread.run_sync(handler, Call(request, viewer, body), limiter=threads)

    return Route(path, endpoint, methods=list(methods), name=handler.__name__)


def refusal(error: HubError) -> JSONResponse:
    """The answer to a refused request, in body and headers as clients read it."""
    message = "".join(char if " " <= char <= "~" else "?" for char in error.message)[:500].strip()
    headers = {"X-Error-Message": message, **error.headers}
    if error.code:
        headers["X-Error-Code"] = error.code
    return JSONResponse({"error": error.message, **error.extra}, error.status, headers=headers)


def explain(error: ValidationError) -> HubError:
    """Turn a failed validation into a refusal that names the first wrong field."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "the body"
    return bad_request(f"{place}: {first['msg']}")
