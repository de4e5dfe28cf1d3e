"""`--log-json`: one object a line on standard error, from the first line to the last, errors too."""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from precompute import __main__ as command
from precompute import progress, stage_clock
from precompute.progress import Display
from tests.precompute.calling import Outcome, call, manifest

EVENTS = Path(__file__).parents[2] / "precompute" / "json_log.py"


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def logged(
    quick_call: tuple[object, ...], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Outcome, list[dict[str, Any]]]:
    outcome = call(*quick_call, "--out", tmp_path_factory.mktemp("logged"), "--log-json")
    assert outcome.status == 0, outcome.stderr
    return outcome, events(outcome.stderr)


def test_every_line_is_an_object_with_time_level_and_event(
    logged: tuple[Outcome, list[dict[str, Any]]],
) -> None:
    outcome, lines = logged
    assert outcome.stderr.isascii()
    times = [datetime.fromisoformat(line["time"]) for line in lines]
    assert times == sorted(times)
    assert all(t.utcoffset() == timedelta(0) for t in times)
    assert abs(datetime.now(UTC) - times[-1]) < timedelta(minutes=5)
    assert {line["level"] for line in lines} <= {"info", "warning"}
    told = set(re.findall(r"^    (\w+) +`", EVENTS.read_text(), re.M))
    assert {line["event"] for line in lines} <= told  # each is explained where users read of them


def test_every_stage_begins_and_ends_and_the_last_line_is_the_store(
    logged: tuple[Outcome, list[dict[str, Any]]],
) -> None:
    outcome, lines = logged
    seconds = manifest(outcome.store)["seconds"]
    for event in ("stage_start", "stage_end"):
        stages = [line["stage"] for line in lines if line["event"] == event]
        assert stages == list(seconds)
    ended = {line["stage"]: line["seconds"] for line in lines if line["event"] == "stage_end"}
    for stage in set(seconds) - {"publish"}:  # the manifest is written before its own stage ends
        assert ended[stage] == pytest.approx(seconds[stage], abs=0.2), stage
    assert 0 < seconds["publish"] <= ended["publish"] + 0.2
    last = lines[-1]
    assert last["event"] == "published"
    assert last["path"] == str(outcome.store)
    assert outcome.stdout == f"{outcome.store}\n"
    assert last["rows"]["tokens"] == 505
    assert last["rows"]["manifest"] > 60
    warned = {line["message"]: line["count"] for line in lines if line["event"] == "warning"}
    assert last["warnings"] == warned == manifest(outcome.store)["warnings"] != {}
    assert last["tokens_per_second"] > 0


def test_a_finished_run_says_where_it_is(
    logged: tuple[Outcome, list[dict[str, Any]]], quick_call: tuple[object, ...]
) -> None:
    store = logged[0].store
    again = call(*quick_call, "--out", store.parent, "--log-json")
    assert events(again.stderr)[-1]["path"] == str(store)


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


def test_progress_says_what_is_done_and_what_is_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()
    for module in (progress, stage_clock):
        monkeypatch.setattr(module, "time", clock)
    with Display({"read": "Reading"}, as_json=True) as display, display.stage("read", 8) as reading:
        for _ in range(4):
            clock.now += 1.5
            reading.advance(1)
    lines = events(capsys.readouterr().err)
    assert [line["event"] for line in lines] == ["stage_start", "progress", "progress", "stage_end"]
    assert (lines[0]["total"], lines[0]["message"]) == (8, "Reading")
    facts = ("done", "total", "seconds", "seconds_left")
    # two seconds have passed since the line before: after the second and the fourth
    assert [tuple(line[f] for f in facts) for line in lines[1:3]] == [(2, 8, 3, 9), (4, 8, 6, 6)]
    assert lines[3]["seconds"] == 6


def test_control_characters_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    text = "a\x1b[2Jb\x07\x9b\u202e\u2028\ud800"
    with Display({}, as_json=True) as display:
        display.say(text)
        display.warn(text, 1)
    raw = capsys.readouterr().err
    assert raw.isascii()
    assert not any(ord(c) < 32 and c != "\n" for c in raw)
    assert [line["message"] for line in events(raw)] == [text, text]


@pytest.mark.parametrize("terminal", [True, False])
def test_no_bars_beside_json(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    with Display({"read": "Reading"}, as_json=True) as display, display.stage("read", 1) as reading:
        reading.advance()
    assert len(events(capsys.readouterr().err)) == 2


def test_errors_are_objects_too(
    quick_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = call("--log-json", "--model", quick_model)
    assert wrong.status == 2
    (line,) = events(wrong.stderr)
    assert (line["event"], line["level"], line["status"]) == ("error", "error", 2)
    assert "--corpus" in line["message"]
    missing = call("--log-json", "--model", quick_model, "--corpus", tmp_path / "none\x1b.txt")
    assert missing.status != 0
    last = events(missing.stderr)[-1]
    assert (last["event"], last["status"]) == ("error", missing.status)
    assert "none\x1b.txt" in last["message"]

    def stopped(config: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "run_job", stopped)
    outcome = call("--log-json", "--model", quick_model, "--corpus", "x")
    last = events(outcome.stderr)[-1]
    assert (outcome.status, last["event"], last["status"]) == (1, "stopped", 1)
    plain = call("--model", quick_model, "--corpus", "x")  # the control: words without the option
    assert plain.stderr.startswith("stopped; ")
