from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from server_support import BASE, ENVIRONMENT, Caller, Tiny

from hub_tools.endpoints.server import EndpointServerError, ServerOptions, placement
from hub_tools.endpoints.server.options import parse_adapter
from hub_tools.endpoints.server.placement import check_room, place
from hub_tools.endpoints.server.process import EndpointProcess
from hub_tools.endpoints.server.source import Source

CPU = torch.device("cpu")


def test_device_and_type_are_what_was_asked_for() -> None:
    options = ServerOptions("x", device="cpu")
    assert place(options) == (CPU, torch.float32)
    assert place(replace(options, dtype="bfloat16")) == (CPU, torch.bfloat16)
    if not torch.cuda.is_available():
        assert place(ServerOptions("x")) == (CPU, torch.float32)
        with pytest.raises(EndpointServerError, match="finds no GPU"):
            place(ServerOptions("x", device="cuda"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"device": "tpu"},
        {"dtype": "int3"},
        {"max_batch_size": 0},
        {"max_total_tokens": 1},
        {"threads": 0},
        {"port": 70_000},
    ],
)
def test_options_that_cannot_be_are_named_with_what_can(wrong: dict[str, Any]) -> None:
    name, value = next(iter(wrong.items()))
    with pytest.raises(EndpointServerError, match=f"{name} is {value}; it must be"):
        ServerOptions("x", **wrong).check()


def test_too_little_memory_is_known_before_anything_is_loaded(
    tiny_model: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source(tiny_model.base, BASE, None)
    parameters = placement._parameters(tiny_model.base)
    free = parameters * 3 // 1024
    (tmp_path / "meminfo").write_text(f"MemTotal: 9999 kB\nMemAvailable: {free} kB\n")
    monkeypatch.setattr(placement, "_MEMORY", tmp_path / "meminfo")
    check_room(source, CPU, torch.bfloat16)
    with pytest.raises(
        EndpointServerError, match=r"needs 0.0 GB as float32, and 0.0 GB .* a smaller --dtype"
    ):
        check_room(source, CPU, torch.float32)


def test_torn_weights_are_named(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(EndpointServerError, match="is no whole safetensors file"):
        check_room(Source(tmp_path, "torn", None), CPU, torch.float32)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=org/b", ("a", "org/b")),
        ("a=hf://org/b@v1", ("a", "hf://org/b@v1")),
        ("hf://org/b@v1", ("org/b", "hf://org/b@v1")),
        ("org/b@refs/pr/1", ("org/b", "org/b@refs/pr/1")),
    ],
)
def test_adapters_go_by_their_repository_unless_named(text: str, expected: tuple[str, str]) -> None:
    assert parse_adapter(text) == expected


@pytest.mark.parametrize("text", ["", "=x", "a=", "name", "hf://"])
def test_adapters_that_name_nothing(text: str) -> None:
    with pytest.raises(EndpointServerError, match="is not"):
        parse_adapter(text)


def test_bfloat16_serves_adapters_grammars_and_logprobs(tiny_model: Tiny, tmp_path: Path) -> None:
    _serve_everything(tiny_model, tmp_path, device="cpu", dtype="bfloat16")


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["auto", "float16", "float32"])
def test_gpu_serves_adapters_grammars_and_logprobs(tiny_model: Tiny, tmp_path: Path, dtype: str) -> None:
    _serve_everything(tiny_model, tmp_path, device="cuda", dtype=dtype)


@pytest.mark.gpu
def test_gpu_in_full_precision_answers_as_the_cpu_does(
    tiny_model: Tiny, endpoint: Caller, tmp_path: Path
) -> None:
    options = ServerOptions(
        str(tiny_model.base), tiny_model.adapters, model_id=BASE, device="cuda", dtype="float32"
    )
    with EndpointProcess.start(options, ENVIRONMENT, tmp_path / "log") as process:
        for adapter in (None, "org/backward"):
            settings = {"max_new_tokens": 12, "adapter_id": adapter}
            ours = Caller(process.url).generate("hello world", **settings).body
            assert ours == endpoint.generate("hello world", **settings).body


def _serve_everything(tiny_model: Tiny, tmp_path: Path, *, device: str, dtype: str) -> None:
    options = ServerOptions(
        str(tiny_model.base), tiny_model.adapters, model_id=BASE, threads=1, device=device, dtype=dtype
    )
    with EndpointProcess.start(options, ENVIRONMENT, tmp_path / "log") as process:
        caller = Caller(process.url)
        info = caller.get("/info").body
        assert info["model_device_type"] == device
        assert dtype in {"auto", info["model_dtype"].removeprefix("torch.")}
        every = {"details": True, "decoder_input_details": True, "top_n_tokens": 3, "max_new_tokens": 8}
        warped = {"temperature": 0.8, "top_k": 40, "top_p": 0.9, "typical_p": 0.9, "seed": 3}
        penalties = {"repetition_penalty": 1.2, "frequency_penalty": 0.5}
        for adapter in (None, *tiny_model.adapters):
            reply = caller.generate("hello world", adapter_id=adapter, **every, **warped, **penalties)
            assert reply.status == 200, reply.body
            assert len(reply.body["details"]["top_tokens"]) == reply.body["details"]["generated_tokens"]
        grammar = {"type": "regex", "value": "Score: [1-5]"}
        score = caller.generate("x", max_new_tokens=30, grammar=grammar).body["generated_text"]
        assert score.startswith("Score: ")
