"""Flow against plain float64 runs: effects of neurons sum with all else to the logit, heads with all
else to the pre-activation; and the selection of what is drawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from explorer.core.flow import (
    centred_logit,
    direct_effects,
    most_raising,
    select_flow,
    strongest,
)
from explorer.core.flow_analysis import FlowAnalysis, analyse_flow, pushing_neurons
from explorer.core.model import load_model
from tests.conftest import N_PADDING_ROWS, N_TOKENS, SIZES
from tests.core.conftest import Pair
from tests.core.reference import RawModel, RawRun

N_IDS = N_TOKENS + N_PADDING_ROWS
IDS = st.integers(0, N_IDS - 1)
PROMPTS = st.lists(IDS, min_size=1, max_size=SIZES["context"] - 1)
MODELS = st.sampled_from(["gpt2", "neox"])
SOME = settings(max_examples=30, deadline=None)
N_ALL = SIZES["layers"] * SIZES["mlp"]
PROMPT = [17, 230, 45, 301, 88, 12, 409, 5]


class ByHand:
    """One token's centred logit taken apart with raw weights: the final norm frozen, nothing folded."""

    def __init__(self, raw: RawModel, run: RawRun, place: int, token_id: int) -> None:
        self.raw, self.run, self.place = raw, run, place
        norm, w_u = raw.final_norm(), raw.hf.get_output_embeddings().weight.detach()
        column = w_u[token_id] - w_u.mean(0)
        residual = run.embedding[place] + run.mlp_out[:, place].sum(0)
        for layer in range(raw.n_layers):
            residual = residual + self._heads(layer).sum(0) + raw.attention_out(layer).bias.detach()
        self.scale = float((residual.var(unbiased=False) + norm.eps).sqrt())
        self._column = norm.weight.detach() * column / self.scale
        self.bias = float(norm.bias.detach() @ column)
        self.logit = float(run.logits[place, token_id] - run.logits[place].mean())

    def _heads(self, layer: int) -> Tensor:
        return torch.einsum("hk,hkd->hd", self.run.z[layer, self.place], self.raw.w_o(layer))

    def read(self, vectors: Tensor) -> Tensor:
        return (vectors - vectors.mean(-1, keepdim=True)) @ self._column

    def neurons(self) -> Tensor:
        """`[layer d_mlp]`: direct effect of each neuron."""
        layers = range(self.raw.n_layers)
        rows = [self.run.post[n, self.place] * self.read(self.raw.w_out(n)) for n in layers]
        return torch.stack(rows)

    def all_but_neurons(self) -> float:
        """Embedding, heads, the output biases of attention and MLPs, the final norm's bias."""
        total = float(self.read(self.run.embedding[self.place])) + self.bias
        for n in range(self.raw.n_layers):
            total += float(self.read(self._heads(n)).sum())
            total += float(self.read(self.raw.attention_out(n).bias.detach()))
            total += float(self.read(self.raw.mlp_last(n).bias.detach()))
        return total


def effects_of(found: FlowAnalysis) -> Tensor:
    """`[layer d_mlp]` of an analysis that was asked for all neurons."""
    effects = torch.full((SIZES["layers"], SIZES["mlp"]), float("nan"), dtype=torch.float64)
    for row in found.neurons:
        effects[row.neuron.layer, row.neuron.index] = row.effect
    return effects


@SOME
@given(name=MODELS, prompt=PROMPTS, token_id=IDS, data=st.data())
def test_all_neurons_and_all_else_sum_to_the_centred_logit(
    zoo: dict[str, Pair], name: str, prompt: list[int], token_id: int, data: st.DataObject
) -> None:
    pair = zoo[name]
    position = data.draw(st.integers(0, len(prompt) - 1))
    found = analyse_flow(pair.model, prompt, position, token_id, N_ALL)
    hand = ByHand(pair.raw, pair.raw.run(pair.with_bos(prompt)), position + 1, token_id)
    assert (found.token_ids, found.position) == (tuple(prompt), position)
    effects = effects_of(found)
    torch.testing.assert_close(effects, hand.neurons(), atol=1e-4, rtol=1e-4)
    close = 1e-4 * max(1.0, abs(hand.logit))
    assert float(effects.sum()) + hand.all_but_neurons() == pytest.approx(hand.logit, abs=close)
    assert found.logit == pytest.approx(hand.logit, abs=close)
    assert found.sum_of_all_effects == pytest.approx(float(effects.sum()), abs=1e-9)
    assert found.size_of_all_effects == pytest.approx(float(effects.abs().sum()), abs=1e-9)


