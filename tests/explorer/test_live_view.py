"""Live: stored values until the model is there, then every figure of the typed prompt, never mixed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from explorer.core.store import Store
from explorer.core.types import NeuronId
from explorer.resources import models
from tests.explorer.live_page import DEMO, open_live, rows_of, strip_of, write_live_store
from tests.explorer.page_reader import html_of, open_page, read_arrow, text_of
from tests.explorer.seeded import write_seeded_store

FIGURES = ("Heads", "All parts, adding up", "How much of the prompt is needed", "What comes next")


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(models.MODEL_VARIABLE, raising=False)
    yield


@pytest.fixture(scope="module")
def live_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_live_store(tmp_path_factory.mktemp("live-runs"))


@pytest.fixture()
def without_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store whose model folder has moved."""
    path = write_seeded_store(tmp_path, model=str(tmp_path / "moved"))
    monkeypatch.setenv("EXPLORER_STORE", str(tmp_path))
    with Store.open(path) as store:
        yield store


def _shown_prompts(app: AppTest) -> dict[str, str]:
    """Which prompt each figure says that it shows, by figure, from what was sent to be drawn."""
    found: dict[str, str] = {}
    for chart, name in zip(
        app.get("vega_lite_chart"), ("heads", "parts", "curve", "next"), strict=True
    ):
        rows = read_arrow(chart.proto.datasets[0].data.data)
        texts = pd.concat([rows[c] for c in ("name", "words", "text") if c in rows]).dropna()
        (label,) = [t for t in texts if t.startswith("Shown for the prompt: ")]
        found[name] = label.removeprefix("Shown for the prompt: ")
    found["strip"] = strip_of(app)["prompt"]
    return found


def _type_neuron(app: AppTest, typed: str) -> None:
    """Type what is no option into the picker; the test harness only sends what it lists."""
    box = app.selectbox(key="live-neuron")
    box.options.append(typed)
    box.set_value(typed).run()


def _headings(app: AppTest) -> list[str]:
    return [heading.value for heading in app.header]


def test_without_the_model_stored_values_stand_and_the_way_out_is_said(
    without_model: Store,
) -> None:
    app = open_page("live", neuron="L5N7")
    assert "What switches on the ␣come neuron?" in text_of(app)
    assert set(FIGURES) <= set(_headings(app))
    assert "there is no model folder at" in text_of(app)
    assert "python -m explorer --model DIR" in text_of(app)
    prompt = without_model.prompts(NeuronId(5, 7), "train").iloc[0]
    kept = [without_model.token_texts[i] for i in prompt["token_ids"][prompt["start"] :]]
    assert set(_shown_prompts(app).values()) == {
        "".join(kept).replace("\n", "↵").replace("\t", "⇥")
    }
    assert strip_of(app)["position"] == len(kept) - 1
    assert f"{prompt['truncated_activation']:.2f}" in text_of(app)


def test_stored_numbers_never_stand_under_an_edited_prompt(without_model: Store) -> None:
    app = open_page("live", neuron="L5N7")
    assert len(app.get("vega_lite_chart")) == 4
    app.text_input(key="live-text").set_value("something else").run()
    assert app.get("vega_lite_chart") == []
    assert not set(FIGURES) & set(_headings(app))
    assert app.query_params["text"] == "something else"


def test_undoing_the_edit_brings_the_stored_prompt_back(without_model: Store) -> None:
    app = open_page("live", neuron="L5N7")
    before = app.text_input(key="live-text").value
    app.text_input(key="live-text").set_value("something else").run()
    app.text_input(key="live-text").set_value(before).run()
    assert len(app.get("vega_lite_chart")) == 4
    assert "text" not in app.query_params


def test_another_neurons_prompt_shows_no_stored_numbers(without_model: Store) -> None:
    other = without_model.prompts(NeuronId(4, 3), "train").iloc[0]
    app = open_page("live", neuron="L5N7", prompt=str(other["prompt_id"]))
    assert app.get("vega_lite_chart") == []
    own = open_page("live", neuron="L4N3", prompt=str(other["prompt_id"]))
    assert len(own.get("vega_lite_chart")) == 4


