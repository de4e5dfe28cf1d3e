"""What a person sees while the job works: plain lines in a log, bars on a terminal, names as they are."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import pytest

from precompute import progress, stage_clock
from precompute.progress import Display
from tests.precompute.calling import Outcome, call

TITLES = {"read": "Reading", "write": "Writing"}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """Time that passes only when told, in the place of the module `time`."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (progress, stage_clock):
        monkeypatch.setattr(module, "time", clock)
    return clock


def test_a_log_gets_plain_lines(quick_run: Outcome) -> None:
    lines = quick_run.stderr.splitlines()
    assert "\x1b" not in quick_run.stderr
    assert "\r" not in quick_run.stderr
    assert lines[0] == "Surveying the corpus ..."
    assert re.fullmatch(r".*quick\.jsonl: 16 documents, 960 characters", lines[1])
    for title in ("Reading the corpus", "Truncating prompts", "Publishing the store"):
        at = lines.index(f"{title} ...")
        assert re.fullmatch(rf"{title}: \d+\.\d s", lines[at + 1])


def test_the_summary_counts_rows_seconds_and_speed(quick_run: Outcome) -> None:
    cells = [
        [cell.strip() for cell in line.strip("│").split("│")]
        for line in quick_run.stderr.splitlines()
        if line.startswith("│")
    ]
    rows = {row[0]: row[1] for row in cells}
    assert (rows["tokens"], rows["neuron_tokens"], rows["studied_neurons"]) == ("505", "3,840", "4")
    assert "failures" not in rows  # empty tables are left out
    right = {row[2]: row[3] for row in cells}
    assert {"Reading the corpus", "Publishing the store", "total"} <= set(right)
    assert int(right["tokens per second, scan"].replace(",", "")) > 0


def test_a_terminal_gets_bars_for_every_stage_from_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with Display(TITLES) as display, display.stage("read", 4) as reading:
        shown = terminal.getvalue()
        reading.advance(4)
    assert all(title in shown for title in TITLES.values())
    assert "Reading ..." not in shown
    assert "\x1b[" in terminal.getvalue()
    assert "100%" in terminal.getvalue()
    assert terminal.getvalue().rstrip().endswith("\x1b[?25h")  # the cursor is given back


def test_long_stages_say_now_and_then_how_long_is_left(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with Display(TITLES) as display, display.stage("read", 8) as reading:
        for _ in range(4):
            clock.now += 6
            reading.advance(1)
    assert capsys.readouterr().err.splitlines() == [
        "Reading ...",
        "Reading: 25%, about 36 s left",
        "Reading: 50%, about 24 s left",
        "Reading: 24.0 s",
    ]


def test_seconds_of_a_stage_add_up_and_a_failed_stage_has_none(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with Display(TITLES) as display:
        for seconds in (2, 3):
            with display.stage("read", 0):
                clock.now += seconds
        with pytest.raises(KeyboardInterrupt), display.stage("write", 1):
            raise KeyboardInterrupt
    assert display.clock.seconds == {"read": 5.0}
    display.summary({"prompts": 1234, "failures": 0}, 0)
    shown = capsys.readouterr().err
    assert "1,234" in shown
    assert "failures" not in shown


@pytest.mark.parametrize(
    "name", ["[bold]x[/bold]", "[/]", "[red", ":smile:", "a" * 300, "[link=x]y"]
)
def test_names_are_shown_as_they_are(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with Display(TITLES) as display:
        display.say(name)
    assert capsys.readouterr().err == f"{name}\n"


def test_no_escape_code_reaches_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Display(TITLES) as display:
        display.say("Reading \x1b[2Ja\x07b\x9bc\u202ed.txt ...")
        display.warn("\x1b]0;title\x07", 2)
    assert capsys.readouterr().err.splitlines() == [
        "Reading <0x1B>[2Ja<0x07>b<0x9B>c<0x202E>d.txt ...",
        "warning: <0x1B>]0;title<0x07>: 2",
    ]


def test_markup_in_the_name_of_a_corpus_is_a_name(
    quick_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "[red]:bug:[bold].txt"
    Path(name).write_text("")
    outcome = call("--model", quick_model, "--corpus", name)
    assert outcome.stderr.splitlines()[1] == f"{name}: 0 documents, 0 characters"
    assert name in outcome.stderr.splitlines()[-1]
