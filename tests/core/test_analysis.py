"""Live analysis against one plain run at a time."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer.core.analysis import (
    AnalysisSpec,
    active_of,
    analyse_prompt,
    suffix_curve,
    token_ranks,
)
from explorer.core.types import ActiveRule, HeadId, NeuronId
from tests.conftest import N_PADDING_ROWS, N_TOKENS, SIZES
from tests.core.conftest import Pair

N_IDS = N_TOKENS + N_PADDING_ROWS
IDS = st.integers(0, N_IDS - 1)
PROMPTS = st.lists(IDS, min_size=1, max_size=SIZES["context"] - 1)
NEURONS = st.builds(NeuronId, st.integers(0, SIZES["layers"] - 1), st.integers(0, SIZES["mlp"] - 1))
MODELS = st.sampled_from(["gpt2", "neox"])
SOME = settings(max_examples=40, deadline=None)
FEW = settings(max_examples=12, deadline=None)
SPEC = AnalysisSpec(n_next_tokens=6)


def one_by_one(pair: Pair, prompt: list[int], neuron: NeuronId) -> list[float]:
    """Activation at the last token of each suffix, from 1 token to all, each in a run of its own."""
    suffixes = [prompt[len(prompt) - n :] for n in range(1, len(prompt) + 1)]
    runs = [pair.raw.run(pair.with_bos(suffix)) for suffix in suffixes]
    return [float(run.post[neuron.layer, -1, neuron.index]) for run in runs]


@SOME
@given(name=MODELS, prompt=PROMPTS, neuron=NEURONS, token_id=IDS, data=st.data())
def test_analysis_equals_a_plain_run(
    zoo: dict[str, Pair],
    name: str,
    prompt: list[int],
    neuron: NeuronId,
    token_id: int,
    data: st.DataObject,
) -> None:
    """At any position, nothing to its right counts."""
    pair, shape = zoo[name], zoo[name].model.shape
    position = data.draw(st.integers(0, len(prompt) - 1))
    found = analyse_prompt(pair.model, prompt, neuron, token_id, position, SPEC)
    run, layer = pair.raw.run(pair.with_bos(prompt)), neuron.layer
    hand = pair.raw.parts(run, position + 1, layer, neuron.index)
    n = found.n_reaching_layers
    assert n == shape.n_reaching_layers(layer)
    assert (found.token_ids, found.n_cut, found.position) == (tuple(prompt), 0, position)
    close = {"atol": 1e-4, "rtol": 1e-4}
    torch.testing.assert_close(torch.tensor(found.heads[:n]).double(), hand.heads, **close)
    torch.testing.assert_close(torch.tensor(found.mlps[:layer]).double(), hand.mlps, **close)
    assert not found.heads[n:].any()
    assert not found.mlps[layer:].any()
    assert found.embedding == pytest.approx(hand.embedding, abs=1e-4)
    assert found.bias == pytest.approx(hand.bias, abs=1e-4)
    assert found.ln_scale == pytest.approx(hand.scale, rel=1e-4)
    total = float(found.heads.sum() + found.mlps.sum()) + found.embedding + found.bias
    assert total == pytest.approx(found.pre_activation, abs=1e-4 * max(1, abs(total)))
    post = run.post[layer, 1:, neuron.index]
    torch.testing.assert_close(torch.tensor(found.activations).double(), post, **close)
    assert found.activation == found.activations[position]
    assert found.pre_activation == pytest.approx(
        float(run.pre[layer, position + 1, neuron.index]), abs=1e-4
    )


@SOME
@given(name=MODELS, prompt=PROMPTS, token_id=IDS)
def test_next_tokens_are_the_most_probable_of_the_whole_vocabulary(
    zoo: dict[str, Pair], name: str, prompt: list[int], token_id: int
) -> None:
    pair = zoo[name]
    spec = AnalysisSpec(n_next_tokens=N_IDS)
    found = analyse_prompt(pair.model, prompt, NeuronId(0, 0), token_id, None, spec)
    logits = pair.raw.run(pair.with_bos(prompt)).logits[-1]
    expected = logits.softmax(-1)
    # Padding rows stay in the softmax: all ids are there, once, and sum to 1.
    assert sorted(token.token_id for token in found.next_tokens) == list(range(N_IDS))
    assert sum(token.probability for token in found.next_tokens) == pytest.approx(1, abs=1e-5)
    probabilities = [token.probability for token in found.next_tokens]
    assert probabilities == sorted(probabilities, reverse=True)
    assert found.next_tokens[0].rank == 1
    for token in [*found.next_tokens[:10], found.target]:
        assert token.probability == pytest.approx(float(expected[token.token_id]), rel=1e-3)
        higher = int((logits > logits[token.token_id] + 1e-5).sum())
        not_lower = int((logits > logits[token.token_id] - 1e-5).sum())
        assert higher < token.rank <= max(not_lower, higher + 1)
    assert found.target.token_id == token_id
    assert found.target == next(t for t in found.next_tokens if t.token_id == token_id)


def test_ranks_count_the_tokens_with_a_higher_logit() -> None:
    logits = torch.tensor([[1.0, 3.0, 3.0, -2.0], [0.0, 0.0, 0.0, 0.0]])
    probability, rank = token_ranks(logits, [0, 3])
    assert rank.tolist() == [3, 1]
    assert token_ranks(logits, [2, 0])[1].tolist() == [1, 1]
    assert token_ranks(logits, [3, 0])[1].tolist() == [4, 1]
    assert probability[1].item() == 0.25
    assert probability[0].item() == pytest.approx(float(logits[0].softmax(-1)[0]))


@FEW
@given(
    name=MODELS, prompt=st.lists(IDS, min_size=1, max_size=30), neuron=NEURONS,
    ratio=st.sampled_from([0.2, 0.5, 0.8, 1.0]), longest=st.sampled_from([1, 4, 9, 100]),
)  # fmt: skip
def test_the_curve_equals_one_run_for_each_suffix(
    zoo: dict[str, Pair], name: str, prompt: list[int], neuron: NeuronId, ratio: float, longest: int
) -> None:
    pair = zoo[name]
    spec = AnalysisSpec(keep_ratio=ratio, max_prompt_tokens=longest)
    found = suffix_curve(pair.model, prompt, neuron, spec)
    expected = one_by_one(pair, prompt, neuron)
    for length, activation in zip(found.lengths, found.activations, strict=True):
        assert activation == pytest.approx(expected[length - 1], abs=1e-4, rel=1e-4)
    assert found.whole_activation == found.activations[-1]
    assert found.keep_ratio == ratio
    n = len(prompt)
    evaluated = {*range(1, min(n, longest) + 1), n}
    if found.kept is not None:
        evaluated |= {f * found.kept for f in (2, 4, 8) if f * found.kept < n}
    assert found.lengths == tuple(sorted(evaluated))
    threshold = ratio * found.whole_activation
    by_length = dict(zip(found.lengths, found.activations, strict=True))
    enough = [k for k in range(1, min(n, longest) + 1) if by_length[k] >= threshold]
    is_on = found.whole_activation > 0
    assert found.kept == (min(enough, default=None) if is_on else None)


def neuron_that_is_on(pair: Pair, prompt: list[int]) -> NeuronId:
    """The most excited neuron of the last layer at the last token."""
    post = pair.raw.run(pair.with_bos(prompt)).post[-1, -1]
    return NeuronId(pair.raw.n_layers - 1, int(post.argmax()))


def test_positions_restart_with_every_suffix(pair: Pair) -> None:
    """A suffix is a prompt of its own with BOS before it, not a masked piece of the longer one."""
    prompt = [17, 230, 45, 301, 88, 12, 409, 5]
    neuron = neuron_that_is_on(pair, prompt)
    found = suffix_curve(pair.model, prompt, neuron, SPEC)
    alone = analyse_prompt(pair.model, prompt[-3:], neuron, 0, None, SPEC)
    assert found.activations[2] == pytest.approx(alone.activation, abs=1e-5)
    # Control: cutting the tokens away changes the activation, for this neuron on this prompt.
    assert abs(found.activations[2] - found.whole_activation) > 1e-2


def test_a_prompt_longer_than_the_context_keeps_its_end(pair: Pair) -> None:
    prompt = [(37 * i) % N_IDS for i in range(60)]
    n_kept = SIZES["context"] - 1
    neuron = NeuronId(2, 3)
    found = analyse_prompt(pair.model, prompt, neuron, 9, None, SPEC)
    cut = analyse_prompt(pair.model, prompt[-n_kept:], neuron, 9, None, SPEC)
    assert (found.n_cut, cut.n_cut) == (60 - n_kept, 0)
    assert found.token_ids == tuple(prompt[-n_kept:])
    assert found.position == n_kept - 1
    assert found.pre_activation == cut.pre_activation
    assert found.target == cut.target
    curve = suffix_curve(pair.model, prompt, neuron, SPEC)
    assert curve == suffix_curve(pair.model, prompt[-n_kept:], neuron, SPEC)
    assert curve.lengths == tuple(range(1, n_kept + 1))
    # Exactly as long as the context allows: nothing is cut; one more: one is.
    assert analyse_prompt(pair.model, prompt[:n_kept], neuron, 9, None, SPEC).n_cut == 0
    assert analyse_prompt(pair.model, prompt[: n_kept + 1], neuron, 9, None, SPEC).n_cut == 1


def test_a_prompt_of_one_token(pair: Pair) -> None:
    prompt = [33]
    neuron = neuron_that_is_on(pair, prompt)
    found = analyse_prompt(pair.model, prompt, neuron, 1, None, SPEC)
    assert (found.position, len(found.activations)) == (0, 1)
    curve = suffix_curve(pair.model, prompt, neuron, SPEC)
    assert (curve.lengths, curve.kept) == ((1,), 1)
    assert curve.activations[0] == pytest.approx(found.activation, abs=1e-6)
    assert found.activation > 0


def test_a_neuron_that_is_off_keeps_nothing(pair: Pair) -> None:
    prompt = [33, 8, 120]
    post = pair.raw.run(pair.with_bos(prompt)).post[-1, -1]
    off = NeuronId(pair.raw.n_layers - 1, int(post.argmin()))
    curve = suffix_curve(pair.model, prompt, off, SPEC)
    assert curve.whole_activation < 0
    assert curve.kept is None
    assert curve.lengths == (1, 2, 3)


def test_positions_out_of_range_mean_the_last_one(pair: Pair) -> None:
    prompt, neuron = [4, 5, 6], NeuronId(1, 1)
    last = analyse_prompt(pair.model, prompt, neuron, 0, 2, SPEC)
    for position in (None, 3, 99, -1):
        found = analyse_prompt(pair.model, prompt, neuron, 0, position, SPEC)
        assert (found.position, found.pre_activation) == (2, last.pre_activation)
    first = analyse_prompt(pair.model, prompt, neuron, 0, 0, SPEC)
    assert first.pre_activation != last.pre_activation


def test_no_token_is_a_mistake(gpt2_pair: Pair) -> None:
    with pytest.raises(ValueError, match="at least one token"):
        analyse_prompt(gpt2_pair.model, [], NeuronId(0, 0), 0, None, SPEC)
    with pytest.raises(ValueError, match="at least one token"):
        suffix_curve(gpt2_pair.model, [], NeuronId(0, 0), SPEC)


@SOME
@given(name=MODELS, prompt=PROMPTS, neuron=NEURONS, k=st.integers(1, 4))
def test_active_heads_follow_the_rule_of_the_spec(
    zoo: dict[str, Pair], name: str, prompt: list[int], neuron: NeuronId, k: int
) -> None:
    """Over the heads that can reach, and named by layer and index."""
    model = zoo[name].model
    spec = AnalysisSpec(active_rule=ActiveRule(k))
    found = analyse_prompt(model, prompt, neuron, 0, None, spec)
    reaching = found.heads[: found.n_reaching_layers].flatten()
    best = sorted(range(len(reaching)), key=lambda i: (-reaching[i], i))[:k]
    n_heads = model.shape.n_heads
    expected = [HeadId(*divmod(i, n_heads)) for i in sorted(best) if reaching[i] > 0]
    assert list(found.active) == expected


def test_active_of_names_heads_by_layer_and_index() -> None:
    heads = torch.zeros(2, 3, 4)
    heads[0, 2, 1] = 5.0
    heads[1, 0, 3] = 5.0
    assert active_of(heads, ActiveRule()) == [[HeadId(2, 1)], [HeadId(0, 3)]]


def test_the_spec_is_read_from_a_manifest() -> None:
    facts = {"keep_ratio": 0.7, "active_rule": "top:3", "max_prompt_tokens": 12, "other": None}
    assert AnalysisSpec.from_manifest(facts) == AnalysisSpec(0.7, ActiveRule(3), 12)
    for missing in ("keep_ratio", "active_rule", "max_prompt_tokens"):
        with pytest.raises(KeyError, match=missing):
            AnalysisSpec.from_manifest({k: v for k, v in facts.items() if k != missing})
