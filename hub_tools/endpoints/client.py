"""The client of one endpoint: TGI's chat route over aiohttp, which vLLM, SGLang and llama.cpp speak too."""

from __future__ import annotations

import json
from typing import Any

import aiohttp

from hub_tools.endpoints.wire import ChatRequest, Completion, EndpointError, Info, Overloaded, Refused
from hub_tools.errors import EndpointDown

ROW_AT_FAULT = (400, 413, 422)


class EndpointClient:
    """Asks one server; use it as an async context manager. `timeout` is the longest wait for one answer, in
    seconds.
    """

    def __init__(self, url: str, token: str | None = None, timeout: float = 600.0) -> None:
        self.url = url.rstrip("/").removesuffix("/v1")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._timeout = aiohttp.ClientTimeout(total=timeout, sock_connect=10)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> EndpointClient:
        connector = aiohttp.TCPConnector(limit=0)
        self._session = aiohttp.ClientSession(
            headers=self._headers, timeout=self._timeout, connector=connector
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
                return _tgi_info(answer)
            status, answer = await self._get("/v1/models")
            if status == 200:
                return Info(
                    model_id=answer["data"][0]["id"],
                    model_sha=None,
                    max_concurrent_requests=None,
                    kind="openai",
                )
        except (
            aiohttp.ClientError,
            TimeoutError,
            OSError,
            ValueError,
            KeyError,
            IndexError,
            TypeError,
        ) as error:
            raise EndpointDown(f"{self.url} does not answer as an endpoint: {_short(error)}") from error
        raise EndpointDown(
            f"{self.url} has neither /info nor /v1/models (status {status}); is the URL right?"
        )

    async def chat(self, request: ChatRequest) -> Completion:
        """Send one chat request.

        Raises:
            Refused: the server will never take it.
            Overloaded: no room now.
            EndpointError: anything else that another try may mend.
        """
        assert self._session is not None, "use the client as a context manager"
        try:
            async with self._session.post(f"{self.url}/v1/chat/completions", json=request.body()) as response:
                text = await response.text()
                _raise_for_status(response, text)
        except (TimeoutError, aiohttp.ClientError, OSError, UnicodeDecodeError) as error:
            raise EndpointError(f"{self.url}: {_short(error)}") from error
        try:
            return _completion(json.loads(text))
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise EndpointError(f"{self.url} sent an answer that cannot be read: {_short(error)}") from error

    async def _get(self, path: str) -> tuple[int, Any]:
        assert self._session is not None, "use the client as a context manager"
        timeout = aiohttp.ClientTimeout(total=30, sock_connect=10)
        async with self._session.get(f"{self.url}{path}", timeout=timeout) as response:
            return response.status, await response.json() if response.status == 200 else None


def _raise_for_status(response: aiohttp.ClientResponse, text: str) -> None:
    if response.status == 200:
        return
    message = f"{response.status}: {_message(text)}"
    if response.status in ROW_AT_FAULT:
        raise Refused(message)
    if response.status == 429:
        after = response.headers.get("Retry-After", "")
        raise Overloaded(message, float(after) if after.isdigit() else None)
    if response.status in (401, 403, 404):
        raise EndpointDown(f"{response.url.origin()} answers {message}; check its URL and token")
    raise EndpointError(message)


def _message(text: str) -> str:
    try:
        error = json.loads(text)["error"]
        return str(error["message"] if isinstance(error, dict) else error)[:300]
    except (ValueError, KeyError, TypeError):
        return text[:300] or "no message"


def _tgi_info(answer: dict[str, Any]) -> Info:
    return Info(
        model_id=answer["model_id"],
        model_sha=answer.get("model_sha"),
        max_concurrent_requests=answer.get("max_concurrent_requests"),
        kind=str(answer.get("router") or "tgi"),
    )


def _completion(answer: dict[str, Any]) -> Completion:
    choice, usage = answer["choices"][0], answer["usage"]
    logprobs = (choice.get("logprobs") or {}).get("content") or []
    return Completion(
        text=choice["message"]["content"] or "",
        finish_reason=str(choice["finish_reason"]),
        prompt_tokens=int(usage["prompt_tokens"]),
        completion_tokens=int(usage["completion_tokens"]),
        tokens=[
            (token["token"], {top["token"]: top["logprob"] for top in token["top_logprobs"]})
            for token in logprobs
        ],
    )


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:300] if str(error) else type(error).__name__
