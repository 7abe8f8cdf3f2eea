from __future__ import annotations

import asyncio
import json
import socket
import threading
from copy import deepcopy
from dataclasses import replace
from urllib.request import Request, urlopen

import pytest
from server_support import BASE, Tiny

from hub_tools.endpoints.server import serving
from hub_tools.endpoints.server.errors import ValidationError
from hub_tools.endpoints.server.model import LoadedModel, load
from hub_tools.endpoints.server.options import ServerOptions
from hub_tools.endpoints.server.schema import GenerateBody, Grammar, Parameters
from hub_tools.endpoints.server.service import Service
from hub_tools.endpoints.server.source import find_sources


@pytest.fixture(scope="module")
def model(tiny_model: Tiny) -> LoadedModel:
    options = ServerOptions(str(tiny_model.base), model_id=BASE, threads=1)
    return load(options, find_sources(options))


def test_clients_of_a_server_that_is_stopped_hear_of_it(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "_GRACE_SECONDS", 2)
    endless = replace(model, eos_ids=frozenset(), max_total_tokens=100_000)
    service, listener = Service(endless, ServerOptions(BASE)), socket.create_server(("127.0.0.1", 0))
    service.batcher.start()
    server = serving._Server(service, listener.getsockname()[1])
    running = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
    running.start()
    body = json.dumps({"inputs": "x", "parameters": {"max_new_tokens": 90_000}}).encode()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/generate_stream"
    with urlopen(Request(url, body, {"Content-Type": "application/json"}), timeout=60) as events:
        assert b"token" in events.readline()
        server.should_exit = True
        last = [line for line in events if line.strip()][-1]
    running.join(timeout=30)
    service.batcher.stop()
    told = json.loads(last.removeprefix(b"data: "))
    assert told["error_type"] == "generation"
    assert "the server is stopping" in told["error"]


def test_monstrous_prompt_leaves_a_tokenizer_to_the_others(model: LoadedModel) -> None:
    service, read = Service(model, ServerOptions(BASE)), threading.Event()

    async def both() -> None:
        await asyncio.gather(
            service.validate(lambda _: read.wait(20)),  # reads as long as nobody else is served
            service.validate(lambda _: read.set()),
        )

    asyncio.run(both())
    assert read.is_set()


def test_grammar_of_a_model_that_never_ends_is_refused(model: LoadedModel) -> None:
    tokenizer = deepcopy(model.tokenizer)
    tokenizer.eos_token = None
    endless = Service(replace(model, tokenizer=tokenizer, eos_ids=frozenset()), ServerOptions(BASE))
    endless.batcher.start()
    grammar = Grammar(type="regex", value="a")
    body = GenerateBody(inputs="x", parameters=Parameters(max_new_tokens=1, grammar=grammar))
    with pytest.raises(ValidationError, match="no token that ends an answer"):
        asyncio.run(endless.answer(lambda validator: validator.generate(body)))
    endless.batcher.stop()
