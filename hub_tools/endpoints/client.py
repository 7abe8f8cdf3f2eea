"""The client of one server: TGI's routes over aiohttp, of which vLLM, SGLang and llama.cpp speak the chat."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn

import aiohttp

from hub_tools.encoding import decode, encode
from hub_tools.endpoints.failures import (
    Dropped,
    EndpointError,
    GenerationFailed,
    Overloaded,
    Refused,
    TimedOut,
    Unavailable,
    Unfinished,
    Unreachable,
)
from hub_tools.endpoints.wire import Info, Reply, Request, openai_info, tgi_info
from hub_tools.errors import EndpointDown

ROW_AT_FAULT = (400, 413, 422)
NOT_AN_ENDPOINT = (301, 302, 303, 307, 308, 401, 403, 404, 405)
JSON = {"Content-Type": "application/json"}
NOT_READY = (502, 503, 504)
LONGEST = 64 << 20  # bytes of an answer: what is longer is none
SHOWN = 100  # characters of an answer that is none
UNREADABLE = (ValueError, KeyError, IndexError, TypeError, AttributeError, ArithmeticError, RecursionError)


class EndpointClient:
    """Asks one server; use it as an async context manager. `timeout` is the longest wait for one answer, in
    seconds.
    """

    def __init__(self, url: str, token: str | None = None, timeout: float = 600.0) -> None:
        self.url = url.rstrip("/").removesuffix("/v1")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._timeout = aiohttp.ClientTimeout(total=timeout, sock_connect=10)
        self._brief = aiohttp.ClientTimeout(total=min(timeout, 30), sock_connect=10)
        self._session: aiohttp.ClientSession | None = None
        self._tokenizers: tuple[str, ...] = ("/chat_tokenize", "/tokenize")

    async def __aenter__(self) -> EndpointClient:
        self._session = aiohttp.ClientSession(
            headers=self._headers,
            timeout=self._timeout,
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session:
            await self._session.close()

    async def info(self) -> Info:
        """Ask the server what it serves: TGI's `/info`, else the model list of an OpenAI-style server.

        Raises:
            EndpointDown: nothing answers there, or not as an endpoint does.
        """
        try:
            status, answer = await self._get("/info")
            if status == 200:
                with contextlib.suppress(*UNREADABLE):
                    return tgi_info(decode(answer))
            if status in NOT_READY:
                _raise(self.url, status, {}, answer)
            status, answer = await self._get("/v1/models")
            if status == 200:
                return openai_info(decode(answer))
        except EndpointError as error:
            raise EndpointDown(f"{self.url} does not answer as an endpoint: {error}") from error
        except UNREADABLE as error:
            raise EndpointDown(f"{self.url} does not answer as an endpoint: {_short(error)}") from error
        raise EndpointDown(
            f"{self.url} has neither /info nor /v1/models (status {status}); is the URL right, and the token?"
        )

    async def healthy(self) -> bool:
        """Whether the server says that it can generate; one without `/health` is taken at its word."""
        try:
            status, _ = await self._get("/health")
        except EndpointError:
            return False
        return status == 200 or status in NOT_AN_ENDPOINT

    async def ask(self, request: Request) -> Reply:
        """Send one request.

        Raises:
            Refused: the server will never take it.
            EndpointError: anything that another try, or another server, may mend; its class tells which.
        """
        status, headers, content = await self._send("POST", request.route, self._timeout, request.content)
        if status != 200:
            _raise(self.url, status, headers, content)
        try:
            answer = decode(content)
            return Reply(request.read(answer, headers), _queued(headers), _model(answer))
        except UNREADABLE as error:
            what = f"an answer that cannot be read ({_short(error)})"
            raise Unfinished(f"{self.url} sent {what}: {_message(content)[:SHOWN]}") from error

    async def count(self, request: Request) -> int | None:
        """Return how many tokens a request's prompt has, by the server's own tokenizer; None where it does
        not tell.
        """
        for route in self._tokenizers:
            body = {**decode(request.content), "inputs": request.text, "content": request.text}
            try:
                status, _, content = await self._send("POST", route, self._brief, encode(body))
                if status in NOT_AN_ENDPOINT:
                    self._tokenizers = tuple(other for other in self._tokenizers if other != route)
                if status == 200:
                    return _count(decode(content))
            except (EndpointError, *UNREADABLE):
                continue
        return None

    async def _get(self, path: str) -> tuple[int, bytes]:
        status, _, content = await self._send("GET", path, self._brief)
        return status, content

    async def _send(
        self, method: str, path: str, timeout: aiohttp.ClientTimeout, content: bytes | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        assert self._session is not None, "use the client as a context manager"
        url, headers = self.url + path, JSON if content else None
        try:
            async with self._session.request(
                method, url, data=content, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                return response.status, response.headers, await _whole(response)
        except aiohttp.ConnectionTimeoutError as error:
            raise Unreachable(f"{self.url}: no connection within {timeout.sock_connect:g} s") from error
        except TimeoutError as error:
            raise TimedOut(f"{self.url}: no answer within {timeout.total:g} s") from error
        except aiohttp.ClientConnectorError as error:
            raise Unreachable(f"{self.url}: {_short(error)}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Dropped(f"{self.url}: {_short(error)}") from error


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    """Return the body, unless it is longer than any answer."""
    if response.content_length is not None and response.content_length <= LONGEST:
        return await response.read()
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) > LONGEST:
            raise aiohttp.ClientPayloadError(f"the answer is longer than {LONGEST >> 20} MB")
    return bytes(body)


def _raise(url: str, status: int, headers: Mapping[str, str], content: bytes) -> NoReturn:
    message, after = f"{status}: {_message(content)}", _retry_after(headers)
    if status in ROW_AT_FAULT:
        raise Refused(message)
    if status == 429:
        raise Overloaded(f"{url}: {message}", after)
    if status == 424:
        raise GenerationFailed(f"{url}: {message}", after)
    if status in NOT_AN_ENDPOINT:
        raise Unreachable(f"{url} answers {message}; check its URL and token")
    if status in NOT_READY:
        raise Unavailable(f"{url}: {message}", after)
    raise Unfinished(f"{url}: {message}", after)


def _message(content: bytes) -> str:
    """Return what the server says of an error, in one line that is safe to print."""
    text = content.decode("utf-8", "replace")
    try:
        error = decode(text)["error"]
        text = str(error["message"] if isinstance(error, dict) else error)
    except UNREADABLE:
        pass
    line = " ".join(text.split())[:300]
    return "".join(sign for sign in line if sign.isprintable()) or "no message"


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Read `Retry-After`: seconds, or the date of the end of the wait."""
    value = headers.get("Retry-After")
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return None
    return seconds if 0 <= seconds < math.inf else None


def _queued(headers: Mapping[str, str]) -> float | None:
    """Return TGI's `x-queue-time`, which is in milliseconds, in seconds."""
    try:
        seconds = float(headers["x-queue-time"]) / 1000
    except (KeyError, ValueError):
        return None
    return seconds if 0 <= seconds < math.inf else None


def _model(answer: Any) -> str | None:
    """Return the name in an answer of OpenAI's shape."""
    name = answer.get("model") if isinstance(answer, dict) else None
    return name if isinstance(name, str) else None


def _count(answer: Any) -> int:
    """Read TGI's list of tokens, its chat's `tokenize_response`, vLLM's `count` or llama.cpp's `tokens`."""
    if isinstance(answer, dict):
        if "count" in answer:
            return int(answer["count"])
        answer = answer["tokenize_response"] if "tokenize_response" in answer else answer["tokens"]
    if not isinstance(answer, list):
        raise TypeError("no list of tokens")
    return len(answer)


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:300] if str(error) else type(error).__name__
