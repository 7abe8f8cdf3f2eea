import json
import os
import socket
import stat
import subprocess
import sys
import threading

import pytest
from hub_support import ROOT, start_hub

from hub_tools.hub.server import HubServerError, serve
from hub_tools.hub.server.daemon import ensure, owner, running, stop


@pytest.fixture
def store(tmp_path):
    yield tmp_path / "store"
    stop(tmp_path / "store")


def test_ensure_starts_once_and_stop_ends_it(store, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert running(store) is None
    assert stop(store) is False
    first = ensure(store, 0)
    assert ensure(store, 0) == first == running(store)
    assert first.namespace == "demo"
    assert os.getsid(first.pid) == first.pid != os.getsid(0)
    with pytest.raises(HubServerError, match="serves the namespace 'demo', not 'else'"):
        ensure(store, 0, "else")
    assert owner(store, "else") == "demo"
    assert stop(store) is True
    assert running(store) is None
    assert owner(store, "else") == "demo"
    assert owner(tmp_path / "new", "else") == "else"
    second = ensure(store, 0)
    assert (second.token, second.pid != first.pid) == (first.token, True)


def test_store_and_token_are_for_the_owner_only_and_the_log_holds_no_token(store):
    address = ensure(store, 0)
    assert stat.S_IMODE(store.stat().st_mode) == 0o700
    for path in store.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert address.token in (store / "tokens.json").read_text()
    assert address.token not in (store / "server.log").read_text()


def test_several_starters_at_once_get_the_same_server(store):
    found = []
    starters = [threading.Thread(target=lambda: found.append(ensure(store, 0))) for _ in range(3)]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join()
    assert len(found) == 3
    assert len(set(found)) == 1


@pytest.mark.parametrize("content", ["", "nonsense", "[]", '{"pid": 1}'])
def test_lock_file_of_a_dead_server_does_not_count(store, content):
    store.mkdir()
    (store / "server.lock").write_text(content)
    assert running(store) is None
    assert stop(store) is False


def test_recycled_pid_of_another_program_is_left_alone(store):
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    store.mkdir()
    holder = {"endpoint": "http://127.0.0.1:9", "namespace": "demo", "pid": other.pid, "store": "x"}
    (store / "server.lock").write_text(json.dumps(holder))
    assert running(store) is None
    assert stop(store) is False
    assert ensure(store, 0).pid != other.pid
    assert stop(store) is True
    assert other.poll() is None
    other.communicate(b"\n")


def test_killed_server_is_replaced(store):
    first = ensure(store, 0)
    os.kill(first.pid, 9)
    second = ensure(store, 0)
    assert second.pid != first.pid
    assert second.token == first.token


def test_busy_port_is_one_line(store):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(HubServerError, match=f"^Port {port} of 127.0.0.1 cannot be used"):
            serve(store, port)
        with pytest.raises(HubServerError, match=f"did not start: Port {port} of 127.0.0.1") as error:
            ensure(store, port)
    assert "\n" not in str(error.value)


def test_second_server_of_a_store_is_refused_and_names_the_first(tmp_path):
    hub = start_hub(tmp_path / "store")
    try:
        with pytest.raises(HubServerError, match=f"already served by another Hub, {hub.endpoint}"):
            serve(hub.store, 0)
        assert running(hub.store).endpoint == hub.endpoint
    finally:
        hub.stop()


def run(*arguments):
    command = [sys.executable, "-m", "hub_tools.hub.server", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "0.0.0.0"], "give a token of your own"),
        (["--port", "99999"], "99999"),
        (["--host", "no.such.host.invalid", "--token", "hf_x"], "no.such.host.invalid"),
        (["--namespace", "api"], "'api' cannot be a namespace"),
        (["--namespace", "a/b"], "'a/b' cannot be a namespace"),
        (["--token", "two words"], "printable ASCII"),
        (["--store", "/dev/null/x"], "/dev/null/x"),
    ],
)
def test_wrong_start_is_one_line_and_exit_code_1(tmp_path, arguments, message):
    done = run("--store", str(tmp_path / "s"), "--port", "0", *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_own_token_and_namespace_are_printed_and_kept(tmp_path):
    hub = start_hub(tmp_path / "store", "--namespace", "lab", "--token", "hf_mine")
    try:
        assert hub.token == "hf_mine"
        assert hub.api().whoami()["name"] == "lab"
        second = hub.process.stdout.readline()
        assert "'lab'" in second
        assert str(hub.store) in second
        assert running(hub.store).token == "hf_mine"
    finally:
        hub.stop()


def test_data_of_a_later_version_is_not_touched(store):
    import sqlite3

    ensure(store, 0)
    stop(store)
    with sqlite3.connect(store / "hub.sqlite") as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(HubServerError, match="written by a later version"):
        ensure(store, 0)


def test_importing_the_package_does_not_load_the_web_stack():
    script = (
        "import sys, hub_tools.hub.server, hub_tools.hub.server.daemon as d;"
        "print([m for m in ('starlette', 'uvicorn', 'pydantic', 'lz4', 'yaml') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
