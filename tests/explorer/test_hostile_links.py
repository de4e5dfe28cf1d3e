"""A link names a run of the folder, or none: nothing outside is opened, whatever it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest
import streamlit as st

from explorer.selection import parse
from tests.explorer.page_reader import open_page, text_of
from tests.explorer.seeded import write_seeded_store

SECRET = "the outside store"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of runs with one run, beside it a store that is not to be shown, and links to that."""
    st.cache_resource.clear()
    outside = tmp_path / "outside"
    write_seeded_store(outside, "private", model_name=SECRET)
    folder = tmp_path / "runs"
    write_seeded_store(folder, "good", model_name="the good run")
    (folder / "link.duckdb").symlink_to(outside / "private.duckdb")
    (folder / "sub").symlink_to(outside)
    monkeypatch.setenv("EXPLORER_STORE", str(folder))
    return folder


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that DuckDB is asked to open, links followed."""
    found: list[str] = []
    real = duckdb.connect

    def connect(path: Any = ":memory:", *rest: Any, **named: Any) -> Any:
        found.append(str(Path(str(path)).resolve()))
        return real(path, *rest, **named)

    monkeypatch.setattr(duckdb, "connect", connect)
    return found


@pytest.mark.parametrize(
    "run",
    [
        "../outside/private", "../outside/private.duckdb", "link", "sub/private", "./good", "good/", ".",
        "..", "{outside}/private", "{outside}/private.duckdb", "/etc/passwd", "good\0", "private\0good",
        "..%2foutside%2fprivate", "%2e%2e/outside/private", "..\\outside\\private", "C:\\x", "~", "*", "g*d",
        "x" * 100_000, "file://{outside}/private", "good.duckdb", "GOOD", " good", "", "good' OR '1'='1",
    ],
    ids=lambda run: run[:30].replace("\0", "0"),
)  # fmt: skip
def test_no_path_leaves_the_folder(folder: Path, opened: list[str], run: str) -> None:
    app = open_page("about", run=run.format(outside=folder.parent / "outside"))
    words = text_of(app)
    assert SECRET not in words + str([box.options for box in app.selectbox])
    assert set(opened) == {str(folder / "good.duckdb")}
    assert "There is no run" in words or "could not be read" in words or run == ""


def test_a_run_of_the_folder_is_opened(folder: Path, opened: list[str]) -> None:
    """The control: the same page, its own run; and the outside store, where its folder is given."""
    app = open_page("about", run="good")
    assert "There is no run" not in text_of(app)
    st.cache_resource.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXPLORER_STORE", str(folder.parent / "outside"))
        app = open_page("about", run="private")
    assert str(folder.parent / "outside" / "private.duckdb") in opened


def test_repeated_runs_are_of_the_folder_too(folder: Path, opened: list[str]) -> None:
    for runs in (["good", "link"], ["good", "../outside/private"], ["link", "good"],
                 ["good"] * 50, ["../outside/private"] * 3):  # fmt: skip
        st.cache_resource.clear()
        open_page("findings", run=runs)  # type: ignore[arg-type]
    assert set(opened) == {str(folder / "good.duckdb")}


def test_long_values_are_cut_or_refused() -> None:
    long = "9" * 1_000_000
    names = (
        "run",
        "token",
        "neuron",
        "head",
        "text",
        "pos",
        "off",
        "explainer",
        "measure",
        "sort",
        "strength",
    )
    selection, notes = parse(dict.fromkeys(names, long))
    assert all(len(str(value)) <= 4000 for value in vars(selection).values())
    assert all(len(note) < 1000 for note in notes)
