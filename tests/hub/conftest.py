import os
import tempfile

# Read by huggingface_hub when it is imported.
os.environ.setdefault("HF_HOME", tempfile.mkdtemp(prefix="hf-home-"))
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"

import pytest
from hub_support import start_hub


@pytest.fixture(scope="session")
def hub(tmp_path_factory):
    """One server for all tests that only add repos of their own."""
    server = start_hub(tmp_path_factory.mktemp("hub") / "store")
    yield server
    server.stop()
    log = (server.store / "test.log").read_text()
    assert "Traceback" not in log, log


@pytest.fixture
def repo(hub, request):
    """A fresh model repo named after the test."""
    name = "demo/" + request.node.originalname.replace("_", "-")[:60] + f"-{os.urandom(4).hex()}"
    hub.api().create_repo(name)
    return name
