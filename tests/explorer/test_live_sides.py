"""Two states of a prompt, two prompts and their difference: sums hold, and nothing is mixed up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from explorer.charts.live_difference import TokenChange, change_figure, change_rows, points
from explorer.charts.live_effects import HeadEffect, effect_rows, effects_figure
from explorer.charts.live_heads import heads_figure, heads_rows
from explorer.charts.next_tokens import NextRow, next_token_figure, next_token_rows
from explorer.charts.style import LIGHT
from explorer.charts.waterfall import named_heads, waterfall_figure, waterfall_rows
from explorer.core.types import HeadId, NeuronId
from explorer.resources.live_sides import Removal, Side, difference, parts_of, token_changes
from explorer.resources.live_values import LiveValue

N_LAYERS, N_HEADS = 3, 4
TEXTS = [f" t{i}" for i in range(30)]


def _value(seed: int, text: str = "a b", **changes: Any) -> LiveValue:
    rng = np.random.default_rng(seed)
    heads, mlps = rng.normal(size=(N_LAYERS, N_HEADS)), np.array([*rng.normal(size=2), 0.0])
    chances = rng.dirichlet(np.ones(30))
    order = np.argsort(-chances)
    rows = tuple(NextRow(TEXTS[i], float(chances[i]), r + 1, int(i)) for r, i in enumerate(order))
    fields: dict[str, Any] = dict(
        text=text, token_ids=(1, 2), tokens=("a", " b"), n_cut=0, neuron=NeuronId(2, 5),
        token=TEXTS[3], position=1, activations=(0.1, 0.5), heads=heads, n_reaching_layers=N_LAYERS,
        mlps=mlps, embedding=0.3, bias=-0.2, activation=0.5, active=frozenset({HeadId(1, 1)}),
        pre_activation=float(heads.sum() + mlps.sum() + 0.1),
        next_tokens=rows[:8], target=next(r for r in rows if r.token_id == 3), ln_scale=2.0,
        probabilities=chances,
    )  # fmt: skip
    return LiveValue(**(fields | changes))


OFF = Removal((HeadId(1, 1), HeadId(0, 2)))


def test_a_side_holds_one_prompt() -> None:
    before = _value(0)
    assert Side(before, before).off == frozenset()
    for change in ({"text": "other"}, {"position": 0}, {"neuron": NeuronId(2, 6)}):
        with pytest.raises(ValueError, match="one prompt"):
            Side(before, replace(before, **change), OFF)


def test_the_prediction_is_the_sum_with_the_removed_heads_exchanged() -> None:
    before = _value(0)
    heads = before.heads.copy()
    heads[1, 1], heads[0, 2] = 0.0, 0.4  # one by zero, one by a mean
    now = replace(before, heads=heads, ln_scale=4.0, pre_activation=1.0)
    side = Side(before, now, OFF)
    # What stands in is read at the divisor observed before: twice as much as at the new one.
    expected = before.pre_activation - before.heads[1, 1] - before.heads[0, 2] + 0.4 * 2
    assert side.predicted == pytest.approx(expected)
    assert side.predicted != pytest.approx(before.pre_activation)


def test_next_tokens_know_what_they_were() -> None:
    before, now = _value(0), _value(1, pre_activation=0.0)
    best, target = Side(before, now, OFF).next_now()
    assert before.probabilities is not None
    assert [row.before for row in best] == [before.probabilities[row.token_id] for row in best]
    assert target.before == before.target.probability
    unchanged, _ = Side(before, before).next_now()
    assert all(row.before is None for row in unchanged)


def test_differences_sum_to_the_difference_of_the_sums() -> None:
    a, b = _value(0), _value(1, text="a c")
    change = difference(a, b)
    named = named_heads([a.heads, b.heads], N_LAYERS)
    total = sum(part.value for part in parts_of(change, named))
    assert total == pytest.approx(b.pre_activation - a.pre_activation)
    assert change.heads[2, 3] == pytest.approx(b.heads[2, 3] - a.heads[2, 3])
    swapped = difference(b, a)
    assert np.allclose(swapped.heads, -change.heads)
    with pytest.raises(ValueError, match="one neuron"):
        difference(a, replace(b, neuron=NeuronId(1, 1)))


def test_the_tokens_that_differ_most_come_first_and_the_neurons_own_is_there() -> None:
    a, b = _value(0), _value(1)
    changes = token_changes(a, b, TEXTS)
    sizes = [abs(token.b - token.a) for token in changes[:8]]
    assert a.probabilities is not None and b.probabilities is not None
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == pytest.approx(np.abs(b.probabilities - a.probabilities).max())
    assert [token.text for token in changes if token.is_target] == [TEXTS[3]]
    assert token_changes(replace(a, probabilities=None), b, TEXTS) == ()


def test_heads_that_are_off_have_a_bar_of_their_own() -> None:
    heads = np.zeros((N_LAYERS, N_HEADS))
    heads[0] = [5, 4, 3, 2]
    heads[1] = [1.5, 1.4, 1.3, 0.1]
    small = HeadId(2, 3)
    assert small not in named_heads([heads], N_LAYERS)
    named = named_heads([heads], N_LAYERS, [small])
    assert small in named and len(named) == 7
    both = named_heads([heads, -9 * np.eye(N_LAYERS, N_HEADS)], N_LAYERS)
    assert both[:3] == (HeadId(0, 0), HeadId(1, 1), HeadId(2, 2))


def test_thin_bars_and_marks_say_what_was_before() -> None:
    before = _value(0)
    heads = before.heads.copy()
    heads[1, 1] = 0.0
    now = replace(before, heads=heads, pre_activation=before.pre_activation - before.heads[1, 1])
    named = named_heads([before.heads], N_LAYERS, [HeadId(1, 1)])
    rows = waterfall_rows(
        parts_of(now, named), now.pre_activation, "p", before=parts_of(before, named),
        pre_before=before.pre_activation, off=["L1 H1"],
    )  # fmt: skip
    bars = rows[rows["role"].isin(["raises", "lowers"])]
    assert bars["end_old"].iloc[-1] == pytest.approx(before.pre_activation)
    assert bars["end"].iloc[-1] == pytest.approx(now.pre_activation)
    assert rows.loc[rows["part"] == "L1 H1", "words"].tolist() == ["off"]
    cells = heads_rows(
        now.heads, n_reaching_layers=2, active={HeadId(1, 1)}, limit=2, palette=LIGHT, prompt="p",
        off={HeadId(1, 1), HeadId(2, 0)}, before=before.heads, chosen=HeadId(0, 0), turn=3,
    )  # fmt: skip
    roles = cells.groupby("role")["name"].apply(list).to_dict()
    assert roles["off"] == ["L1 H1", "L2 H0"] and roles["chosen"] == ["L0 H0"]
    assert "active" not in roles  # a cross stands for it
    own = cells[(cells["role"] == "cell") & (cells["name"] == "L1 H1")].iloc[0]
    assert own["value"] == before.heads[1, 1] and "off, added" in own["words"]
    assert set(cells.loc[cells["role"] == "cell", "turn"]) == {3}


def test_changes_are_points_and_never_a_bare_sign() -> None:
    assert [points(x) for x in (0.1654, -0.0001, 0.0)] == [
        "+16.5 points", "0.0 points", "0.0 points"]  # fmt: skip
    rows = change_rows([TokenChange(" a", 0.4, 0.1, True), TokenChange(" b", 0.1, 0.2, False)], "p")
    tokens = rows[rows["role"] != "room"]
    assert tokens["role"].tolist() == ["lowers", "raises"]
    assert tokens["change"].tolist() == pytest.approx([-0.3, 0.1])


def test_effects_whose_signs_differ_are_told_apart() -> None:
    effects = [HeadEffect(HeadId(0, 0), 2, 1, True), HeadEffect(HeadId(0, 1), 1, -1, True),
               HeadEffect(HeadId(0, 2), 1, 1, False)]  # fmt: skip
    rows = effect_rows(effects, "p")
    assert rows["role"].tolist()[:3] == ["active", "against", "other"]
    assert "without it −1.00" in rows["words"][0]


def test_every_figure_can_be_drawn() -> None:
    """Vega-Lite itself compiles them: a specification that is valid may still not be drawable."""
    import vl_convert

    value = _value(0)
    side = Side(value, _value(0, pre_activation=0.1), OFF)
    named = named_heads([value.heads], N_LAYERS, OFF.heads)
    parts = parts_of(value, named)
    best, target = side.next_now()
    effects = [HeadEffect(HeadId(0, i), i - 1.0, 1.0, i == 0) for i in range(4)]
    rows = heads_rows(value.heads, n_reaching_layers=2, active=value.active, limit=2, palette=LIGHT,
                      prompt="p", off=side.off, before=value.heads, chosen=HeadId(0, 1))  # fmt: skip
    bars = waterfall_rows(parts, 1.0, "p", before=parts, pre_before=2.0, off=["L1 H1"])
    changes = token_changes(value, _value(1), TEXTS)
    drawn: list[Any] = [
        heads_figure(rows, n_layers=3, n_heads=4, limit=2, palette=LIGHT, clickable=True),
        waterfall_figure(bars, palette=LIGHT, n_bars=len(parts) + 1, compared=True),
        waterfall_figure(bars, palette=LIGHT, n_bars=len(parts) + 1, compared=False),
        next_token_figure(
            next_token_rows(best, target, "p"), palette=LIGHT, n_rows=9, compared=True
        ),
        change_figure(change_rows(changes, "p"), palette=LIGHT, n_rows=9),
        effects_figure(effect_rows(effects, "p"), palette=LIGHT),
    ]
    for chart in drawn:
        assert "<svg" in vl_convert.vegalite_to_svg(chart.to_dict())
