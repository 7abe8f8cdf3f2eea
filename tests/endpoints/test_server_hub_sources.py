from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from server_support import Caller, Tiny

from hub_tools.endpoints.server import EndpointServerError, ServerOptions
from hub_tools.endpoints.server.process import EndpointProcess

BASE, ADAPTER = "demo/tiny-base", "demo/tiny-backward"


@pytest.fixture(scope="module")
def environment(tiny_model: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The embedded Hub with the base and an adapter of it, as a child process finds it."""
    from huggingface_hub import HfApi

    from hub_tools.hub.server.daemon import ensure, stop

    folder = tmp_path_factory.mktemp("hub")
    address = ensure(folder / "store", 0, "demo")
    api = HfApi(endpoint=address.endpoint, token=address.token)
    adapter = shutil.copytree(tiny_model.adapters["org/backward"], folder / "adapter")
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": BASE}))
    for repo, files in ((BASE, tiny_model.base), (ADAPTER, adapter)):
        api.create_repo(repo)
        api.upload_folder(repo_id=repo, folder_path=files)
    api.create_tag(BASE, tag="v1")
    yield {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "HF_ENDPOINT": address.endpoint,
        "HF_TOKEN": address.token,
        "HF_HOME": str(folder / "home"),
    }
    assert stop(folder / "store")


def test_model_and_adapter_come_from_the_hub_at_their_revisions(
    environment: dict[str, str], tmp_path: Path
) -> None:
    options = ServerOptions(f"hf://{BASE}@v1", {ADAPTER: f"hf://{ADAPTER}@main"}, threads=1)
    with EndpointProcess.start(options, environment, tmp_path / "log") as process:
        info = Caller(process.url).get("/info").body
        assert info["model_id"] == BASE
        assert len(info["model_sha"]) == 40
        assert info["adapters"][ADAPTER]["id"] == ADAPTER
        assert len(info["adapters"][ADAPTER]["sha"]) == 40
        assert Caller(process.url).chat("hello", model=ADAPTER, max_tokens=2).status == 200
    first = (tmp_path / "log").read_text().splitlines()[0]
    assert first == f"loading {BASE} at {info['model_sha'][:12]} with 1 adapter …"


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("hf://demo/nobody", "there is no such repository"),
        (f"{BASE}@v9", "there is no such revision"),
        (f"hf://{ADAPTER}", "is an adapter; serve its base"),
    ],
)
def test_what_the_hub_does_not_have_is_one_line_on_the_command_line(
    environment: dict[str, str], model: str, sentence: str
) -> None:
    command = [sys.executable, "-m", "hub_tools", "endpoint", "serve", "--port", "0", "--model", model]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stdout == ""
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_gated_model_says_so() -> None:
    from httpx2 import Request, Response
    from huggingface_hub.errors import GatedRepoError

    from hub_tools.endpoints.server.source import _reason

    response = Response(403, request=Request("GET", "https://example.invalid"))
    assert _reason(GatedRepoError("x", response=response)).startswith("it is gated; ask for access")


def test_adapter_of_another_base_is_refused_before_anything_is_loaded(
    environment: dict[str, str], tiny_model: Tiny, tmp_path: Path
) -> None:
    with pytest.raises(EndpointServerError, match="was trained on somebody/else"):
        EndpointProcess.start(
            ServerOptions(f"hf://{BASE}", {"alien": str(tiny_model.alien)}), environment, tmp_path / "log"
        )
    assert "loading" not in (tmp_path / "log").read_text()
