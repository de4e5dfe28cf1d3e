"""The folder of stores as the server sees it: listed, opened once, and watched."""

from __future__ import annotations

import os
import time
from pathlib import Path

import duckdb
import pytest

from explorer.core.errors import StoreError
from explorer.resources import folder_watch, stores
from explorer.resources.folder_watch import FolderWatch
from explorer.resources.stores import OpenStores, open_run, store_folder
from tests.explorer.seeded import tables, write_seeded_store


def test_runs_are_listed_newest_first_and_bad_files_with_their_reason(tmp_path: Path) -> None:
    write_seeded_store(tmp_path, "old", end="2026-01-01T00:00:00+00:00")
    write_seeded_store(tmp_path, "new", end="2026-02-01T00:00:00+00:00")
    whole = write_seeded_store(tmp_path, "whole").read_bytes()
    (tmp_path / "whole.duckdb").unlink()
    (tmp_path / "cut.duckdb").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "junk.duckdb").write_text("junk")
    (tmp_path / "empty.duckdb").write_bytes(b"")
    (tmp_path / "unfinished.partial").write_text("junk")
    with duckdb.connect(str(tmp_path / "foreign.duckdb")) as con:
        con.execute("CREATE TABLE tokens (a INTEGER)")
    write_seeded_store(tmp_path, "other-version", schema_version=99)
    listed = OpenStores().runs(tmp_path)
    assert [run.run_id for run in listed.runs] == ["new", "old"]
    assert listed.runs[0].title == "seeded model · seeded corpus"
    reasons = dict(listed.unreadable)
    bad = {"cut", "junk", "empty", "foreign", "other-version"}
    assert set(reasons) == {f"{name}.duckdb" for name in bad}
    assert all("precompute" in reason and "\n" not in reason for reason in reasons.values())
    assert "schema version 99" in reasons["other-version.duckdb"]


def test_a_missing_folder_has_no_runs(tmp_path: Path) -> None:
    assert OpenStores().runs(tmp_path / "none").runs == ()


def test_the_folder_is_read_again_only_after_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_seeded_store(tmp_path, "one")
    n_listings = 0

    def counted(folder: Path) -> stores.RunList:
        nonlocal n_listings
        n_listings += 1
        return list_runs(folder)

    list_runs = stores.list_runs
    monkeypatch.setattr(stores, "list_runs", counted)
    opened = OpenStores()
    assert opened.runs(tmp_path) is opened.runs(tmp_path)
    assert n_listings == 1
    write_seeded_store(tmp_path, "two")
    assert {run.run_id for run in opened.runs(tmp_path).runs} == {"one", "two"}
    assert n_listings == 2


def test_a_store_is_opened_once_and_a_replaced_one_is_read_again(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    path = write_seeded_store(folder, "run")
    opened = OpenStores()
    opened.runs(folder)
    first = opened.store(path)
    assert opened.store(path) is first
    assert first.manifest["seed"] == 0
    later = write_seeded_store(tmp_path / "stage", "run", seed=1)
    os.replace(later, path)
    opened.runs(folder)
    assert opened.store(path).manifest["seed"] == 1
    assert (
        opened.store(path).sql("SELECT value FROM manifest WHERE key = 'seed'")["value"][0] == "1"
    )


def test_open_run_takes_names_of_the_folder_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_seeded_store(tmp_path / "runs", "run")
    write_seeded_store(tmp_path, "outside")
    monkeypatch.setenv("EXPLORER_STORE", str(tmp_path / "runs"))
    assert store_folder() == tmp_path / "runs"
    assert open_run("run").run_id == "run"
    for name in ("../outside", "none", "", "run.duckdb"):
        with pytest.raises(StoreError, match="precompute"):
            open_run(name)


def _wait_for(watch: FolderWatch, changes: int) -> None:
    end = time.monotonic() + 10
    while watch.changes() < changes:
        assert time.monotonic() < end, "the change was not noticed"
        time.sleep(0.02)


@pytest.mark.parametrize("inotify", [True, False])
def test_a_published_store_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inotify: bool
) -> None:
    if not inotify:
        polling = folder_watch.PollingObserver

        class Refusing(polling):
            def start(self) -> None:
                raise OSError("inotify watch limit reached")

        monkeypatch.setattr(folder_watch, "Observer", Refusing)
        monkeypatch.setattr(folder_watch, "PollingObserver", lambda: polling(timeout=0.05))
    watch = FolderWatch(tmp_path)
    try:
        (tmp_path / "notes.txt").write_text("not a store")
        partial = tmp_path / "run.partial"
        partial.write_bytes(b"half")
        time.sleep(0.3)
        assert watch.changes() == 0
        os.replace(partial, tmp_path / "run.duckdb")
        _wait_for(watch, 1)
    finally:
        watch.stop()


def test_a_folder_that_comes_into_being_later_is_watched(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    watch = FolderWatch(folder)
    try:
        assert watch.changes() == 0
        folder.mkdir()
        assert watch.changes() == 1
        before = watch.changes()
        (folder / "run.duckdb").write_bytes(b"")
        _wait_for(watch, before + 1)
    finally:
        watch.stop()


def test_the_seeded_store_obeys_the_rules_it_claims() -> None:
    rows = {name: table.to_pylist() for name, table in tables().items()}
    heads = {row["prompt_id"]: row for row in rows["head_attributions"]}
    for row in heads.values():
        parts = sum(row["heads"]) + sum(row["mlps"]) + row["embedding"] + row["bias"]
        assert parts == pytest.approx(row["pre_activation"], abs=1e-4)
    for row in rows["prompts"]:
        n_kept = len(row["token_ids"]) - row["start"]
        assert len(row["kept_activations"]) == n_kept
        assert row["kept_activations"][-1] == pytest.approx(row["truncated_activation"])
        assert row["truncated_activation"] >= 0.8 * row["activation"]
    shares = {
        (r["layer"], r["neuron"], r["head_layer"], r["head"]): r["n_active"] / r["n_prompts"]
        for r in rows["head_activity"] if r["split"] == "train"
    }  # fmt: skip
    studied = {
        (r["layer"], r["neuron"], r["head_layer"], r["head"])
        for r in rows["head_activity"] if r["studied"]
    }  # fmt: skip
    assert studied == {pair for pair, share in shares.items() if 0.25 <= share <= 0.75}
    assert studied
