"""Seconds of stages: this call's, and those of calls before it that were stopped or killed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from precompute import stage_clock
from precompute.stage_clock import SECONDS_FILE, StageClock, read_seconds


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(stage_clock, "time", clock)
    return clock


def work_folder(path: Path) -> Path:
    (path / "scan-key").mkdir(parents=True)
    return path


def run(clock: Clock, stages: StageClock, name: str, seconds: float) -> None:
    with stages.run(name):
        clock.now += seconds


def test_what_earlier_calls_took_is_added_up(clock: Clock, tmp_path: Path) -> None:
    work = work_folder(tmp_path / "x.partial")
    for expected in ({}, {"load": 2.0, "scan": 5.0}, {"load": 4.0, "scan": 10.0}):
        stages = StageClock()
        stages.keep_in(work)
        assert stages.earlier == expected
        run(clock, stages, "load", 2)
        with pytest.raises(KeyboardInterrupt), stages.run("scan"):
            clock.now += 5
            raise KeyboardInterrupt
        assert stages.seconds == {"load": 2.0}  # a stopped stage has not taken a time yet
    stages.forget()
    assert not (work / SECONDS_FILE).exists()
    run(clock, stages, "publish", 1)
    assert not (work / SECONDS_FILE).exists()


def test_a_killed_call_keeps_what_a_tick_wrote(clock: Clock, tmp_path: Path) -> None:
    work = work_folder(tmp_path / "x.partial")
    stages = StageClock()
    stages.keep_in(work)
    running = stages.run("scan")
    running.__enter__()
    clock.now += 11
    stages.tick()
    clock.now += 3
    stages.tick()  # too soon for another write
    assert read_seconds(work / SECONDS_FILE) == {"scan": 11.0}


def test_a_folder_without_shards_is_left_alone(clock: Clock, tmp_path: Path) -> None:
    """It is removed when the run ends, and seconds shall not keep it."""
    (tmp_path / "lock").touch()
    stages = StageClock()
    stages.keep_in(tmp_path)
    run(clock, stages, "load", 2)
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]
    (tmp_path / "scan-key").mkdir()
    run(clock, stages, "scan", 1)
    assert read_seconds(tmp_path / SECONDS_FILE) == {"load": 2.0, "scan": 1.0}


@pytest.mark.parametrize("text", ["", "[1]", '{"scan": "x", "load": -1}', '{"scan":'])
def test_a_damaged_record_counts_as_none(text: str, tmp_path: Path) -> None:
    (tmp_path / SECONDS_FILE).write_text(text)
    assert read_seconds(tmp_path / SECONDS_FILE) == {}
    (tmp_path / SECONDS_FILE).write_text(json.dumps({"scan": 1}))
    assert read_seconds(tmp_path / SECONDS_FILE) == {"scan": 1.0}
