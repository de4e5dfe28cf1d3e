"""`status` tells what is published and what is unfinished, changes nothing and disturbs no job."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from precompute import work_folders
from precompute.arguments import config_from
from precompute.checkpoint import locked
from precompute.commands.status import bytes_in_words
from precompute.explainers.openai_client import LOG_NAME
from precompute.work_folders import REPLIES_FILE, is_worked_in
from tests.explorer.seeded import write_seeded_store
from tests.precompute.calling import Outcome, assert_refused, call, kill_jobs, manifest
from tests.precompute.leftover import damage, everything, job_at_work, unfinished_run


def status(folder: Path, *more: str) -> dict[str, Any]:
    outcome = call("status", folder, "--json", *more)
    assert outcome.status == 0, outcome.stderr
    return json.loads(outcome.stdout)


def test_published_stores_come_newest_first_and_others_with_their_reason(tmp_path: Path) -> None:
    write_seeded_store(tmp_path, "old", end="2026-11-01T10:01:00.000+00:00")
    write_seeded_store(tmp_path, "new", end="2026-11-01T12:00:30.000+00:00", corpus_name="b\x1b[2J")
    write_seeded_store(tmp_path, "odd", start="never", end="")
    (tmp_path / "bad.duckdb").write_text("junk")
    (tmp_path / "run.notes.json").write_text("{}")
    found = status(tmp_path)
    assert [store["name"] for store in found["published"]] == ["new", "old", "odd"]
    assert [store["seconds"] for store in found["published"]] == [7230.0, 60.0, None]
    assert found["published"][0]["n_bytes"] == (tmp_path / "new.duckdb").stat().st_size
    assert [(r["file"], "rebuild it" in r["reason"]) for r in found["unreadable"]] == [
        ("bad.duckdb", True)
    ]
    assert found["unfinished"] == found["left_over"] == []
    lines = call("status", tmp_path).stdout.splitlines()
    assert lines[:2] == [f"{tmp_path}: 3 published", "  new  seeded model · b<0x1B>[2J"]
    assert "took 2 h 0 min" in lines[2]
    assert not any("clean" in line for line in lines)


def test_unfinished_work_is_told_stage_by_stage(tmp_path: Path) -> None:
    work = unfinished_run(tmp_path, options={"model": "m", "corpus": "c.txt", "prompts": 3})
    (tmp_path / ".write-probe.partial").touch()
    (tmp_path / "link.partial").symlink_to(work)
    damage(work)
    before = everything(tmp_path)
    found = status(tmp_path)
    assert everything(tmp_path) == before
    (run,) = found["unfinished"]
    stages = {stage["stage"]: (stage["n_shards"], stage["n_damaged"]) for stage in run["stages"]}
    assert stages == {"scan-train": (2, 1), "heads": (1, 0)}
    assert run["stages"][1]["shaped_by"] == {"corpus": "abc", "prompts": 3}
    assert (run["in_use"], run["n_replies"], run["foreign"]) == (False, 2, [])
    assert run["n_bytes"] == sum(p.stat().st_size for p in work.rglob("*") if p.is_file())
    assert run["seconds"] == {"load": 2.0, "scan": 61.0}
    assert run["continue"] == "python -m precompute --model m --corpus c.txt --prompts 3"
    assert [Path(left["path"]).name for left in found["left_over"]] == [".write-probe.partial"]
    assert [Path(link).name for link in found["links"]] == ["link.partial"]
    quick = status(tmp_path, "--quick")["unfinished"][0]["stages"]
    assert {stage["stage"]: stage["n_damaged"] for stage in quick} == {"scan-train": 0, "heads": 0}
    text = call("status", tmp_path).stdout
    assert "2 shards, " in text
    assert "1 damaged (will be done again)" in text
    assert "1 min 3 s of work so far" in text
    assert f"clean {tmp_path}" in text


@pytest.mark.parametrize("has_list", [True, False])
def test_a_job_at_work_is_seen_and_not_disturbed(
    has_list: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_list:  # as on a system without /proc
        monkeypatch.setattr(work_folders, "_LOCKS", tmp_path / "nowhere")
    work, other = unfinished_run(tmp_path, "x"), unfinished_run(tmp_path, "y")
    with job_at_work(work):
        assert [run["in_use"] for run in status(tmp_path)["unfinished"]] == [True, False]
        assert (is_worked_in(work), is_worked_in(other)) == (True, False)
        with locked(other):  # looking has left the lock free
            assert is_worked_in(other)
    assert not is_worked_in(work)
    (other / "lock").unlink()
    assert not is_worked_in(other)


def test_a_folder_that_says_nothing_of_its_run_is_told_all_the_same(tmp_path: Path) -> None:
    for name, text in (("a", "[1]"), ("b", '{"options": 3}'), ("c", '{"options": {"model": 1}}'),
                       ("d", '{"options": {"model": "m", "corpus": "c", "prompts": "x"}}')):  # fmt: skip
        (unfinished_run(tmp_path, name) / "run.json").write_text(text)
    unfinished_run(tmp_path, "e")
    runs = status(tmp_path)["unfinished"]
    assert [run["continue"] for run in runs] == ["the same command that began it"] * 5


CALLS = [
    ("--prompts", "3", "--layers", "last:1"),
    ("--neurons", "L1N2,L2N3", "--tokens", " go,-x", "--candidates", "900", "--force"),
    ("--tokens=-x", "--active-rule", "top:3", "--preset", "demo", "--test-corpus", "o'ther.txt"),
    ("--preset", "neo-small", "--neurons-per-layer", "7", "--explainer", "none", "--seed", "4"),
    ("--engine", "ray", "--workers", "2", "--keep-shards", "--log-json", "--dtype", "bfloat16"),
]


@pytest.mark.parametrize("more", CALLS)
def test_what_continues_a_run_is_a_command_of_the_same_run(
    more: tuple[str, ...], tmp_path: Path
) -> None:
    config = config_from(
        ["--model", "my model", "--corpus", "c.txt", "--out", str(tmp_path), *more]
    )
    unfinished_run(tmp_path, options=config.options())
    command = status(tmp_path)["unfinished"][0]["continue"]
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "precompute"]
    again = config_from(words[3:])
    assert again.identity() == config.identity()
    assert (again.options() | {"preset": None}) == (config.options() | {"preset": None})


def test_a_killed_run_is_there_and_continues(
    quick_call: tuple[object, ...], quick_run: Outcome, tmp_path: Path
) -> None:
    kill_jobs((16, 900), "precompute.publish:write_store:1", *quick_call, "--out", tmp_path)
    (run,) = status(tmp_path)["unfinished"]
    assert run["in_use"] is False
    assert {"congruence", "scan-train", "scan-test", "prompts", "heads", "ablations"} <= {
        stage["stage"] for stage in run["stages"]
    }
    assert all(s["n_shards"] > 0 and s["n_damaged"] == 0 for s in run["stages"]), run["stages"]
    again = call(*shlex.split(run["continue"])[3:])
    assert again.store.name == quick_run.store.name
    assert "continued" in again.stderr
    found = manifest(again.store)
    assert set(run["seconds"]) == set(found["seconds_earlier"])
    assert found["seconds_earlier"]["heads"] > 0
    assert status(tmp_path)["unfinished"] == []


def test_mistakes_in_the_call_are_told(tmp_path: Path) -> None:
    assert_refused(call("status", tmp_path / "none"), 2, "no folder", "--out")
    assert_refused(call("status", "--jason"), 2, "--jason")
    assert call("status", tmp_path).stdout == f"{tmp_path}: 0 published\n"


def test_sizes_read_as_people_write_them() -> None:
    texts = {0: "0 bytes", 999: "999 bytes", 1234: "1.2 kB", 5_600_000: "5.6 MB",
             7_800_000_000_000: "7,800.0 GB"}  # fmt: skip
    assert {n: bytes_in_words(n) for n in texts} == texts
    assert REPLIES_FILE == LOG_NAME
