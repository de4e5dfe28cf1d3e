"""About's checks of the store: done once for a file, shown escaped, numbers recomputed on a button."""

from __future__ import annotations

import html
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from streamlit.testing.v1 import AppTest

from explorer.core.store import Store
from explorer.core.verify_model import AGAIN
from explorer.core.verify_report import Check
from explorer.core.verify_store import N_CHECKS
from explorer.resources import models, store_checks
from tests.explorer.seeded import write_seeded_store
from tests.spoiled import spoiled

HOSTILE = "<script>alert(1)</script>\x1b[2J"


def _section() -> None:
    from explorer.components.store_checks import store_section
    from explorer.resources.stores import current_runs, open_run

    store_section(open_run(current_runs().runs[0].run_id))


def opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.setenv("EXPLORER_STORE", str(folder))
    return AppTest.from_function(_section, default_timeout=60).run()


def settled(at: AppTest, seconds: float = 60) -> AppTest:
    """The section once what runs beside it is over."""
    end = time.monotonic() + seconds
    while any("of" in bar.proto.text for bar in at.get("progress")):
        assert time.monotonic() < end, "still at work"
        time.sleep(0.2)
        at.run()
    return at


def page_of(at: AppTest) -> str:
    return "\n".join(element.proto.body for element in at.get("html"))


def labels(at: AppTest) -> list[str]:
    return [button.label for button in at.button]


def test_a_small_store_is_checked_without_being_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_seeded_store(tmp_path)
    at = settled(opened(tmp_path, monkeypatch))
    assert not at.exception
    page = html.unescape(page_of(at))
    assert page.count("<tr><td>") == N_CHECKS
    assert "<td>Heads, MLPs, embedding and bias sum to the pre-activation</td><td>ok</td>" in page
    assert "<td>left out</td><td>made before stores kept a record of it</td>" in page
    assert "<b>failed</b>" not in page
    assert any(f"{N_CHECKS - 3} ok, 3 left out" in caption.value for caption in at.caption)


def test_what_fails_is_said_and_its_texts_are_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = f"INSERT INTO task_results VALUES ('{HOSTILE}', 'a', 'c', 2, 0, 4, 5, 0.5)"
    folder = tmp_path / "spoiled"
    folder.mkdir()
    spoiled(write_seeded_store(tmp_path / "good"), folder, [fault])
    at = settled(opened(folder, monkeypatch))
    page = page_of(at)
    assert page.count("<b>failed</b>") == 1
    assert "<script>" not in page
    assert "\x1b" not in page
    assert html.escape("<script>alert(1)</script>") in page
    assert any("1 failed" in caption.value for caption in at.caption)


@pytest.fixture
def slowly(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """Checks that take a while; gives the files that were checked."""
    asked: list[Path] = []
    real = store_checks.checks

    def slow(path: Path) -> Iterator[Check]:
        asked.append(path)
        for check in real(path):
            time.sleep(0.15)
            yield check

    monkeypatch.setattr(store_checks, "checks", slow)
    monkeypatch.setattr("explorer.components.store_checks._PATIENCE_S", 0.2)
    yield asked


def test_a_large_store_is_checked_when_asked_once_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slowly: list[Path]
) -> None:
    write_seeded_store(tmp_path)
    monkeypatch.setattr(store_checks, "SMALL_BYTES", 1000)
    at = opened(tmp_path, monkeypatch)
    assert labels(at) == ["Check this store"]
    assert slowly == []
    at.button[0].click().run()
    (bar,) = at.get("progress")
    assert bar.proto.text.startswith("Checks done: ")
    assert f"of {N_CHECKS}" in bar.proto.text
    other = opened(tmp_path, monkeypatch)  # another visitor sees the same work go on
    assert labels(other) == []
    assert len(other.get("progress")) == 1
    for page in (settled(at), settled(other)):
        assert page_of(page).count("<tr><td>") == N_CHECKS
    assert len(slowly) == 1
    another = write_seeded_store(tmp_path / "another", seed=1)
    another.replace(tmp_path / "seeded.duckdb")  # another file under the same name
    assert labels(opened(tmp_path, monkeypatch)) == ["Check this store"]