def test_the_sum_misses_the_logit_when_a_piece_is_wrong(pair: Pair) -> None:
    """Control: another position, a norm that is not the final one, a dead neuron all show."""
    run = pair.raw.run(pair.with_bos(PROMPT))
    hand = ByHand(pair.raw, run, len(PROMPT), 7)
    rest = hand.logit - hand.all_but_neurons()
    whole = analyse_flow(pair.model, PROMPT, None, 7, N_ALL)
    assert whole.sum_of_all_effects == pytest.approx(rest, abs=1e-4)
    elsewhere = analyse_flow(pair.model, PROMPT, 2, 7, N_ALL)
    assert abs(elsewhere.sum_of_all_effects - rest) > 1e-2
    other_norm = pair.raw.scale(run.mlp_in[-1, len(PROMPT)], SIZES["layers"] - 1)
    assert abs(whole.sum_of_all_effects * hand.scale / other_norm - rest) > 1e-2
    assert abs(whole.sum_of_all_effects - whole.neurons[0].effect - rest) > 1e-2


@SOME
@given(name=MODELS, prompt=PROMPTS, data=st.data())
def test_heads_and_all_else_sum_to_each_neurons_pre_activation(
    zoo: dict[str, Pair], name: str, prompt: list[int], data: st.DataObject
) -> None:
    pair, position = zoo[name], data.draw(st.integers(0, len(prompt) - 1))
    found = analyse_flow(pair.model, prompt, position, None, 12)
    run = pair.raw.run(pair.with_bos(prompt))
    for row, heads in zip(found.neurons, found.heads, strict=True):
        layer, index = row.neuron.layer, row.neuron.index
        hand = pair.raw.parts(run, position + 1, layer, index)
        n = pair.model.shape.n_reaching_layers(layer)
        torch.testing.assert_close(torch.tensor(heads[:n]), hand.heads, atol=1e-4, rtol=1e-4)
        assert not heads[n:].any()
        total = float(heads.sum() + hand.mlps.sum()) + hand.embedding + hand.bias
        assert total == pytest.approx(row.pre_activation, abs=1e-4 * max(1, abs(total)))
        assert row.activation == pytest.approx(
            float(run.post[layer, position + 1, index]), abs=1e-4
        )
    # Control: the heads of one neuron are not those of another.
    assert np.abs(found.heads - found.heads[:1]).max() > 1e-3


def test_the_token_is_the_most_probable_one_unless_another_is_asked_for(pair: Pair) -> None:
    logits = pair.raw.run(pair.with_bos(PROMPT)).logits[-1]
    best = int(logits.argmax())
    found = analyse_flow(pair.model, PROMPT)
    assert (found.target.token_id, found.target.rank) == (best, 1)
    assert found.target == found.next_tokens[0]
    assert len(found.next_tokens) == 8
    assert found.target.probability == pytest.approx(float(logits.softmax(-1)[best]), rel=1e-3)
    other = analyse_flow(pair.model, PROMPT, None, (best + 1) % N_IDS)
    assert other.target.token_id == (best + 1) % N_IDS
    assert other.next_tokens == found.next_tokens
    assert other.logit < found.logit
    assert [n.neuron for n in other.neurons] != [n.neuron for n in found.neurons]


def test_neurons_come_by_size_and_those_that_push_by_sign(pair: Pair) -> None:
    every = effects_of(analyse_flow(pair.model, PROMPT, None, 9, N_ALL)).flatten()
    found = analyse_flow(pair.model, PROMPT, None, 9, 10)
    by_size = every.abs().sort(descending=True).indices[:10].tolist()
    flat = [n.neuron.layer * SIZES["mlp"] + n.neuron.index for n in found.neurons]
    assert flat == by_size
    assert min(n.effect for n in found.neurons) < 0 < max(n.effect for n in found.neurons)
    pushing = pushing_neurons(pair.model, PROMPT, None, 9, 10)
    flat = [n.neuron.layer * SIZES["mlp"] + n.neuron.index for n in pushing]
    assert flat == every.sort(descending=True).indices[:10].tolist()
    n_raising = int((every > 0).sum())
    assert len(pushing_neurons(pair.model, PROMPT, None, 9, N_ALL)) == n_raising < N_ALL
    row = pushing[0]
    scale = float(row.activation * row.congruence / row.effect)
    assert scale > 0
    for row in pushing:
        assert row.effect == pytest.approx(row.activation * row.congruence / scale, rel=1e-6)
    best = analyse_flow(pair.model, PROMPT).target.token_id
    assert pushing_neurons(pair.model, PROMPT, None, None, 3) == pushing_neurons(
        pair.model, PROMPT, None, best, 3
    )


