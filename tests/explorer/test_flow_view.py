"""Flow: the graph of the prompt that is shown, its shares, and nothing where there is no model."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from explorer.charts.flow_layout import TOKEN_KEY
from explorer.core.errors import ExplorerError
from explorer.core.flow_analysis import FlowAnalysis, analyse_flow
from explorer.core.model import LanguageModel, load_model
from explorer.core.store import Store
from explorer.core.types import NeuronId
from explorer.resources import flow_values, models
from explorer.selection import Selection, parse
from tests.explorer.page_reader import chart, html_of, open_page, text_of, widest
from tests.explorer.seeded import write_seeded_store
from tests.explorer.test_live_view import DEMO, live_store  # noqa: F401 a fixture

TEXT = "They went down to the river and sat"


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(models.MODEL_VARIABLE, raising=False)
    flow_values._analysed.cache_clear()
    yield


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return load_model(DEMO)


@pytest.fixture()
def opened(live_store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:  # noqa: F811
    """The store of the bundled model, once that is ready; the explorer looks at it."""
    monkeypatch.setenv("EXPLORER_STORE", str(live_store))
    with Store.open(live_store / "live.duckdb") as store:
        end = time.monotonic() + 240
        while models.model_status(store).state != "ready":
            assert time.monotonic() < end, models.model_status(store)
            time.sleep(0.1)
        yield store


def _lines(app: AppTest) -> pd.DataFrame:
    """One row for each line drawn."""
    _, frames = chart(app, "Flow from")
    rows = [frame for frame in frames if {"source", "target", "line"} <= {*frame}]
    return pd.concat(rows).drop_duplicates("line") if rows else pd.DataFrame()


def _nodes(app: AppTest) -> set[str]:
    return set(widest(chart(app, "Flow from")[1], "key", "kind")["key"])


def _box(app: AppTest, label: str) -> Any:
    (box,) = [box for box in app.selectbox if box.label.startswith(label)]
    return box


def _slider(app: AppTest) -> Any:
    (slider,) = [slider for slider in app.slider if slider.label.startswith("Heads")]
    return slider


def _caption(app: AppTest) -> str:
    (caption,) = [c.value for c in app.caption if c.value.startswith("Shown")]
    return caption.replace("\\", "")


def _strip(app: AppTest) -> dict[str, Any]:
    (strip,) = [
        json.loads(c.proto.json)
        for c in app.get("bidi_component")
        if c.proto.component_name == "token_strip"
    ]
    return strip


def _drawn_sizes(found: FlowAnalysis, app: AppTest) -> tuple[float, float]:
    """The two shares, one line and one neuron at a time."""
    drawn, n_heads = _nodes(app), found.heads.shape[2]
    lines = _lines(app)
    pairs = set(zip(lines["source"], lines["target"], strict=True))
    part = whole = effects = 0.0
    for row, one in enumerate(found.neurons):
        if str(one.neuron) not in drawn:
            continue
        effects += abs(one.effect)
        for flat, value in enumerate(found.heads[row].ravel()):
            whole += abs(value)
            name = f"L{flat // n_heads}H{flat % n_heads}"
            part += abs(value) if (name, str(one.neuron)) in pairs else 0.0
    return part / whole, effects / found.size_of_all_effects


def test_the_graph_is_that_of_the_typed_prompt(opened: Store, model: LanguageModel) -> None:
    for text in (TEXT, TEXT + " down", "x"):
        app = open_page("flow", text=text)
        found = analyse_flow(model, model.encode(text))
        token = model.token_texts[found.target.token_id]
        assert _box(app, "Next token").value == found.target.token_id
        assert _strip(app)["prompt"] == text
        lines = _lines(app).set_index(["source", "target"])["value"]
        effects = {str(one.neuron): one.effect for one in found.neurons}
        shown = [key for key in _nodes(app) if "N" in key]
        assert 1 <= len(shown) <= flow_values.N_FIRST_NEURONS
        for key in shown:
            assert lines[(key, TOKEN_KEY)] == pytest.approx(effects[key], abs=1e-4)
        heads, neurons = _drawn_sizes(found, app)
        assert f"Shown: {100 * heads:.0f} % of head contributions" in _caption(app)
        assert f"; {100 * neurons:.0f} % of all neurons' direct effect" in _caption(app)
        node = next(n for n in _table_names(app) if n == token.replace(" ", "␣"))
        assert node


def _table_names(app: AppTest) -> set[str]:
    return set(widest(chart(app, "Flow from")[1], "key", "kind")["name"])


def test_every_head_line_is_the_heads_contribution(opened: Store, model: LanguageModel) -> None:
    app = open_page("flow", text=TEXT, min_head="0", min_neuron="0")
    found = analyse_flow(model, model.encode(TEXT))
    rows = {str(one.neuron): heads for one, heads in zip(found.neurons, found.heads, strict=True)}
    lines = _lines(app)
    lines = lines[lines["target"] != TOKEN_KEY]
    assert len(lines) == 400
    for source, target, value in zip(lines["source"], lines["target"], lines["value"], strict=True):
        layer, index = map(int, source[1:].split("H"))
        assert value == pytest.approx(rows[target][layer, index], abs=1e-3)
    n_all = int((np.abs(found.heads) > 0).sum())
    assert f"{n_all - 400:,} smaller lines are left out" in _caption(app)


def test_sliders_hide_lines_and_are_in_the_link(opened: Store) -> None:
    app = open_page("flow", text=TEXT)
    before = len(_lines(app))
    _slider(app).set_value(3.0).run()
    assert 0 < len(_lines(app)) < before
    assert app.query_params["min_head"] == "3"
    assert _lines(app).query("target != @TOKEN_KEY")["value"].abs().min() >= 3
    again = open_page("flow", text=TEXT, min_head="3")
    assert len(_lines(again)) == len(_lines(app))
    assert _slider(again).value == 3.0


@pytest.mark.parametrize("size", [0.0, 0.25, 3.0, 0.0005, 120.0])
def test_thresholds_survive_the_link_as_plain_decimals(size: float) -> None:
    query = Selection(min_head=size, min_neuron=size).to_query()
    assert "e" not in query["min_head"]
    assert parse(query) == (Selection(min_head=size, min_neuron=size), ())
    for bad in ("-1", "nan", "inf", "1e3", "", "1_0", "٣", "12345678"):
        found, notes = parse({"min_neuron": bad})
        assert (found.min_neuron, len(notes)) == (None, 1)


def test_thresholds_above_all_leave_the_token(opened: Store) -> None:
    app = open_page("flow", text=TEXT, min_neuron="999999")
    assert _nodes(app) == {TOKEN_KEY}
    assert "Shown: – of head contributions to these neurons; 0 % of all" in _caption(app)
    app = open_page("flow", text=TEXT, min_head="999999")
    assert {key for key in _nodes(app) if "H" in key} == set()
    assert "Shown: 0 % of head contributions" in _caption(app)


def test_a_node_is_isolated_and_its_page_is_one_link_away(opened: Store) -> None:
    app = open_page("flow", text=TEXT)
    lines = _lines(app)
    head = lines[lines["target"] != TOKEN_KEY]["source"].iloc[0]
    _box(app, "Paths through").select(head).run()
    assert app.query_params["node"] == head
    strong = _lines(app).query("opacity > 0.5")
    assert set(strong.query("target != @TOKEN_KEY")["source"]) == {head}
    label = head.replace("H", " H")
    assert f"{label} →" in [m.value for m in app.markdown]
    again = open_page("flow", text=TEXT, node=head)
    assert len(_lines(again).query("opacity > 0.5")) == len(strong)
    _box(app, "Paths through").select("all paths").run()
    assert "node" not in app.query_params
    assert _lines(app)["opacity"].nunique() == 1
    for neuron in sorted(key for key in _nodes(app) if "N" in key):
        other = open_page("flow", text=TEXT, node=neuron)
        shown = {m.value for m in other.markdown}
        assert {"Try it live →", f"{NeuronId.parse(neuron).label} →"} <= shown


def test_the_target_may_be_another_token(opened: Store, model: LanguageModel) -> None:
    app = open_page("flow", text=TEXT, token="␣come", neuron="L5N7")
    best = analyse_flow(model, model.encode(TEXT))
    options = _box(app, "Next token").options
    assert len(options) == 9
    second = best.next_tokens[1].token_id
    _box(app, "Next token").set_value(second).run()
    assert app.query_params["target"] == str(second)
    other = analyse_flow(model, model.encode(TEXT), None, second)
    effects = {str(one.neuron): one.effect for one in other.neurons}
    for key in (key for key in _nodes(app) if "N" in key):
        line = _lines(app).query("source == @key")["value"].iloc[0]
        assert line == pytest.approx(effects[key], abs=1e-4)
    _box(app, "Next token").set_value(best.target.token_id).run()
    assert "target" not in app.query_params


def test_the_position_of_the_link_is_shown(opened: Store, model: LanguageModel) -> None:
    app = open_page("flow", text=TEXT, pos="2")
    assert _strip(app)["position"] == 2
    found = analyse_flow(model, model.encode(TEXT), 2)
    assert _box(app, "Next token").value == found.target.token_id
    assert found.target.token_id != analyse_flow(model, model.encode(TEXT)).target.token_id


def test_a_stored_prompt_is_shown_as_the_run_kept_it(opened: Store) -> None:
    app = open_page("flow", neuron="L5N7")
    row = opened.prompts(NeuronId(5, 7), "train").iloc[0]
    kept = [opened.token_texts[i] for i in row["token_ids"][row["start"] :]]
    assert [t["text"] for t in _strip(app)["tokens"]] == [t.replace(" ", "␣") for t in kept]
    assert app.query_params["prompt"] == str(row["prompt_id"])
    box = _box(app, "Stored prompts")
    other = opened.prompts(NeuronId(5, 7), "train").iloc[1]
    box.set_value(int(other["prompt_id"])).run()
    assert app.query_params["prompt"] == str(other["prompt_id"])
    app.text_input(key="live-text").set_value("something else").run()
    assert app.query_params["text"] == "something else"
    assert _strip(app)["prompt"] == "something else"


@pytest.mark.parametrize("text", [" ", "<b>&\"'</b>", "😀👩‍👩‍👧", "שלום", "a\nb\tc", "`*_$x$"])
def test_odd_and_hostile_prompts_are_fine(opened: Store, text: str) -> None:
    app = open_page("flow", text=text)
    assert _strip(app)["prompt"] == text.replace("\n", "↵").replace("\t", "⇥")
    assert len(_lines(app)) > 0
    assert "<b>&" not in html_of(app)


def test_no_text_asks_for_a_word(opened: Store) -> None:
    app = open_page("flow", text=TEXT)
    app.text_input(key="live-text").set_value("").run()
    assert "Type a word." in text_of(app)
    assert app.get("vega_lite_chart") == []


def test_what_a_link_names_wrongly_is_said_and_the_rest_is_shown(opened: Store) -> None:
    app = open_page("flow", text=TEXT, target="99999999", node="L77H1", min_head="-1")
    assert "This model has no token 99999999" in text_of(app)
    assert "This model has no L77 H1." in text_of(app)
    assert "The link's min_head could not be read" in text_of(app)
    assert len(_lines(app)) > 0
    weak = open_page("flow", text=TEXT, node="L5N0", min_neuron="0.5")
    assert "L5 N0 is below the thresholds here" in text_of(weak)


def test_a_failure_is_not_remembered(opened: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = tuple(models.slot_of(opened, models.model_source(opened)).use(lambda m: m.encode(TEXT)))
    real = flow_values.slot_of

    class Broken:
        def use(self, *_: Any) -> Any:
            raise ExplorerError("the model is loading; try again in a moment")

    monkeypatch.setattr(flow_values, "slot_of", lambda *_: Broken())
    with pytest.raises(ExplorerError, match="try again"):
        flow_values.analyse(opened, TEXT, ids, None, None)
    monkeypatch.setattr(flow_values, "slot_of", real)
    assert flow_values.analyse(opened, TEXT, ids, None, None).text == TEXT


def test_without_the_model_the_way_out_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_seeded_store(tmp_path, model=str(tmp_path / "moved"))
    monkeypatch.setenv("EXPLORER_STORE", str(tmp_path))
    app = open_page("flow", neuron="L5N7")
    assert "Flow needs the model: there is no model folder at" in text_of(app)
    assert "python -m explorer --model DIR" in text_of(app)
    assert app.get("vega_lite_chart") == []
