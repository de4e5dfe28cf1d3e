"""A run that was stopped, killed or damaged anywhere goes on with the same command, does only what is
missing, and publishes bit for bit what an undisturbed run publishes."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from explorer.core.runs import list_runs
from precompute import corpus, prepare
from precompute.checkpoint import ShardFolder
from tests.precompute.calling import (
    CLOCK,
    Outcome,
    call,
    kill_jobs,
    manifest,
    tables,
)

Call = tuple[object, ...]
SHARD = (5, 1 << 20)
"""Documents and characters of a shard, so that 16 documents are four shards."""


@pytest.fixture(autouse=True, scope="module")
def small_shards() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus.shards, "__defaults__", SHARD)
        yield


class SaveLog:
    """The shards that were saved, and a way to stop right after the n-th of them."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.stop_after: int | None = None

    def take(self) -> list[str]:
        names, self.names = self.names, []
        return names


@pytest.fixture(autouse=True, scope="module")
def saves(small_shards: None) -> Iterator[SaveLog]:
    log, save = SaveLog(), ShardFolder.save

    def logged(folder: ShardFolder, name: str, rows: Any) -> None:
        save(folder, name, rows)
        log.names.append(f"{folder.path.name}/{name}")
        if len(log.names) == log.stop_after:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ShardFolder, "save", logged)
        yield log


@pytest.fixture(scope="module")
def undisturbed(
    quick_call: Call, saves: SaveLog, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Outcome, list[str]]:
    """A run that nothing disturbs, and the shards that it saved."""
    saves.take()
    outcome = call(*quick_call, "--out", tmp_path_factory.mktemp("undisturbed"))
    assert outcome.status == 0, outcome.stderr
    return outcome, saves.take()


def assert_same_store(outcome: Outcome, expected: Outcome) -> None:
    assert outcome.store.name == expected.store.name
    assert tables(outcome.store) == tables(expected.store)
    found, wanted = (manifest(o.store, without={*CLOCK, "out"}) for o in (outcome, expected))
    assert found == wanted


def interrupt(saves: SaveLog, after: int, *argv: object) -> list[str]:
    """Ctrl-C right after the n-th shard is saved; the shards saved until then."""
    saves.take()
    saves.stop_after = after
    outcome = call(*argv)
    saves.stop_after = None
    assert (outcome.status, outcome.stdout) == (1, "")
    assert outcome.stderr.splitlines()[-1].startswith("stopped; what is done is kept")
    assert "Traceback" not in outcome.stderr
    return saves.take()


def assert_only_unfinished(out: Path) -> None:
    assert [path.suffix for path in out.iterdir()] == [".partial"]
    assert list_runs(out) == list_runs(out / "no such folder")  # nothing to list, nothing to report


@pytest.mark.parametrize("after", [2, 7, 8, 11, 14, 19])
def test_an_interrupted_run_goes_on_where_it_stopped(
    after: int, quick_call: Call, undisturbed: tuple[Outcome, list[str]], saves: SaveLog, tmp_path: Path
) -> None:  # fmt: skip
    expected, every_shard = undisturbed
    # Layers, documents of two splits and their groups; prompts, heads, means and ablations,
    # explanations; layers and prompts again, for channels.
    assert len(every_shard) == 3 + 2 * (4 + 1) + 1 + 1 + 2 + 1 + 3 + 1
    done = interrupt(saves, after, *quick_call, "--out", tmp_path)
    assert done == every_shard[:after]
    assert_only_unfinished(tmp_path)
    outcome = call(*quick_call, "--out", tmp_path)
    assert saves.take() == every_shard[after:]
    assert_same_store(outcome, expected)
    assert [path.name for path in tmp_path.iterdir()] == [expected.store.name]


def test_another_run_in_between_loses_nothing(
    quick_call: Call, undisturbed: tuple[Outcome, list[str]], saves: SaveLog, tmp_path: Path
) -> None:
    """Two runs of one model and corpus share a work folder; the one that ends clears its own part."""
    expected, every_shard = undisturbed
    interrupt(saves, 14, *quick_call, "--out", tmp_path)
    other = call(*quick_call, "--seed", "3", "--out", tmp_path)
    saves.take()
    assert_same_store(call(*quick_call, "--out", tmp_path), expected)
    assert saves.take() == [
        *every_shard[:3],
        *every_shard[14:],
    ]  # the layers' shards were the other's too
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [expected.store.name, other.store.name]
    )


def test_a_job_killed_three_times_still_publishes_the_same(
    quick_call: Call, undisturbed: tuple[Outcome, list[str]], saves: SaveLog, tmp_path: Path
) -> None:
    """While a shard is half written, while prompts are truncated, and with the store written but
    not yet in its place."""
    moments = "os:fsync:12 precompute.stages.truncating:SuffixRunner.run:2 precompute.publish:write_store:1"
    killed = kill_jobs(SHARD, moments, *quick_call, "--out", tmp_path)
    assert killed.stdout == f"{-signal.SIGKILL} partial\n" * 3, killed.stderr
    assert_only_unfinished(tmp_path)
    saves.take()
    outcome = call(*quick_call, "--out", tmp_path)
    assert saves.take() == []
    assert_same_store(outcome, undisturbed[0])
    assert [path.name for path in tmp_path.iterdir()] == [outcome.store.name]