def test_long_prompts_and_positions_are_as_elsewhere(pair: Pair) -> None:
    prompt = [(37 * i) % N_IDS for i in range(60)]
    found = analyse_flow(pair.model, prompt)
    n_kept = SIZES["context"] - 1
    assert (found.n_cut, found.position, len(found.token_ids)) == (60 - n_kept, n_kept - 1, n_kept)
    assert analyse_flow(pair.model, prompt[-n_kept:]).neurons == found.neurons
    last = analyse_flow(pair.model, PROMPT, len(PROMPT) - 1)
    for position in (None, 99, -1):
        assert analyse_flow(pair.model, PROMPT, position).neurons == last.neurons
    # What comes after the position plays no part, and one token is enough.
    assert analyse_flow(pair.model, PROMPT, 0).neurons == analyse_flow(pair.model, [17]).neurons
    assert analyse_flow(pair.model, PROMPT, 0).neurons != last.neurons


def test_mistakes_are_refused(gpt2_pair: Pair) -> None:
    with pytest.raises(ValueError, match="at least one token"):
        analyse_flow(gpt2_pair.model, [])
    with pytest.raises(ValueError, match="at least one token"):
        pushing_neurons(gpt2_pair.model, [], None, None, 3)
    for token_id in (N_IDS, -1):
        with pytest.raises(ValueError, match="expected a token below"):
            analyse_flow(gpt2_pair.model, PROMPT, None, token_id)


@pytest.mark.parametrize("kind", ["gpt2", "neox"])
def test_a_model_of_one_layer(
    tiny_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """In parallel blocks no head reaches the only MLP; in sequence those of its own layer do."""
    monkeypatch.setitem(SIZES, "layers", 1)
    folder = tiny_folder(kind, seed=5)
    model, raw = load_model(folder, device="cpu"), RawModel(folder)
    found = analyse_flow(model, PROMPT, None, 7, 5)
    hand = ByHand(raw, raw.run([model.tokenizer.bos_id, *PROMPT]), len(PROMPT), 7)
    assert found.sum_of_all_effects + hand.all_but_neurons() == pytest.approx(hand.logit, abs=1e-4)
    assert found.heads.shape == (5, 1, SIZES["heads"])
    assert bool(found.heads.any()) == (kind == "gpt2")
    effects = np.array([n.effect for n in found.neurons])
    shown = select_flow(found.heads, effects, found.size_of_all_effects, 0.0, 0.0)
    assert (shown.head_share is None, shown.edges == ()) == (kind == "neox", kind == "neox")


# --- pure -------------------------------------------------------------------------------------------


def test_direct_effects_are_a_product_over_a_divisor() -> None:
    found = direct_effects(np.array([2.0, -0.1, 0.0]), np.array([3.0, 5.0, 9.0]), 4.0)
    np.testing.assert_allclose(found, [1.5, -0.125, 0.0])
    for scale in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="positive layer-norm divisor"):
            direct_effects(np.ones(1), np.ones(1), scale)
    with pytest.raises(ValueError, match="finite"):
        direct_effects(np.array([np.inf]), np.ones(1), 1.0)


def test_a_shift_of_all_logits_leaves_the_centred_one() -> None:
    logits = np.array([1.0, 5.0, -3.0], dtype=np.float32)
    assert centred_logit(logits, 1) == 4.0
    assert centred_logit(logits + 100, 1) == pytest.approx(4.0, abs=1e-4)


def test_ties_go_to_the_lower_place() -> None:
    effects = np.array([1.0, -2.0, 2.0, 0.0, 2.0])
    assert strongest(effects, 3).tolist() == [1, 2, 4]
    assert most_raising(effects, 4).tolist() == [2, 4, 0]
    assert most_raising(-np.abs(effects), 4).tolist() == []
