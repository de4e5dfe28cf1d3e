"""A disk that is full, again and again, and one that cannot be written: a clear line each time, nothing
lost, and in the end the store of an undisturbed run."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from precompute import prepare
from precompute.stages import heads
from tests.precompute.calling import CLOCK, Outcome, assert_refused, call, manifest, stores, tables

_FIRST_BYTES = 256 << 10
_STEP_BYTES = 256 << 10


def _mount(*words: str) -> bool:
    return subprocess.run(["mount", *words], capture_output=True, check=False).returncode == 0


class Disk:
    """A small disk in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def resize(self, n_bytes: int) -> None:
        assert _mount("-o", f"remount,rw,size={n_bytes}", str(self.path))

    def make_read_only(self) -> None:
        assert _mount("-o", "remount,ro", str(self.path))

    @property
    def n_free(self) -> int:
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    path = tmp_path / "disk"
    path.mkdir()
    if not _mount("-t", "tmpfs", "-o", f"size={_FIRST_BYTES}", "tmpfs", str(path)):
        pytest.skip("a disk can be mounted by root alone")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def assert_same(found: Outcome, expected: Outcome) -> None:
    assert tables(found.store) == tables(expected.store)
    ours, theirs = (manifest(o.store, without={*CLOCK, "out"}) for o in (found, expected))
    assert ours == theirs


def test_a_disk_that_is_full_again_and_again_loses_nothing(
    quick_call: tuple[object, ...], quick_run: Outcome, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if there had been room at the start, and others had taken it since.
    monkeypatch.setattr(prepare, "check_fits", lambda *about: "there is room")
    size, n_full = _FIRST_BYTES, 0
    while (found := call(*quick_call, "--out", disk.path)).status:
        lines = found.stderr.splitlines()
        assert lines[-1].startswith("error: "), lines
        assert "disk is full" in lines[-1] or "cannot write into" in lines[-1], lines
        assert "Traceback" not in found.stderr
        assert (found.status, found.stdout) == (1, "")
        assert stores(disk.path) == []  # nothing half written under a store's name
        n_full += 1
        assert n_full < 60
        size += _STEP_BYTES
        disk.resize(size)
    assert n_full >= 3
    assert_same(found, quick_run)
    assert [path.name for path in disk.path.iterdir()] == [quick_run.store.name]


def test_a_disk_that_is_too_small_is_refused_beforehand(
    quick_call: tuple[object, ...], disk: Disk
) -> None:
    assert_refused(call(*quick_call, "--out", disk.path), 1, "disk", "--out")
    assert list(disk.path.iterdir()) == []


def stop(*of_a_stage: object) -> None:
    raise KeyboardInterrupt


def test_a_disk_that_turns_read_only_is_said_and_the_work_stays(
    quick_call: tuple[object, ...], quick_run: Outcome, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.resize(64 << 20)
    with monkeypatch.context() as patch:
        patch.setattr(heads, "run", stop)
        assert call(*quick_call, "--out", disk.path).status == 1
    disk.make_read_only()
    assert_refused(call(*quick_call, "--out", disk.path), 1, "cannot write into", "--out")
    disk.resize(64 << 20)
    found = call(*quick_call, "--out", disk.path)
    assert "shards were kept from before" in found.stderr
    assert_same(found, quick_run)
