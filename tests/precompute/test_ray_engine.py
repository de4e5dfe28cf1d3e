"""A local cluster of two workers makes the store that one process makes; a killed worker costs its shard.

Left out, with that reason, where Ray is not installed; continuous integration must have it.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from explorer.core.errors import CorpusError, ExplorerError
from precompute import corpus
from precompute.engines.protocol import Ready
from precompute.engines.ray_engine import RayEngine, _cause
from tests.precompute.calling import Outcome, assert_refused, call, manifest
from tests.precompute.store_compare import assert_like

HAS_RAY = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(
    not HAS_RAY and not os.environ.get("CI"), reason="Ray is not installed: pip install '.[ray]'"
)
ON_RAY = ("--engine", "ray", "--workers", "2")


@pytest.fixture(autouse=True, scope="module")
def small_shards() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus.shards, "__defaults__", (2, 1 << 20))
        yield


class Killer:
    """Kills one worker with SIGKILL while it works, once; counts what the engine hands over."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.killed: list[int] = []
        self.n_submitted = 0
        self.seen: set[int] = set()
        real_submit, real_next = RayEngine.submit, RayEngine.next_ready

        def submit(engine: RayEngine, work: object, task: object) -> int:
            self.n_submitted += 1
            return real_submit(engine, work, task)  # type: ignore[arg-type]

        def next_ready(engine: RayEngine) -> Ready:
            found = real_next(engine)
            self._look()
            return found

        patch.setattr(RayEngine, "submit", submit)
        patch.setattr(RayEngine, "next_ready", next_ready)

    def _look(self) -> None:
        import psutil

        mine = psutil.Process().children(recursive=True)
        workers = [p.pid for p in mine if p.name().startswith("ray::_Actor")]
        self.seen |= set(workers)
        if workers and not self.killed:
            os.kill(workers[0], signal.SIGKILL)
            self.killed.append(workers[0])


@needs_ray
@pytest.mark.timeout(600)
def test_two_workers_of_which_one_is_killed_make_the_same_store(
    quick_call: tuple[object, ...], quick_run: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    killer = Killer(monkeypatch)
    found = call(*quick_call, *ON_RAY, "--out", tmp_path)
    assert_like(found.store, quick_run.store)
    facts = manifest(found.store)
    assert (facts["engine"], facts["workers"]) == ("ray", 2)
    assert found.store.stem == quick_run.store.stem  # where it is worked on is not part of the name
    assert len(killer.killed) == 1, found.stderr
    # Two workers and the one that took the place of the killed; every shard was handed over once.
    assert len(killer.seen) == 3
    n_documents = 16
    assert killer.n_submitted == 2 * n_documents // 2 + 1 + 1 + 2


@needs_ray
@pytest.mark.timeout(300)
def test_more_workers_than_there_is_room_for_are_refused(
    quick_call: tuple[object, ...], tmp_path: Path
) -> None:
    found = call(*quick_call, "--engine", "ray", "--workers", "5000", "--out", tmp_path)
    assert_refused(found, 2, "--workers 5000", "room for")
    assert list(tmp_path.iterdir()) == []


@needs_ray
@pytest.mark.timeout(120)
def test_a_cluster_that_does_not_answer_is_said_at_once(
    quick_call: tuple[object, ...], tmp_path: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    begin = time.monotonic()
    found = call(*quick_call, "--engine", "ray", "--ray-address", address, "--out", tmp_path)
    assert_refused(found, 1, f"no Ray cluster at {address}", "ray start")
    assert time.monotonic() - begin < 30
    for wrong in ("", "here", "http://x/y", "a b:1"):
        words = ("--engine", "ray", "--ray-address", wrong)
        assert_refused(call(*quick_call, *words, "--out", tmp_path), 2, "--ray-address")


def test_without_ray_the_call_says_how_to_install_it(
    quick_call: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    found = call(*quick_call, "--engine", "ray", "--out", tmp_path)
    assert_refused(found, 2, "pip install '.[ray]'")


def test_cluster_options_without_the_engine_are_a_mistake(
    quick_call: tuple[object, ...], tmp_path: Path
) -> None:
    for option in (("--workers", "2"), ("--ray-address", "auto")):
        assert_refused(call(*quick_call, *option, "--out", tmp_path), 2, "--engine ray")


@pytest.mark.parametrize(
    "engine_error", [CorpusError("line 3 is not JSON; mend it"), KeyError("w")]
)
def test_what_fails_in_a_worker_is_said_in_one_line(engine_error: Exception) -> None:
    found = _cause(SimpleNamespace(cause=engine_error))
    if isinstance(engine_error, ExplorerError):
        assert found is engine_error
    else:
        assert isinstance(found, ExplorerError) and "KeyError: 'w'" in str(found)
