"""What a run shows on a terminal and elsewhere, and how it is stopped."""

from __future__ import annotations

import io
import signal

import pytest
from rich.console import Console

import hub_tools.cli
from hub_tools.errors import Stopped
from hub_tools.run.progress import Display
from hub_tools.run.stopping import stoppable

NOTE = "loss 2.41 · 13,390 tok/s · 56% MFU"


def shown(width: int) -> str:
    """Return the last state of the line that a terminal of this width shows of a training."""
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    display = Display(console)
    tick = display.node("train-final-adapter")
    tick(total=1200)
    tick(600, note=NOTE, left=720.0)
    (line,) = display._bars.get_renderables()
    with console.capture() as captured:
        console.print(line)
    return captured.get()


@pytest.mark.parametrize("width", [80, 200])
def test_a_terminal_shows_what_counts_on_one_line(width: int) -> None:
    line = shown(width)
    assert line.count("\n") == 1
    assert f"600/1200 · 12 min left · {NOTE}" in line
    assert ("━" in line) == (width == 200)
    assert "rejected" not in line


def test_a_narrow_terminal_cuts_the_end_of_the_line() -> None:
    line = shown(50)
    assert line.count("\n") == 1
    assert line.startswith("train-final-adapter 600/1200 · 12 min left")
    assert line.rstrip().endswith("…")


def test_a_file_gets_plain_lines_without_control_codes() -> None:
    file = io.StringIO()
    display = Display(Console(file=file, width=80))
    with display.live():
        tick = display.node("train-final")
        tick(total=2)
        tick(1, note=NOTE, left=9.0)
        tick(line='step 1: gets "[bold]\x1b[2Jtext"')
        tick(1, left=0.0)
        tick.finish("published")
    step, last, end = file.getvalue().splitlines()
    assert step == 'train-final      step 1: gets "[bold]␛[2Jtext"'
    assert last.startswith(f"train-final      2/2 · {NOTE} · 0:00:0")
    assert end == "train-final      published"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_run_in_one_line_with_its_exit_code(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run() -> None:
        with stoppable(lambda: "stages.train-final"):
            signal.raise_signal(number)

    before = signal.getsignal(number)
    monkeypatch.setattr(hub_tools.cli, "app", run)
    with pytest.raises(SystemExit) as end:
        hub_tools.cli.main()
    assert end.value.code == 128 + number
    told = "stopped: stages.train-final: what is finished stays; run the same command again to go on\n"
    assert capsys.readouterr().err == told
    assert signal.getsignal(number) == before


def test_what_was_stopped_may_tell_what_stays() -> None:
    with pytest.raises(Stopped, match="the checkpoint of step 4 stays"), stoppable(lambda: "stages.final"):
        raise KeyboardInterrupt("the checkpoint of step 4 stays")