def unstyled(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_an_error_that_nobody_foresaw_is_not_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(path: Path) -> Iterator[Check]:
        raise RuntimeError("a bug")
        yield

    monkeypatch.setattr(store_checks, "checks", broken)
    write_seeded_store(tmp_path, seed=5)
    at = opened(tmp_path, monkeypatch)
    assert len(at.exception) == 1
    assert "RuntimeError: a bug" in unstyled(capsys.readouterr().out)
    monkeypatch.undo()
    monkeypatch.setenv("EXPLORER_STORE", str(tmp_path))
    with Store.open(tmp_path / "seeded.duckdb") as store:
        store_checks.start_own_checks(store)  # what could not be done is tried again
    at = settled(opened(tmp_path, monkeypatch))
    assert not at.exception
    assert page_of(at).count("<tr><td>") == N_CHECKS


_STOPPED = """
import atexit, sys, time
from explorer.core.store import Store
from explorer.resources import store_checks
real = store_checks.checks
def slow(path):
    for check in real(path):
        time.sleep(0.05)
        yield check
store_checks.checks = slow
store = Store.open(sys.argv[1])
# Told before, done after: by then nothing is inside the database.
atexit.register(lambda: print(store_checks.own_checks(store).is_over))
store_checks.start_own_checks(store)
time.sleep(0.3)
print(store_checks.own_checks(store).is_over)
"""


def test_a_server_that_stops_meanwhile_ends_well(tmp_path: Path) -> None:
    path = write_seeded_store(tmp_path)
    begin = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", _STOPPED, str(path)], cwd=Path(__file__).parents[2],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (0, "False\nTrue\n"), ended.stderr
    assert "Traceback" not in ended.stderr
    assert time.monotonic() - begin < 30


# --- with the model -----------------------------------------------------------------------------


def loaded(store_path: Path) -> None:
    """As Live does: ask for the model and wait until it is there."""
    end = time.monotonic() + 120
    with Store.open(store_path) as store:
        while models.model_status(store).state != "ready":
            assert time.monotonic() < end, models.model_status(store)
            time.sleep(0.1)


@pytest.fixture(scope="module")
def real_store(
    gpt2_folder: Path, small_corpus: Path, publish: Callable[..., duckdb.DuckDBPyConnection],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:  # fmt: skip
    out = tmp_path_factory.mktemp("checked-runs")
    publish(
        "--model", gpt2_folder, "--corpus", small_corpus, "--out", out, "--layers", "last:1",
        "--neurons-per-layer", 2, "--random-neurons-per-layer", 1, "--prompts", 3, "--tasks", "none",
    ).close()  # fmt: skip
    (path,) = out.glob("*.duckdb")
    return path


def test_prompts_are_recomputed_once_the_model_is_there(
    real_store: Path, gpt2_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(models.MODEL_VARIABLE, str(gpt2_folder))
    at = settled(opened(real_store.parent, monkeypatch))
    assert labels(at) == []
    assert "Once Live has loaded the run's model" in page_of(at)
    with Store.open(real_store) as store:
        slot = models.slot_of(store, models.model_source(store))
    assert slot.state == "waiting"  # to look has loaded nothing
    loaded(real_store)
    at = opened(real_store.parent, monkeypatch)
    (button,) = labels(at)
    assert button == "Recompute 32 prompts with the model"
    at.button[0].click().run()
    page = html.unescape(page_of(settled(at)))
    for _, meaning in AGAIN:
        assert f"<td>{meaning}</td><td>ok</td><td>" in page
    assert "prompts, none differs by more than" in page
    assert page.count("<tr><td>") == N_CHECKS + len(AGAIN)
    assert labels(at) == []


def test_numbers_that_the_model_does_not_give_are_found(
    real_store: Path, gpt2_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store agrees with itself all the same."""
    moved = "mlps = [mlps[1] + 0.01] || mlps[2:], embedding = embedding - 0.01"
    path = spoiled(real_store, tmp_path, [f"UPDATE head_attributions SET {moved}"])
    monkeypatch.setenv(models.MODEL_VARIABLE, str(gpt2_folder))
    loaded(path)
    at = settled(opened(tmp_path, monkeypatch))
    assert "<b>failed</b>" not in page_of(at)
    with Store.open(path) as store:
        slot = models.slot_of(store, models.model_source(store))
        n_prompts = min(store_checks.N_SAMPLES, store.row_counts()["prompts"])
    asked: list[Any] = []
    real = slot.use
    monkeypatch.setattr(slot, "use", lambda job, *more: (asked.append(job), real(job, *more))[1])
    at.button[0].click().run()
    page = html.unescape(page_of(settled(at)))
    assert page.count("<b>failed</b>") == 1
    assert f"<td>{AGAIN[0][1]}</td><td><b>failed</b></td><td>{n_prompts} of {n_prompts}" in page
    assert len(asked) == n_prompts  # one at a time: Live's keystrokes come between
