"""Heads clicked away on the page: what is shown is what the core's ablation says, for every prompt."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from explorer.charts.style import number
from explorer.core.model import LanguageModel, load_model
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from explorer.resources.live_removal import can_remove, head_effects, without_heads
from explorer.resources.live_sides import Removal
from explorer.resources.live_values import LiveRequest, token_of
from explorer.resources.models import analyse, encode
from tests.explorer.live_page import DEMO, open_live, rows_of, write_live_store
from tests.explorer.page_reader import html_of, read_arrow, text_of

NEURON, TEXT = NeuronId(4, 3), "They asked the old man if he would"


@pytest.fixture(scope="module")
def live_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_live_store(tmp_path_factory.mktemp("live-runs"))


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return load_model(DEMO)


def _core(model: LanguageModel, text: str, token: str, off: list[str], kind: str) -> Any:
    from explorer.core.live_ablation import ablate_prompt
    from explorer.core.model_blocks import Blocks

    heads = [HeadId.parse(head) for head in off]
    ids, token_id = model.encode(text), model.token_texts.index(token)
    return ablate_prompt(Blocks(model), ids, NEURON, token_id, None, heads, kind)


def _token(folder: Path) -> str:
    with Store.open(folder / "live.duckdb") as store:
        return store.token_texts[token_of(store, NEURON)]


def _shown(app: AppTest, place: int = 0) -> tuple[str, str]:
    """Pre-activation before and now, as the panel shows it."""
    cells = re.findall(r"<em>([^<]*)</em><i[^>]*>→</i>([^<]*)", html_of(app))
    return cells[3 * place]


def _total(app: AppTest, place: int) -> float:
    rows = rows_of(app, place)
    return float(rows.loc[rows["role"] == "total", "end"].iloc[0])


@pytest.mark.parametrize("kind", ["zero-last", "zero-all"])
def test_a_link_with_heads_off_shows_what_the_ablation_says(
    live_store: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: LanguageModel,
    kind: str,
) -> None:
    app = open_live(
        live_store, monkeypatch, neuron=str(NEURON), text=TEXT, off="L2H3,L4H0", kind=kind
    )
    found = _core(model, TEXT, _token(live_store), ["L2H3", "L4H0"], kind)
    before = found.pre_activation - found.delta_pre_activation
    assert _shown(app) == (number(before), number(found.pre_activation))
    assert number(before) != number(found.pre_activation)
    parts = rows_of(app, 1)
    bars = parts[parts["role"].isin(["raises", "lowers"])]
    assert bars["end"].iloc[-1] == pytest.approx(found.pre_activation, abs=1e-3)
    assert bars["end_old"].iloc[-1] == pytest.approx(before, abs=1e-3)
    off = bars[bars["words"].str.startswith("off")]["part"].tolist()
    assert sorted(off) == ["L2 H3", "L4 H0"]
    cells = rows_of(app, 0)
    assert sorted(cells.loc[cells["role"] == "off", "name"]) == ["L2 H3", "L4 H0"]
    best = rows_of(app, 3).query("role != 'room'")
    shares = [token.probability for token in found.next_tokens]
    assert best["probability"].tolist()[:8] == pytest.approx(shares, abs=1e-5)
    assert "Contributions alone predict" in text_of(app)


def test_heads_go_on_again_one_by_one_all_at_once_and_back(
    live_store: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = open_live(live_store, monkeypatch, neuron=str(NEURON), text=TEXT, off="L2H3,L4H0")
    app.button(key="live-off-L2H3").click().run()
    assert app.query_params["off"] == "L4H0" and app.query_params["head"] == "L2H3"
    app.button(key="live-restore").click().run()
    assert "off" not in app.query_params
    assert "→" not in re.sub(r"<[^>]+>", "", html_of(app)).split("Pre-activation")[1][:40]
    app.button(key="live-undo-button").click().run()
    assert app.query_params["off"] == "L4H0"
    app.selectbox(key="live-kind").set_value("zero-all").run()
    assert app.query_params["kind"] == "zero-all"


def test_typing_keeps_the_heads_off_and_every_figure_on_its_prompt(
    live_store: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: LanguageModel,
) -> None:
    app = open_live(live_store, monkeypatch, neuron=str(NEURON), text="They", off="L2H3")
    specs = []
    for typed in ("They went", "They went down"):
        app.text_input(key="live-text").set_value(typed).run()
        found = _core(model, typed, _token(live_store), ["L2H3"], "zero-last")
        assert _shown(app)[1] == number(found.pre_activation)
        assert _total(app, 1) == pytest.approx(found.pre_activation, abs=1e-3)
        specs.append([c.proto.spec for c in app.get("vega_lite_chart")])
    assert specs[0] == specs[1]


def test_two_prompts_never_mix(
    live_store: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: LanguageModel,
) -> None:
    texts = {"A": "They went down", "B": "They had gone"}
    app = open_live(live_store, monkeypatch, neuron=str(NEURON), text=texts["A"], text2=texts["B"],
                     off="L1H1", pos2="1")  # fmt: skip
    shown: dict[str, list[str]] = {}
    for chart in app.get("vega_lite_chart"):
        rows = read_arrow(chart.proto.datasets[0].data.data)
        labels = [t for column in ("name", "words", "text") if column in rows for t in rows[column]
                  if isinstance(t, str) and t.startswith("Shown for the prompt: ")]  # fmt: skip
        title = json.loads(chart.proto.spec)["layer"] and labels[0].removeprefix(
            "Shown for the prompt: "
        )
        shown.setdefault(title, []).append(title)
    both = f"{texts['B']} − {texts['A']}"
    assert {title: len(found) for title, found in shown.items()} == {
        texts["A"]: 4, texts["B"]: 4, both: 3,
    }  # fmt: skip
    a = _core(model, texts["A"], _token(live_store), ["L1H1"], "zero-last")
    b = _core(model, "They had", _token(live_store), ["L1H1"], "zero-last")
    assert [_shown(app, place)[1] for place in (0, 1)] == [
        number(a.pre_activation), number(b.pre_activation),
    ]  # fmt: skip
    totals = [_total(app, place) for place in (3, 4, 5)]
    assert totals[2] == pytest.approx(b.pre_activation - a.pre_activation, abs=1e-3)
    assert totals[:2] == pytest.approx([a.pre_activation, b.pre_activation], abs=1e-3)


def test_prompts_are_swapped_and_copied(
    live_store: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = open_live(live_store, monkeypatch, neuron=str(NEURON), text="They went down", pos="1",
                     text2="She came")  # fmt: skip
    app.button(key="live-swap").click().run()
    query = app.query_params
    assert (query["text"], query["text2"], query["pos2"]) == ("She came", "They went down", "1")
    assert "pos" not in query
    app.button(key="live-copy-a").click().run()
    assert (app.query_params["text"], app.query_params["text2"]) == ("She came", "She came")
    app.button(key="live-one").click().run()
    assert "text2" not in app.query_params
    app.button(key="live-second").click().run()
    assert app.query_params["text2"] == "She came"


def test_a_stale_link_says_what_is_gone_and_shows_the_rest(
    live_store: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = open_live(live_store, monkeypatch, neuron=str(NEURON), text="They went", off="L2H3,L9H1",
                     pos="40")  # fmt: skip
    assert "has no head L9 H1, so it cannot be off" in text_of(app)
    assert "has no token 41" in text_of(app)
    assert app.query_params["off"] == "L2H3"
    assert len(app.get("vega_lite_chart")) == 4
    gone = open_live(live_store, monkeypatch, neuron=str(NEURON), prompt="999999")
    assert "has no prompt 999999" in text_of(gone)
    assert len(gone.get("vega_lite_chart")) == 4
    fine = open_live(live_store, monkeypatch, neuron=str(NEURON), text="They went", off="L2H3")
    assert "has no" not in text_of(fine)


def test_each_heads_effect_is_what_the_model_loses_without_it(
    live_store: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    open_live(live_store, monkeypatch, neuron=str(NEURON), text=TEXT)
    with Store.open(live_store / "live.duckdb") as store:
        request = LiveRequest(TEXT, None, NEURON, token_of(store, NEURON), None)
        value, _ = analyse(store, request, encode(store, request), None)
        for kind in ("zero-last", "mean-last"):
            assert can_remove(store, NEURON, kind)
            effects = head_effects(store, value, kind)
            assert len(effects) == value.n_reaching_layers * value.heads.shape[1]
            for effect in sorted(effects, key=lambda e: -abs(e.causal))[:3]:
                side = without_heads(store, value, Removal((effect.head,), kind))
                lost = side.before.pre_activation - side.now.pre_activation
                assert effect.causal == pytest.approx(lost, abs=1e-3)
                # Direct is what the contributions alone predict, for zero and mean alike.
                predicted = side.before.pre_activation - side.predicted
                assert effect.direct == pytest.approx(predicted, abs=1e-3)
        zero = np.array([e.direct for e in head_effects(store, value, "zero-last")])
        assert zero == pytest.approx(value.heads[: value.n_reaching_layers].ravel(), abs=1e-6)


def test_the_selected_heads_attention_is_the_models_own(
    live_store: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: LanguageModel,
) -> None:
    from explorer.core.model_trace import hook

    kept: dict[str, Any] = {}
    tokens, _ = model.batch([model.encode(TEXT)])
    watch = hook(
        "blocks.2.attn.hook_pattern", lambda key, value, hook: kept.update({key: value}), "p"
    )
    model._run(tokens, [watch])
    app = open_live(live_store, monkeypatch, neuron=str(NEURON), text=TEXT, head="L2H3")
    assert "Where L2 H3 looks" in text_of(app)
    shown = re.findall(r"<i>(&lt; 1|\d+) %</i>", html_of(app))
    weights = kept["p"][0, 3, -1].tolist()
    assert len(weights) == 9  # the start token and eight tokens
    expected = ["&lt; 1" if 0 < w < 0.005 else f"{100 * w:.0f}" for w in weights]
    assert shown == expected


def test_the_neurons_that_push_the_prediction_come_with_their_direct_effects(
    live_store: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: LanguageModel,
) -> None:
    from explorer.resources.live_pushing import pushing

    open_live(live_store, monkeypatch, neuron=str(NEURON), text=TEXT)
    with Store.open(live_store / "live.duckdb") as store:
        request = LiveRequest(TEXT, None, NEURON, token_of(store, NEURON), 3)
        value, _ = analyse(store, request, encode(store, request), 3)
        best = value.next_tokens[0].token_id
        assert best is not None
        found = pushing(store, value, best)
    # Brute force: activation times congruence, over the final layer norm's divisor.
    kept: dict[str, Any] = {}
    tokens, _ = model.batch([list(value.token_ids[:4])])
    names = [f"blocks.{n}.mlp.hook_post" for n in range(model.shape.n_layers)]
    hooks: list[Any] = [
        (name, lambda value, hook, name=name: kept.update({name: value})) for name in names
    ]
    hooks.append(("ln_final.hook_scale", lambda value, hook: kept.update(scale=value)))
    model._run(tokens, hooks)
    effects = {
        (layer, index): effect
        for layer, name in enumerate(names)
        for index, effect in enumerate(
            (kept[name][0, -1] * (model.w_out(layer) @ model.w_u[:, best]) / kept["scale"][0, -1])
            .detach().tolist()
        )
    }  # fmt: skip
    order = sorted(effects, key=lambda place: -effects[place])[: len(found)]
    assert [(one.neuron.layer, one.neuron.index) for one in found] == order
    assert [one.effect for one in found] == pytest.approx([effects[p] for p in order], rel=1e-3)
    assert found[0].effect > found[-1].effect > 0