def _flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def _halve(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize(("damage", "kind"), [(_flip, "arrow"), (_halve, "json")])
def test_damaged_shards_are_found_and_they_alone_are_done_again(
    damage: Callable[[Path], None], kind: str, quick_call: Call, saves: SaveLog, tmp_path: Path,
    undisturbed: tuple[Outcome, list[str]],
) -> None:  # fmt: skip
    expected, every_shard = undisturbed
    # All is saved, nothing published.
    interrupt(saves, len(every_shard), *quick_call, "--out", tmp_path)
    work = next(tmp_path.glob("*.partial"))
    # One of each stage; with a group, the shards that it held are done again too.
    for i in (1, 7, 13, 14, 15, 16, 17, 19, 21):
        damage(sorted(work.glob(f"{every_shard[i]}.*{kind}"))[0])
    outcome = call(*quick_call, "--out", tmp_path)
    assert saves.take() == [every_shard[i] for i in (1, *range(3, 8), 13, 14, 15, 16, 17, 19, 21)]
    assert "damaged shards were found" in outcome.stderr
    assert_same_store(outcome, expected)


def test_a_damaged_shard_of_an_unfinished_group_is_done_again_alone(
    quick_call: Call, saves: SaveLog, tmp_path: Path, undisturbed: tuple[Outcome, list[str]]
) -> None:
    expected, every_shard = undisturbed
    interrupt(saves, 6, *quick_call, "--out", tmp_path)
    _flip(next(next(tmp_path.glob("*.partial")).glob(f"{every_shard[4]}.peaks.arrow")))
    outcome = call(*quick_call, "--out", tmp_path)
    assert saves.take() == [every_shard[4], *every_shard[6:]]
    assert_same_store(outcome, expected)


def test_a_finished_run_is_named_again_without_work(
    quick_call: Call, undisturbed: tuple[Outcome, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = undisturbed[0].store
    before = (path.read_bytes(), path.stat().st_mtime_ns)
    with monkeypatch.context() as patch:
        patch.delattr(prepare, "load_model")  # not even the model is loaded
        again = call(*quick_call, "--out", path.parent)
    assert again.stdout == f"{path}\n"
    assert "finished already" in again.stderr
    assert "--force" in again.stderr
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_force_runs_again_beside_the_old_store(
    quick_call: Call, undisturbed: tuple[Outcome, list[str]], saves: SaveLog, tmp_path: Path
) -> None:
    expected, every_shard = undisturbed
    old = tmp_path / expected.store.name
    shutil.copy(expected.store, old)
    before = old.read_bytes()
    saves.take()
    forced = call(*quick_call, "--out", tmp_path, "--force")
    assert saves.take() == every_shard
    assert forced.store == tmp_path / f"{old.stem}-2.duckdb"
    assert tables(forced.store) == tables(old)
    assert (manifest(forced.store)["run_id"], manifest(forced.store)["force"]) == (
        f"{old.stem}-2",
        True,
    )
    assert old.read_bytes() == before
    assert [run.path for run in list_runs(tmp_path).runs] == [forced.store, old]  # newest first
    assert call(*quick_call, "--out", tmp_path).store == forced.store


@pytest.fixture(scope="module")
def unfinished(quick_call: Call, saves: SaveLog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every shard of the quick run, not published."""
    out = tmp_path_factory.mktemp("unfinished")
    interrupt(saves, 15, *quick_call, "--out", out)
    return out


@pytest.fixture
def changed(
    request: pytest.FixtureRequest, quick_corpus: Path, quick_model: Path
) -> Iterator[Call]:
    """An option more; or other content in a file of the same name."""
    files = {"documents": quick_corpus, "settings": quick_model / "config.json"}
    before = {path: path.read_text() for path in files.values()}
    if request.param == "documents":
        lines = before[quick_corpus].splitlines(keepends=True)
        quick_corpus.write_text("".join(reversed(lines)))
    elif request.param == "settings":
        settings = json.loads(before[files["settings"]])
        files["settings"].write_text(json.dumps({**settings, "layer_norm_epsilon": 0.3}))
    yield () if request.param in files else (request.param,)
    for path, text in before.items():
        path.write_text(text)


@pytest.mark.parametrize(
    "changed",
    ["--keep-ratio=0.5", "--seed=3", "--active-rule=top:2", "documents", "settings"],
    indirect=True,
)
def test_another_run_takes_no_shard_that_the_change_shapes(
    changed: Call, quick_call: Call, unfinished: Path, tmp_path: Path,
    undisturbed: tuple[Outcome, list[str]],
) -> None:  # fmt: skip
    """Same model and corpus name, so the same work folder: what it holds must not leak over."""
    out, expected = tmp_path / "out", undisturbed[0].store
    shutil.copytree(unfinished, out)
    beside = call(*quick_call, *changed, "--out", out)
    alone = call(*quick_call, *changed, "--out", tmp_path / "alone")
    assert_same_store(beside, alone)
    assert beside.store.name != expected.name
    assert tables(beside.store) != tables(expected)
