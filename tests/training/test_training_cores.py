from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from training_samples import make_pairs
from transformers import AutoTokenizer

from training import cores
from training.encode import encode_pairs
from training.errors import TrainingError
from training.publish import Base
from training.views import Pair


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cores, "cores", lambda: 2)
    monkeypatch.setattr(cores, "PART", 3)
    monkeypatch.setattr(cores, "FEW", 4)


@pytest.fixture(scope="module")
def tokenizer(base: Base):
    return AutoTokenizer.from_pretrained(base.path)


def test_results_of_several_processes_are_in_the_order_of_the_items():
    found = cores.on_all_cores(lambda item: (item * item, os.getpid()), range(10))
    assert [square for square, _ in found] == [item * item for item in range(10)]
    assert os.getpid() not in {process for _, process in found}


def test_few_items_need_no_process():
    assert set(cores.on_all_cores(lambda _: os.getpid(), range(3))) == {os.getpid()}


def test_processes_of_one_training_share_the_cores(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert cores.cores() == 2
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "64")
    assert cores.cores() == 1


def test_pairs_are_encoded_alike_however_many_processes_do_it(tokenizer, monkeypatch: pytest.MonkeyPatch):
    pairs = [
        *make_pairs(8),
        Pair("empty", [{"role": "user", "content": "a"}], [{"role": "assistant", "content": ""}]),
    ]
    several = encode_pairs(tokenizer, pairs, 128)
    monkeypatch.setattr(cores, "cores", lambda: 1)
    assert encode_pairs(tokenizer, pairs, 128) == several
    assert several.dropped == [("empty", "empty_completion")]


def test_what_a_template_refuses_in_another_process_is_told_as_here(tokenizer):
    refused = Pair("bad", [{"role": "user", "content": "a"}], [{"role": "tool", "content": "b"}])
    with pytest.raises(TrainingError, match="a completion is one message of the assistant") as caught:
        encode_pairs(tokenizer, [*make_pairs(8), refused], 128)
    assert "\n" not in str(caught.value)


ENDLESS = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from training import cores
cores.cores, cores.PART, cores.FEW = (lambda: 2), 1, 1
def tell(item):
    os.write(1, f"{os.getpid()}\\n".encode())
    time.sleep(600)
cores.on_all_cores(tell, range(4))
"""


@pytest.mark.parametrize("by", ["killed", "Ctrl-C"])
def test_processes_end_with_the_one_that_started_them(by: str):
    root = Path(cores.__file__).parents[1]
    parent = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, str(root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert parent.stdout
    children = [int(parent.stdout.readline()) for _ in range(2)]
    if by == "killed":
        parent.kill()
    else:
        os.killpg(parent.pid, signal.SIGINT)
    told = parent.communicate(timeout=60)[1].splitlines()
    assert [line for line in told if line.endswith("Interrupt")] == ["KeyboardInterrupt"] * (by != "killed")
    until = time.monotonic() + 60
    while any(map(runs, children)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(runs, children))


def runs(pid: int) -> bool:
    try:
        return "(zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_a_killed_process_is_told_in_one_line():
    def die(item: int) -> None:
        if item == 7:
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(TrainingError, match="was killed, as happens where memory runs out"):
        cores.on_all_cores(die, range(10))
