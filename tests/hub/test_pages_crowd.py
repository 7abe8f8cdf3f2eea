import http.client
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import uvicorn

from hub_tools.hub.server.app import create_app
from hub_tools.hub.server.pages import viewer
from hub_tools.hub.server.store import Store


@pytest.fixture
def ask(tmp_path):
    """Sends requests to a Hub in this process, so that its parts can be held up."""
    store = Store(tmp_path)
    headers = {"Authorization": f"Bearer {store.accounts.owner('demo').token}"}
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(create_app(store, f"127.0.0.1:{port}"), lifespan="off"))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()

    def send(method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request(method, path, body, headers)
        return connection.getresponse().status

    yield send
    server.should_exit = True
    thread.join()


@pytest.mark.timeout(60)
def test_any_number_of_readers_leaves_room_for_commits_and_other_pages(ask, monkeypatch):
    entered, go_on = threading.Semaphore(0), threading.Event()

    def slow(_visit):
        entered.release()
        assert go_on.wait(30)
        return []

    monkeypatch.setattr(viewer, "_tables", slow)
    repo = '{"name": "rows", "organization": "demo", "type": "dataset"}'
    assert ask("POST", "/api/repos/create", repo) == 200
    with ThreadPoolExecutor(60) as people:
        readers = [people.submit(ask, "GET", "/datasets/demo/rows/viewer") for _ in range(60)]
        try:
            entered.acquire()
            line = '{"key": "header", "value": {"summary": "x"}}'
            assert ask("POST", "/api/datasets/demo/rows/commit/main", line) == 200
            assert ask("GET", "/datasets/demo/rows") == 200
            assert not any(reader.done() for reader in readers)
        finally:
            go_on.set()
        assert {reader.result() for reader in readers} == {200}
