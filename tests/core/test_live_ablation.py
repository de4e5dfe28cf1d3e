"""Removals from one prompt, as Live shows them: exact, complete, and one arithmetic with the job."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer.core.ablation import KINDS, HeadMeans
from explorer.core.analysis import AnalysisSpec, analyse_prompt
from explorer.core.live_ablation import ablate_prompt, prompt_means, single_head_effects
from explorer.core.model_blocks import Blocks
from explorer.core.types import HeadId, NeuronId
from tests.conftest import N_TOKENS, SIZES
from tests.core.conftest import Pair
from tests.core.plain_removal import plain_deltas, run_without

IDS = st.integers(1, N_TOKENS - 1)
PROMPTS = st.lists(IDS, min_size=2, max_size=10)
NEURONS = st.builds(NeuronId, st.integers(0, SIZES["layers"] - 1), st.integers(0, SIZES["mlp"] - 1))
HEADS = st.builds(HeadId, st.integers(0, SIZES["layers"] - 1), st.integers(0, SIZES["heads"] - 1))
MODELS = st.sampled_from(["gpt2", "neox", "gpt2-other", "neox-other"])
SOME = settings(max_examples=25, deadline=None)
PROMPT = [17, 230, 45, 301, 88]


def some_means(pair: Pair) -> HeadMeans:
    found = prompt_means(Blocks(pair.model), [[3, 9, 200], [41], [7, 7, 100, 12]])
    assert found is not None
    return found


@SOME
@given(name=MODELS, prompt=PROMPTS, neuron=NEURONS, token=IDS, kind=st.sampled_from(KINDS),
       heads=st.sets(HEADS, min_size=1, max_size=5), data=st.data())  # fmt: skip
def test_everything_after_a_removal_equals_a_plain_run(
    zoo: dict[str, Pair], name: str, prompt: list[int], neuron: NeuronId, token: int, kind: str,
    heads: set[HeadId], data: st.DataObject,
) -> None:  # fmt: skip
    """At any position; what stands to its right counts for nothing."""
    pair, raw, layer = zoo[name], zoo[name].raw, neuron.layer
    at = data.draw(st.integers(0, len(prompt) - 1))
    means = some_means(pair)
    found = ablate_prompt(
        Blocks(pair.model), prompt, neuron, token, at, [*heads], kind, means=means, n_next_tokens=6
    )
    ids = pair.with_bos(prompt[: at + 1])
    arguments = (
        raw, ids, [(h.layer, h.index) for h in heads], kind,
        means.last if kind == "mean-last" else means.everywhere, (layer, neuron.index), token,
    )  # fmt: skip
    plain = run_without(*arguments)
    hand = raw.parts(plain.run, at + 1, layer, neuron.index)
    n = found.n_reaching_layers
    close = {"atol": 1e-4, "rtol": 1e-4}
    torch.testing.assert_close(torch.tensor(found.heads[:n]).double(), hand.heads, **close)
    torch.testing.assert_close(torch.tensor(found.mlps[:layer]).double(), hand.mlps, **close)
    assert not found.heads[n:].any() and not found.mlps[layer:].any()
    assert found.embedding == pytest.approx(hand.embedding, abs=1e-4)
    assert found.bias == pytest.approx(hand.bias, abs=1e-4)
    assert found.ln_scale == pytest.approx(hand.scale, rel=1e-4)
    assert found.pre_activation == pytest.approx(plain.pre, abs=1e-4)
    assert found.activation == pytest.approx(plain.post, abs=1e-4)
    assert found.target.probability == pytest.approx(plain.probability, abs=1e-4)
    total = float(found.heads.sum() + found.mlps.sum()) + found.embedding + found.bias
    assert total == pytest.approx(found.pre_activation, abs=1e-4 * max(1.0, abs(total)))
    expected = plain.run.logits[-1].softmax(-1)
    np.testing.assert_allclose(found.probabilities, expected.numpy(), atol=1e-4)
    assert [t.rank for t in found.next_tokens] == [*range(1, 7)]
    for next_token in found.next_tokens:
        assert next_token.probability == found.probabilities[next_token.token_id]
    deltas = (found.delta_pre_activation, found.delta_activation, found.delta_probability)
    np.testing.assert_allclose(deltas, plain_deltas(*arguments), rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layer", [0, 2])
def test_each_head_alone(pair: Pair, kind: str, layer: int) -> None:
    """Every head that reaches, in flat order, as if it were removed in a run of its own."""
    blocks, neuron, means = Blocks(pair.model), NeuronId(layer, 5), some_means(pair)
    found = single_head_effects(blocks, PROMPT, neuron, 3, 3, kind, means=means)
    n = pair.model.shape.n_reaching_heads(layer)
    assert found.delta_pre_activation.shape == (n,)
    for flat in range(n):
        head = HeadId.from_flat(flat, pair.model.shape.n_heads)
        one = ablate_prompt(blocks, PROMPT, neuron, 3, 3, [head], kind, means=means)
        deltas = (one.delta_pre_activation, one.delta_activation, one.delta_probability)
        together = [values[flat] for values in found.__dict__.values()]
        np.testing.assert_allclose(together, deltas, rtol=0, atol=1e-5)


def test_the_clean_side_is_the_analysis_that_live_shows(pair: Pair) -> None:
    neuron = NeuronId(2, 5)
    clean = analyse_prompt(pair.model, PROMPT, neuron, 3, 3, AnalysisSpec())
    found = ablate_prompt(
        Blocks(pair.model), PROMPT, neuron, 3, 3, [HeadId(1, 2), HeadId(0, 1)], "zero-last"
    )
    assert found.heads_removed == (HeadId(0, 1), HeadId(1, 2))
    before = found.pre_activation - found.delta_pre_activation
    assert before == pytest.approx(clean.pre_activation, abs=1e-5)
    assert found.activation - found.delta_activation == pytest.approx(clean.activation, abs=1e-5)
    before = found.target.probability - found.delta_probability
    assert before == pytest.approx(clean.target.probability, abs=1e-6)
    # What was removed adds nothing; what stands below it is as it was, but for the divisor.
    assert found.heads[1, 2] == found.heads[0, 1] == 0.0
    ratio = clean.ln_scale / found.ln_scale
    assert found.embedding == pytest.approx(clean.embedding * ratio, abs=1e-5)
    assert found.heads[0, 0] == pytest.approx(float(clean.heads[0, 0]) * ratio, abs=1e-5)
    assert abs(found.heads[1, 0] - clean.heads[1, 0] * ratio) > 1e-5


def test_a_removed_head_contributes_what_replaces_it(pair: Pair) -> None:
    neuron, head, means = NeuronId(2, 5), HeadId(1, 2), some_means(pair)
    found = ablate_prompt(
        Blocks(pair.model), PROMPT, neuron, 3, None, [head], "mean-last", means=means
    )
    reader = pair.model.reader(neuron).heads[1, 2]
    expected = float(means.last[1, 2] @ reader) / found.ln_scale
    assert found.heads[1, 2] == pytest.approx(expected, abs=1e-5)


def test_means_of_prompts_one_by_one(pair: Pair) -> None:
    prompts = [[3, 9, 200], [41], [7, 7, 100, 12], [5, 6, 7]]
    found = prompt_means(Blocks(pair.model), prompts)
    assert found is not None
    runs = [pair.raw.run(pair.with_bos(prompt)).z for prompt in prompts]
    biases = torch.stack([pair.raw.value_bias(n) for n in range(pair.raw.n_layers)])
    last = torch.stack([z[:, -1] for z in runs]).mean(0) - biases
    everywhere = torch.cat([z[:, 1:] for z in runs], dim=1).mean(1) - biases
    torch.testing.assert_close(found.last.double(), last, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.everywhere.double(), everywhere, atol=1e-5, rtol=0)
    # Control: with BOS among the positions it would be another mean.
    with_bos = torch.cat([*runs], dim=1).mean(1) - biases
    assert (found.everywhere.double() - with_bos).abs().max() > 1e-3
    assert prompt_means(Blocks(pair.model), []) is None


def test_a_prompt_longer_than_the_context_keeps_its_end(gpt2_pair: Pair) -> None:
    prompt = [(37 * i) % (N_TOKENS - 1) + 1 for i in range(60)]
    cut = prompt[-(SIZES["context"] - 1) :]
    arguments = (NeuronId(2, 3), 9, None, [HeadId(1, 1)], "zero-all")
    blocks = Blocks(gpt2_pair.model)
    found, expected = (ablate_prompt(blocks, ids, *arguments) for ids in (prompt, cut))
    assert found.pre_activation == expected.pre_activation
    assert found.target == expected.target


def test_mistakes_are_named(gpt2_pair: Pair) -> None:
    blocks, neuron = Blocks(gpt2_pair.model), NeuronId(1, 5)
    for heads, kind, words in (
        ([], "zero-last", "expected heads"), ([HeadId(0, 0)], "half", "expected one of"),
        ([HeadId(0, 0)], "mean-all", "expected means"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            ablate_prompt(blocks, PROMPT, neuron, 3, None, heads, kind)
    with pytest.raises(ValueError, match="at least one token"):
        single_head_effects(blocks, [], neuron, 3, None, "zero-last")
