from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

# Read by huggingface_hub when it is imported.
os.environ.setdefault("HF_HOME", tempfile.mkdtemp(prefix="hf-home-"))
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"

import pytest
from run_support import BASE, HubAddress
from tiny import teach


@pytest.fixture(scope="session")
def empty_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubAddress]:
    """The embedded Hub, as `run` starts it."""
    from hub_tools.hub.server.daemon import ensure, stop

    store = tmp_path_factory.mktemp("hub") / "store"
    address = ensure(store, 0, "demo")
    yield HubAddress(address.endpoint, address.token, store)
    assert stop(store)


@pytest.fixture(scope="session")
def hub(empty_hub: HubAddress, tmp_path_factory: pytest.TempPathFactory) -> HubAddress:
    """The Hub with a tiny base model on it, which answers in short sentences and then stops."""
    from huggingface_hub import HfApi

    folder = teach(tmp_path_factory.mktemp("tiny"))
    api = HfApi(endpoint=empty_hub.endpoint, token=empty_hub.token)
    api.create_repo(BASE, private=True)
    api.upload_folder(repo_id=BASE, folder_path=folder)
    return empty_hub
