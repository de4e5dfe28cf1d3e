"""The dial of Channels: what the model makes of a turned component, before and now, never mixed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from explorer.resources import channel_runs, models
from explorer.resources.channel_live import Dial
from tests.explorer.page_reader import chart, html_of, open_page, read_arrow, text_of
from tests.explorer.seeded import write_seeded_store
from tests.explorer.seeded_channels import PLANTED_RECEIVER, PLANTED_SOURCE
from tests.explorer.test_live_view import DEMO, live_store  # noqa: F401 a fixture

SOURCE, RECEIVER = HeadId(*PLANTED_SOURCE), HeadId(*PLANTED_RECEIVER)
TEXT = "They went down to the river and sat"


def _components(**query: str) -> AppTest:
    return open_page("channels", tab="components", src=str(SOURCE), dst=str(RECEIVER), **query)


@pytest.fixture()
def opened(live_store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:  # noqa: F811
    """The store of the bundled model, once that is ready; the explorer looks at it."""
    monkeypatch.delenv(models.MODEL_VARIABLE, raising=False)
    monkeypatch.setenv("EXPLORER_STORE", str(live_store))
    with Store.open(live_store / "live.duckdb") as store:
        end = time.monotonic() + 240
        while models.model_status(store).state != "ready":
            assert time.monotonic() < end, models.model_status(store)
            time.sleep(0.1)
        yield store


def _dial(app: AppTest) -> list[pd.DataFrame]:
    """The rows of the dial's curves, in order: token, neuron, receiver."""
    frames = [
        read_arrow(part.data.data)
        for piece in app.get("vega_lite_chart")
        for part in piece.proto.datasets
    ]
    return [rows for rows in frames if {"role", "strength", "value", "words"} <= {*rows}]


def _mark(rows: pd.DataFrame, role: str) -> dict[str, Any]:
    (mark,) = rows.query("role == @role").to_dict("records")
    return mark


def test_the_dial_moves_prediction_neuron_and_receiver(opened: Store) -> None:
    query = {"text": TEXT, "neuron": "L4N3", "comp": "0"}
    curves = _dial(_components(**query))
    assert len(curves) == 3
    for rows in curves:
        assert _mark(rows, "before")["value"] == _mark(rows, "now")["value"]
    turned = _dial(_components(**query, strength="-4"))
    for clean, rows in zip(curves, turned, strict=True):
        # Before stays; now is the curve's own point at that strength.
        assert _mark(rows, "before") == _mark(clean, "before")
        first = rows.query("role == 'point'").iloc[0]
        assert (first["strength"], _mark(rows, "now")["strength"]) == (-4.0, -4.0)
        assert _mark(rows, "now")["value"] == pytest.approx(first["value"], abs=1e-4)
    assert any(_mark(r, "now")["value"] != _mark(r, "before")["value"] for r in turned)


def test_the_dial_is_the_models_own_edit(opened: Store) -> None:
    """Against the core's re-run of a model loaded apart from the app's."""
    from explorer.core.component_edit import ComponentEdit
    from explorer.core.model import load_model
    from explorer.core.model_blocks import Blocks
    from explorer.core.model_component_edit import ComponentDials

    model = load_model(DEMO)
    ids = tuple(model.encode(TEXT))
    neuron = NeuronId(4, 3)
    for how, everywhere, strength in (("scale", False, 0.0), ("set", True, 3.0)):
        dial = Dial(TEXT, ids, SOURCE, 1, RECEIVER, neuron, how, everywhere, 5)  # type: ignore[arg-type]
        value = channel_runs.turned(opened, dial, strength)
        edit = ComponentEdit(SOURCE, 1, scale=0.0, shift=strength)
        clean = ComponentDials(Blocks(model)).clean([ids], 0)
        found = clean.edited([edit], receiver=RECEIVER, neuron=neuron, everywhere=everywhere)
        assert found.attention is not None and found.activation is not None
        assert value.now.probabilities == pytest.approx(
            found.logits[0].softmax(-1).numpy(), abs=1e-5
        )
        assert value.now.attention == pytest.approx(found.attention[0].numpy(), abs=1e-5)
        assert value.now.activation == pytest.approx(float(found.activation[0]), abs=1e-4)
        assert value.component_activation == pytest.approx(
            float(clean.activations(SOURCE)[0, 1]), abs=1e-4
        )


def test_zero_and_as_it_is_are_buttons(opened: Store) -> None:
    app = _components(text=TEXT, comp="0")
    app.button(key="channels-zero").click().run()
    assert app.query_params["strength"] == "0"
    assert _mark(_dial(app)[0], "now")["strength"] == 0
    app.button(key="channels-neutral").click().run()
    assert "strength" not in app.query_params
    assert _mark(_dial(app)[0], "now")["strength"] == 1
    app.segmented_control(key="channels-how-scale").set_value("set").run()
    app.segmented_control(key="channels-where-last").set_value("all").run()
    assert app.query_params["edit"] == "set-all"


def test_a_receiver_that_does_not_come_later_has_no_curve(opened: Store) -> None:
    app = open_page("channels", tab="components", src="L4H1", dst="L3H0", comp="0", text=TEXT,
                    neuron="L4N3")  # fmt: skip
    assert len(_dial(app)) == 2
    assert "L3 H0 does not come after L4 H1" in text_of(app)


@pytest.mark.parametrize("text", ["<b>&\"'</b>", "😀שלום", "a\nb\tc", "`*_$x$"])
def test_odd_prompts_are_fine(opened: Store, text: str) -> None:
    app = _components(text=text, comp="0", strength="2.5")
    assert len(_dial(app)) == 3
    assert "<b>&" not in html_of(app)


def test_without_the_model_the_way_out_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_seeded_store(tmp_path, model=str(tmp_path / "moved"))
    monkeypatch.setenv("EXPLORER_STORE", str(tmp_path))
    app = _components(comp="0")
    assert "The dial needs the model: there is no model folder at" in text_of(app)
    assert _dial(app) == []
    assert len(chart(app, "Components of earlier heads")[1]) > 0
