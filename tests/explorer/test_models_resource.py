"""The model of a run: its states, what keeps it away, and who waits for whom."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import streamlit as st

from explorer.core.errors import ExplorerError, OtherWeightsError, UnsupportedModelError
from explorer.core.store import Store
from explorer.resources import models
from explorer.resources.model_slot import ModelSlot
from tests.explorer.seeded import write_seeded_store

SHA = "a" * 64


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(models.MODEL_VARIABLE, raising=False)
    st.cache_resource.clear()
    yield
    st.cache_resource.clear()


def _until(slot: ModelSlot, state: str) -> None:
    end = time.monotonic() + 10
    while slot.state != state:
        assert time.monotonic() < end, f"still {slot.state}: {slot.message}"
        time.sleep(0.01)


def until_ready(slot: ModelSlot) -> None:
    """Wait until the model is loaded."""
    _until(slot, "ready")


def _model(_: str, expected_sha256: str | None = None) -> Any:
    return SimpleNamespace(weights_sha256=SHA)


def _store(tmp_path: Path, **changes: Any) -> Store:
    return Store.open(write_seeded_store(tmp_path, **changes))


def test_it_waits_loads_and_is_ready() -> None:
    gate = threading.Event()

    def load(source: str) -> Any:
        assert gate.wait(10)
        return _model(source)

    slot = ModelSlot("folder", load)
    assert slot.state == "waiting"
    slot.start()
    slot.start()
    assert slot.state == "loading"
    with pytest.raises(ExplorerError, match="loading"):
        slot.use(lambda model: model)
    gate.set()
    _until(slot, "ready")
    assert slot.use(lambda model: model.weights_sha256) == SHA


def test_it_loads_once_and_later_if_told_so() -> None:
    loads: list[float] = []
    slot = ModelSlot("folder", lambda s: loads.append(time.monotonic()) or _model(s))
    began = time.monotonic()
    slot.start(0.3)
    slot.start(0.3)
    assert slot.state == "waiting"
    _until(slot, "ready")
    assert loads[0] - began >= 0.3
    slot.start()
    assert len(loads) == 1


def test_asking_for_it_does_not_wait_for_the_warm_up() -> None:
    slot = ModelSlot("folder", _model)
    slot.start(60)
    slot.start()
    _until(slot, "ready")


def test_other_weights_are_refused_by_checksum() -> None:
    def load(source: str) -> Any:
        raise OtherWeightsError(source, SHA, "b" * 64)

    slot = ModelSlot("folder", load)
    slot.start()
    _until(slot, "failed")
    assert "not those of this run" in slot.message
    assert "aaaaaaaaaaaa" in slot.message and "bbbbbbbbbbbb" in slot.message
    assert slot.message.endswith("python -m explorer --model DIR")


def test_a_failure_is_said_and_can_be_tried_again() -> None:
    answers: list[Any] = [UnsupportedModelError("it has a gated MLP; choose a GPT-2 model"), None]

    def load(source: str) -> Any:
        answer = answers.pop(0)
        if answer is not None:
            raise answer
        return _model(source)

    slot = ModelSlot("folder", load)
    slot.start()
    _until(slot, "failed")
    assert slot.message == "it has a gated MLP; choose a GPT-2 model"
    slot.start()
    assert slot.state == "failed"
    slot.retry()
    _until(slot, "ready")


def test_one_job_at_a_time_and_errors_reach_their_caller() -> None:
    slot = ModelSlot("folder", _model)
    slot.start()
    _until(slot, "ready")
    now, most = [0], [0]

    def job(_: Any) -> None:
        now[0] += 1
        most[0] = max(most[0], now[0])
        time.sleep(0.02)
        now[0] -= 1

    threads = [threading.Thread(target=slot.use, args=(job,)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert most[0] == 1
    with pytest.raises(ZeroDivisionError):
        slot.use(lambda _: 1 / 0)
    assert slot.use(lambda _: "still working") == "still working"


def test_a_stale_keystroke_gives_way_and_is_never_computed() -> None:
    slot = ModelSlot("folder", _model)
    slot.start()
    _until(slot, "ready")
    gate, done = threading.Event(), []
    busy = threading.Thread(target=slot.use, args=(lambda _: gate.wait(10),))
    busy.start()

    class Stale(Exception):
        pass

    def give_way(begun: bool) -> None:
        raise Stale

    with pytest.raises(Stale):
        slot.use(lambda _: done.append("old"), give_way)
    gate.set()
    busy.join(10)
    slot.use(lambda _: done.append("new"))
    assert done == ["new"]


def test_a_folder_that_has_moved_is_named_with_the_way_out(tmp_path: Path) -> None:
    with _store(tmp_path, model=str(tmp_path / "moved")) as store:
        models.warm_up(store)
        status = models.model_status(store)
    assert status.state == "missing"
    assert str(tmp_path / "moved") in status.message
    assert status.message.endswith("python -m explorer --model DIR")


def test_a_hub_model_is_asked_for_never_fetched_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[str] = []
    monkeypatch.setattr(models, "_load", lambda source, **_: loads.append(source) or _model(source))
    with _store(tmp_path, model="gpt2", weights_sha256=SHA) as store:
        models.warm_up(store)
        assert models.model_status(store).state == "asks"
        assert loads == []
        models.fetch(store, models.named_model(store))
        _until(models.slot_of(store, "gpt2"), "ready")
        assert loads == ["gpt2"]
        assert models.model_status(store).state == "ready"


def test_a_given_folder_wins_over_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    monkeypatch.setattr(models, "_load", _model)
    with _store(tmp_path, model="gone/away/model", weights_sha256=SHA) as store:
        assert models.model_status(store).state == "missing"
        monkeypatch.setenv(models.MODEL_VARIABLE, str(folder))
        assert models.model_source(store) == str(folder)
        models.model_status(store)
        _until(models.slot_of(store, str(folder)), "ready")


def test_the_program_finds_its_own_demo_model_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with _store(tmp_path, model="assets/demo/model") as store:
        assert Path(models.model_source(store)).is_dir()


def test_nothing_here_imports_torch_until_a_model_is_wanted() -> None:
    code = (
        "import sys; import explorer.resources.models, explorer.views.live; "
        "print([m for m in ('torch', 'transformers', 'transformer_lens') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