def test_every_figure_follows_the_typed_prompt(
    live_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = open_live(live_store, monkeypatch, neuron="L5N7")
    assert "demo ready" in text_of(app)
    for typed in (
        "They went down to the river",
        "They went down to the rivers",
        "They↵went <b>&  ",
    ):
        app.text_input(key="live-text").set_value(typed).run()
        assert [e.message for e in app.exception] == []
        assert set(_shown_prompts(app).values()) == {typed}
        assert app.query_params["text"] == typed.replace("↵", "\n")
        parts = rows_of(app, 1)
        total = parts.loc[parts["role"] == "total", "end"].iloc[0]
        bars = parts[parts["role"].isin(["raises", "lowers"])]
        assert (bars["end"] - bars["start"]).sum() == pytest.approx(total, abs=1e-3)
        curve = rows_of(app, 2).query("role == 'point'")
        assert len(curve) == len(strip_of(app)["tokens"])
        best = rows_of(app, 3).query("role != 'room'")
        assert len(best) in (8, 9) and (best["role"] == "target").sum() == 1
        assert "last run" in text_of(app)


def test_the_position_of_the_link_is_shown(
    live_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = {"neuron": "L5N7", "text": "They went down to the river"}
    whole = open_live(live_store, monkeypatch, **query)
    app = open_live(live_store, monkeypatch, **query, pos="2")
    assert (strip_of(app)["position"], strip_of(whole)["position"]) == (2, 5)
    assert len(rows_of(app, 2).query("role == 'point'")) == 3
    assert strip_of(app)["tokens"][:3] == strip_of(whole)["tokens"][:3]
    # Typing on draws the choice to the new end.
    app.text_input(key="live-text").set_value("They went down to the river and").run()
    assert strip_of(app)["position"] == 6
    assert "pos" not in app.query_params


@pytest.mark.parametrize("text", [" ", "   ", "😀👩‍👩‍👧", "שלום עולם", "a\nb\tc", "x"])
def test_odd_prompts_are_fine(live_store: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    app = open_live(live_store, monkeypatch, neuron="L4N3", text=text)
    assert set(_shown_prompts(app).values()) == {text.replace("\n", "↵").replace("\t", "⇥")}


def test_nothing_typed_asks_for_a_word(live_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_live(live_store, monkeypatch, neuron="L5N7")
    app.text_input(key="live-text").set_value("").run()
    assert "Type a word." in text_of(app)
    assert app.get("vega_lite_chart") == []
    app.text_input(key="live-text").set_value("a").run()
    assert len(app.get("vega_lite_chart")) == 4


def test_too_long_a_prompt_says_what_is_used(
    live_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = open_live(live_store, monkeypatch, neuron="L5N7", text="the sea " * 100)
    assert "Only the last 127 tokens are used." in text_of(app)
    assert len(strip_of(app)["tokens"]) == 127
    short = open_live(live_store, monkeypatch, neuron="L5N7", text="the sea")
    assert "Only the last" not in text_of(short)


def test_any_neuron_can_be_typed(live_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_live(live_store, monkeypatch, neuron="L5N7", text="They went")
    _type_neuron(app, "l2n30")
    assert app.query_params["neuron"] == "L2N30"
    assert "Layers 3–5 come after the neuron: no effect on it." in text_of(app)
    assert set(_shown_prompts(app).values()) == {"They went"}
    _type_neuron(app, "L77N1")
    assert "The model has no neuron L77 N1" in text_of(app)
    assert app.query_params["neuron"] == "L2N30"
    _type_neuron(app, "<script>")
    assert "Write a neuron as L5N12" in text_of(app)
    assert "<script>" not in html_of(app)


def test_mlps_open_by_layer(live_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_live(live_store, monkeypatch, neuron="L5N7", text="They went")
    assert "MLPs, layers 0–4" in rows_of(app, 1)["part"].tolist()
    app.toggle(key="live-mlps").set_value(True).run()
    names = rows_of(app, 1)["part"].tolist()
    assert [f"MLP, layer {n}" in names for n in range(6)] == [True] * 5 + [False]


def test_an_edit_never_rescales_the_colours(
    live_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = open_live(live_store, monkeypatch, neuron="L5N7")
    specs = []
    for typed in ("a", "They went down to the river and then they came"):
        app.text_input(key="live-text").set_value(typed).run()
        specs.append([c.proto.spec for c in app.get("vega_lite_chart")])
    assert specs[0] == specs[1]


def test_weights_of_another_run_are_refused(
    live_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    st.cache_resource.clear()
    path = write_seeded_store(tmp_path, model=str(DEMO), weights_sha256="0" * 64)
    monkeypatch.setenv("EXPLORER_STORE", str(tmp_path))
    with Store.open(path) as store:
        end = time.monotonic() + 120
        while models.model_status(store).state != "failed":
            assert time.monotonic() < end
            time.sleep(0.1)
    app = open_page("live", neuron="L5N7")
    assert "are not those of this run" in text_of(app)
    assert len(app.get("vega_lite_chart")) == 4
    st.cache_resource.clear()
