"""Shards: what was saved comes back bit for bit, what does not verify is not there, one job a folder."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from explorer.core.errors import ExplorerError
from precompute import checkpoint
from precompute.checkpoint import ShardFolder, Tables, key_of, locked, remove_if_empty


def some_tables() -> Tables:
    values = np.array([1e-45, -0.0, 3.4e38, np.inf, np.nan], dtype=np.float32)
    lists = [[1, 2], [], [3], None, [4]]
    return {
        "values": pa.table({"x": values, "ids": pa.array(lists, pa.list_(pa.int32()))}),
        "none": pa.table({"text": pa.array([], pa.string())}),
    }


def bits(tables: Tables) -> dict[str, bytes]:
    found = {}
    for name, table in tables.items():
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        found[name] = sink.getvalue().to_pybytes()
    return found


@pytest.fixture
def saved(tmp_path: Path) -> ShardFolder:
    folder = ShardFolder(tmp_path, "stage", "key")
    folder.save("shard", some_tables())
    return folder


def test_a_shard_comes_back_bit_for_bit(saved: ShardFolder) -> None:
    loaded = saved.load("shard")
    assert loaded is not None
    assert bits(loaded) == bits(some_tables())
    changed = {**some_tables(), "none": pa.table({"text": ["a"]})}
    assert bits(loaded) != bits(changed)  # the comparison sees a difference
    assert saved.load("another") is None
    assert (saved.n_reused, saved.n_corrupt) == (1, 0)


def test_any_flipped_byte_is_found(saved: ShardFolder) -> None:
    files = sorted(saved.path.iterdir())
    assert [path.name for path in files] == ["shard.json", "shard.none.arrow", "shard.values.arrow"]
    for path in files:
        raw = path.read_bytes()
        for at in range(0, len(raw), max(1, len(raw) // 40)):
            path.write_bytes(raw[:at] + bytes([raw[at] ^ 0x10]) + raw[at + 1 :])
            assert saved.load("shard") is None, (path.name, at)
        path.write_bytes(raw)
        assert saved.load("shard") is not None


@pytest.mark.parametrize("damage", [lambda raw: raw[:-1], lambda raw: b"", lambda raw: raw + b"x"])
def test_a_file_of_another_length_is_found(
    saved: ShardFolder, damage: Callable[[bytes], bytes]
) -> None:
    for path in saved.path.glob("*.arrow"):
        raw = path.read_bytes()
        path.write_bytes(damage(raw))
        assert saved.load("shard") is None, path.name
        path.write_bytes(raw)
    assert saved.load("shard") is not None


@pytest.mark.parametrize("name", ["shard.json", "shard.none.arrow"])
def test_a_missing_file_is_found_and_the_shard_can_be_saved_again(
    saved: ShardFolder, name: str
) -> None:
    (saved.path / name).unlink()
    assert saved.load("shard") is None
    saved.save("shard", some_tables())
    assert saved.load("shard") is not None


def test_a_shard_cut_short_while_it_was_written_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever writing stops, the shard is absent or whole, and an earlier one stays as it was."""
    folder = ShardFolder(tmp_path, "stage", "key")
    write = checkpoint._write
    for n_written in range(4):
        left = [n_written]

        def stop(path: Path, raw: bytes, left: list[int] = left) -> None:
            if left[0] == 0:
                path.with_name(path.name + ".tmp").write_bytes(raw[: len(raw) // 2])
                raise KeyboardInterrupt
            left[0] -= 1
            write(path, raw)

        monkeypatch.setattr(checkpoint, "_write", stop)
        if n_written == 3:  # two tables and the note: nothing is left to stop at
            folder.save(f"shard-{n_written}", some_tables())
        else:
            with pytest.raises(KeyboardInterrupt):
                folder.save(f"shard-{n_written}", some_tables())
        assert (folder.load(f"shard-{n_written}") is not None) is (n_written == 3)


def test_a_key_depends_on_values_alone() -> None:
    parts = {"ratio": 0.8, "neurons": ["L1N2"], "corpora": {"train": ("ab", 0)}}
    assert key_of(parts) == key_of(dict(reversed(list(parts.items()))))
    others = [{**parts, "ratio": 0.9}, {**parts, "neurons": []}, {**parts, "more": None}, {}]
    assert len({key_of(each) for each in [parts, *others]}) == 5


def test_stages_and_keys_have_folders_of_their_own(tmp_path: Path) -> None:
    one, other = ShardFolder(tmp_path, "stage", "a"), ShardFolder(tmp_path, "stage", "b")
    one.save("shard", some_tables())
    assert other.load("shard") is None
    one.remove()
    assert one.load("shard") is None
    assert [path.name for path in tmp_path.iterdir()] == ["stage-b"]


def test_a_second_job_is_refused_while_the_first_works(tmp_path: Path) -> None:
    work = tmp_path / "x.partial"
    with locked(work):
        with (
            pytest.raises(ExplorerError, match=r"another job is working in .*x\.partial"),
            locked(work),
        ):
            pass
        with locked(tmp_path / "y.partial"):  # the control: another folder is free
            pass
    with locked(work):  # and so is this one, once the first is over
        pass


def test_the_lock_holds_between_processes_and_dies_with_them(tmp_path: Path) -> None:
    hold = (
        "import sys; from pathlib import Path; from precompute.checkpoint import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path / "x.partial")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(ExplorerError), locked(tmp_path / "x.partial"):
        pass
    process.kill()
    process.communicate(timeout=60)
    with locked(tmp_path / "x.partial"):
        pass


def test_an_empty_work_folder_is_removed_and_a_full_one_kept(tmp_path: Path) -> None:
    work = tmp_path / "x.partial"
    with locked(work):
        folder = ShardFolder(work, "stage", "key")
        remove_if_empty(work)
        assert work.is_dir()
        folder.remove()
        remove_if_empty(work)
    assert not work.exists()
    remove_if_empty(work)  # and nothing is amiss where it has gone already
