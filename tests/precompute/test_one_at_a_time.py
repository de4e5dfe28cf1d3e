"""Two jobs in one folder, and a job that ends at the last moment: nothing is done twice or by halves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from precompute import prepare, publish
from precompute.stages import scan
from tests.precompute.calling import Outcome, assert_refused, call, stores
from tests.precompute.test_resume import (
    Call,
    assert_same_store,
    saves,  # noqa: F401 a fixture
    small_shards,  # noqa: F401 a fixture
    undisturbed,  # noqa: F401 a fixture
)


def test_a_second_job_in_the_same_folder_is_refused(
    quick_call: Call, undisturbed: tuple[Outcome, list[str]], tmp_path: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The second is called while the first is in the midst of its scan."""
    second: list[Outcome] = []
    real = scan.run

    def busy(*args: Any) -> Any:
        second.append(call(*quick_call, "--out", tmp_path))
        return real(*args)

    monkeypatch.setattr(scan, "run", busy)
    first = call(*quick_call, "--out", tmp_path)
    assert_refused(second[0], 1, "another job is working in", str(tmp_path), "--out")
    assert_same_store(first, undisturbed[0])


def test_a_job_stopped_just_after_publishing_has_published(
    quick_call: Call, undisturbed: tuple[Outcome, list[str]], tmp_path: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def stop(*of_clean_up: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(prepare, "clean_up", stop)
        assert call(*quick_call, "--out", tmp_path).status == 1
    assert stores(tmp_path) == [undisturbed[0].store.name]
    assert_same_store(call(*quick_call, "--out", tmp_path), undisturbed[0])
    assert publish.free_path(tmp_path, undisturbed[0].store.stem).stem.endswith("-2")
