"""What Live reads from the store, and where a position goes when its prompt is edited."""

from __future__ import annotations

import numpy as np
import pytest

from explorer.charts.next_tokens import NextRow
from explorer.core.store import Store
from explorer.core.types import NeuronId
from explorer.resources.live_values import (
    LiveValue,
    from_field,
    moved,
    neuron_names,
    scales_for,
    stored_curve,
    stored_prompt,
    stored_scales,
    stored_value,
    to_field,
    token_of,
)

NEURON = NeuronId(5, 7)


def test_a_stored_prompt_shows_the_stores_own_numbers(store: Store) -> None:
    for row in store.prompts(NEURON, "train").itertuples():
        prompt = stored_prompt(store, NEURON, int(row.prompt_id))
        assert prompt is not None
        value = stored_value(store, prompt, token_of(store, NEURON))
        assert value is not None
        kept = list(row.token_ids[row.start :])
        assert list(value.token_ids) == kept
        assert value.text == "".join(store.token_texts[i] for i in kept)
        assert value.position == len(kept) - 1
        assert value.activations == pytest.approx(list(row.kept_activations))
        total = value.heads.sum() + value.mlps.sum() + value.embedding + value.bias
        assert total == pytest.approx(value.pre_activation, abs=1e-4)
        assert value.target == NextRow(" come", pytest.approx(row.probability), row.token_rank)
        stored = store.attributions(NEURON, "train").query("prompt_id == @row.prompt_id").iloc[0]
        assert sorted(head.flat(8) for head in value.active) == list(stored["active"])


def test_the_stored_curve_is_that_of_the_kept_prompt(store: Store) -> None:
    prompt = stored_prompt(store, NEURON, None)
    assert prompt is not None
    curve = stored_curve(store, prompt)
    assert curve.points["tokens_kept"].tolist() == list(range(1, len(prompt.token_ids) + 1))
    assert curve.points["activation"].iloc[-1] == pytest.approx(curve.whole_activation)
    kept = curve.points.set_index("tokens_kept")["activation"]
    assert curve.kept is not None
    assert kept[curve.kept] >= 0.8 * curve.whole_activation
    assert (kept[kept.index < curve.kept] < 0.8 * curve.whole_activation).all()


def test_what_is_not_stored_is_none(store: Store) -> None:
    assert stored_prompt(store, NEURON, 99999) is None
    unstudied = NeuronId(0, 0)
    assert stored_prompt(store, unstudied, None) is None
    assert stored_scales(store, unstudied) is None
    best = store.neuron_tokens(unstudied, 1)["token_id"][0]
    assert token_of(store, unstudied) == best


def test_the_picker_names_each_studied_neuron_with_its_token(store: Store) -> None:
    names = neuron_names(store)
    assert names["L5N7"] == "L5 N7 ␣come"
    assert len(names) == len(store.studied_neurons())
    kinds = store.studied_neurons().set_index(["layer", "neuron"])["kind"]
    order = [kinds[(n.layer, n.index)] == "random" for n in map(NeuronId.parse, names)]
    assert order == sorted(order)


@pytest.mark.parametrize("text", ["", " a  b ", "line\nbreak\ttab", "שלום 😀", "<b>&amp;"])
def test_a_prompt_goes_through_the_field_unchanged(text: str) -> None:
    assert from_field(to_field(text)) == text
    assert "\n" not in to_field(text)


@pytest.mark.parametrize(
    ("old", "new", "index", "place"),
    [
        ([1, 2, 3], [1, 2, 3, 4], 1, None),  # an edit after the position draws it to the end
        ([1, 2, 3, 4], [9, 2, 3, 4], 2, 2),  # an edit before it leaves it on its token
        ([1, 2, 3, 4], [8, 9, 2, 3, 4], 2, 3),
        ([1, 2, 3, 4], [2, 3, 4], 2, 1),
        ([1, 2, 3], [9, 9, 3], 2, None),  # the last token stays the last
        ([1, 2, 3, 4], [4], 0, None),
    ],
)
def test_a_position_follows_an_edit(
    old: list[int], new: list[int], index: int, place: int | None
) -> None:
    assert moved(old, new, index) == place


def test_a_scale_is_rounded_up_and_never_nothing() -> None:
    scales = scales_for([np.array([[0.7, -1.3], [0.0, 0.2]])], [3.1])
    assert (scales.heads, scales.activation) == (2, 5)
    assert scales_for([], []).activation == 1


def test_a_value_holds_together() -> None:
    fields = dict(
        text="a", token_ids=(1,), tokens=("a",), n_cut=0, neuron=NEURON, token="a", position=0,
        heads=np.zeros((1, 1)), n_reaching_layers=1, mlps=np.zeros(1), embedding=0.0, bias=0.0,
        pre_activation=0.0, activation=0.0, active=frozenset(), next_tokens=(),
        target=NextRow("a", 0.5, 1), ln_scale=1.0,
    )  # fmt: skip
    assert LiveValue(**fields, activations=(0.5,)).token_here == "a"
    with pytest.raises(ValueError, match="an activation a token"):
        LiveValue(**fields, activations=(0.5, 0.1))
    with pytest.raises(ValueError, match="position"):
        LiveValue(**(fields | {"position": 1}), activations=(0.5,))
