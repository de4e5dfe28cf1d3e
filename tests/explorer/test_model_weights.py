"""Weights that are not those of the run are refused before they are loaded; none named is said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import streamlit as st

from explorer.components.model_wait import status_line
from explorer.core.store import Store
from explorer.resources import model_consent, models
from explorer.resources.model_consent import agree
from explorer.resources.models import fetch, model_status, named_model
from tests.explorer.live_page import DEMO
from tests.explorer.page_reader import open_page, text_of
from tests.explorer.seeded import write_seeded_store
from tests.explorer.test_model_consent import PAGES, SHA, wait_for_state


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(models.MODEL_VARIABLE, raising=False)
    monkeypatch.delenv(model_consent.AGREED_VARIABLE, raising=False)
    st.cache_resource.clear()
    yield
    st.cache_resource.clear()


@pytest.mark.parametrize("sha256", [None, "", False, 0, []])
def test_a_run_without_a_checksum_is_said_before_and_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sha256: Any
) -> None:
    monkeypatch.setattr(models, "_load", lambda _, **__: SimpleNamespace(weights_sha256=SHA))
    (tmp_path / "model").mkdir()
    write_seeded_store(tmp_path / "runs", model=str(tmp_path / "model"), weights_sha256=sha256)
    monkeypatch.setenv("EXPLORER_STORE", str(tmp_path / "runs"))
    app = open_page("channels", **PAGES["channels"])
    assert "none: the run names no checksum" in text_of(app)
    with Store.open(tmp_path / "runs" / "seeded.duckdb") as store:
        fetch(store, named_model(store))
        wait_for_state(store, "ready")
        assert not model_status(store).is_checked
        assert "not checked: the run names no checksum" in status_line(model_status(store))


@pytest.mark.parametrize("sha256", ["b" * 64, "B" * 64, ["a" * 64], {"a": 1}, 5])
def test_other_weights_are_refused_after_consent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sha256: Any
) -> None:
    """Here the bundled model stands for what a stranger put in place of the run's."""
    from explorer.core import model_files

    def opened(*_: object, **__: object) -> None:
        pytest.fail("weights were read before their checksum was right")

    monkeypatch.setattr(model_files, "_predict", opened)
    path = write_seeded_store(tmp_path, model=str(DEMO), weights_sha256=sha256)
    with Store.open(path) as store:
        agree(named_model(store))
        fetch(store)
        wait_for_state(store, "failed")
        said = model_status(store).message
        assert "not those of this run" in said and f"the run has {str(sha256)[:12]}" in said
        assert said.endswith("python -m explorer --model DIR")
