"""Attribution is exact: parts sum to the pre-activation, and equal those put together by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer.core.attribution import Attribution, attribute_heads
from explorer.core.types import NeuronId
from tests.conftest import N_PADDING_ROWS, N_TOKENS, SIZES
from tests.core.conftest import Pair

N_IDS = N_TOKENS + N_PADDING_ROWS
MODELS = st.sampled_from(["gpt2", "neox", "gpt2-other", "neox-other"])
PROMPTS = st.lists(st.integers(0, N_IDS - 1), min_size=1, max_size=SIZES["context"] - 1)
NEURONS = st.builds(NeuronId, st.integers(0, SIZES["layers"] - 1), st.integers(0, SIZES["mlp"] - 1))
MANY = settings(max_examples=60, deadline=None)


def tolerance(size: float) -> float:
    """What the contract allows in float32."""
    return 1e-4 * max(1.0, abs(size))


def attributed(pair: Pair, prompt: list[int], neuron: NeuronId):
    """Trace and parts of one prompt."""
    tokens, last = pair.model.batch([prompt])
    trace = pair.model.trace(tokens, last, [neuron])
    return trace, trace.attribute(slice(0, 1), pair.model.reader(neuron), neuron.layer)


@MANY
@given(name=MODELS, prompt=PROMPTS, neuron=NEURONS)
def test_parts_sum_to_the_pre_activation(
    zoo: dict[str, Pair], name: str, prompt: list[int], neuron: NeuronId
) -> None:
    trace, parts = attributed(zoo[name], prompt, neuron)
    pre = float(trace.pre_activation[0])
    total = parts.heads.sum() + parts.mlps.sum() + parts.embedding + parts.bias
    assert abs(float(total) - pre) <= tolerance(pre)
    assert torch.equal(parts.total, total)


@MANY
@given(name=MODELS, prompt=PROMPTS, neuron=NEURONS)
def test_every_part_equals_the_one_put_together_by_hand(
    zoo: dict[str, Pair], name: str, prompt: list[int], neuron: NeuronId
) -> None:
    pair = zoo[name]
    trace, parts = attributed(pair, prompt, neuron)
    run = pair.raw.run(pair.with_bos(prompt))
    hand = pair.raw.parts(run, len(prompt), neuron.layer, neuron.index)
    pre = float(run.pre[neuron.layer, len(prompt), neuron.index])
    close = {"atol": tolerance(pre), "rtol": 1e-4}
    torch.testing.assert_close(parts.heads[0], hand.heads, **close)
    torch.testing.assert_close(parts.mlps[0], hand.mlps, **close)
    assert abs(float(parts.embedding[0]) - hand.embedding) <= tolerance(pre)
    assert abs(float(parts.bias[0]) - hand.bias) <= tolerance(pre)
    assert abs(float(trace.ln_scale[0]) - hand.scale) <= tolerance(hand.scale)
    assert abs(float(trace.pre_activation[0]) - pre) <= tolerance(pre)


def test_control_no_part_can_be_left_out(pair: Pair) -> None:
    """Each head, MLP, the embedding and the bias matter, and so does the division by the scale."""
    neuron = NeuronId(SIZES["layers"] - 1, 5)
    trace, parts = attributed(pair, [9, 250, 31, 77, 402], neuron)
    pre, scale = float(trace.pre_activation[0]), float(trace.ln_scale[0])
    pieces = [*parts.heads.flatten(), *parts.mlps.flatten(), parts.embedding[0], parts.bias[0]]
    reach = pair.model.shape.n_reaching_heads(neuron.layer)
    assert len(pieces) == reach + neuron.layer + 2
    for piece in pieces:
        assert abs(float(parts.total[0] - piece) - pre) > tolerance(pre)
    b_in = float(pair.model.b_in(neuron.layer)[neuron.index])
    undivided = (float(parts.total[0]) - b_in) * scale + b_in
    assert abs(undivided - pre) > tolerance(pre)
    # The neuron's own bias is the one part that the layer norm does not divide.
    all_divided = float(parts.total[0]) - b_in + b_in / scale
    assert abs(all_divided - pre) > tolerance(pre)


def test_own_layer_head_reaches_through_the_frozen_norm_in_sequential_blocks_only(
    pair: Pair,
) -> None:
    """Zeroing a head of the neuron's own layer in the running model takes away its attribution, or
    nothing where attention and MLP run in parallel."""
    prompt, neuron = [14, 300, 8, 121, 46, 499], NeuronId(1, 7)
    raw, at = pair.raw, len(prompt)
    _, parts = attributed(pair, prompt, neuron)
    run = raw.run(pair.with_bos(prompt))
    clean = run.mlp_in[neuron.layer, at]
    scale = raw.scale(clean, neuron.layer)
    before = raw.pre_activation(clean, neuron.layer, neuron.index, scale)
    own_layer_counts = parts.heads.shape[1] == neuron.layer + 1
    assert own_layer_counts == (not raw.is_parallel)
    for head in range(raw.n_heads):
        nothing = raw.value_bias(neuron.layer)[head]
        with raw.head_replaced(neuron.layer, head, at, nothing):
            changed = raw.run(pair.with_bos(prompt))
        residual = changed.mlp_in[neuron.layer, at]
        taken = before - raw.pre_activation(residual, neuron.layer, neuron.index, scale)
        # Control: the head was taken out of the running model, whatever its neuron saw of it.
        assert float((changed.logits[at] - run.logits[at]).abs().max()) > 1e-3
        if raw.is_parallel:
            assert taken == 0.0
        else:
            assert abs(taken - float(parts.heads[0, neuron.layer, head])) <= tolerance(before)
            assert abs(taken) > 1e-3


def test_an_earlier_head_is_counted_on_its_direct_path_alone(pair: Pair) -> None:
    """Taking an earlier head out of the residual with everything else as it was takes away its
    attribution; taking it out of the running model takes away something else: direct is not causal."""
    prompt, neuron = [14, 300, 8, 121, 46, 499], NeuronId(2, 11)
    raw, at = pair.raw, len(prompt)
    _, parts = attributed(pair, prompt, neuron)
    run = raw.run(pair.with_bos(prompt))
    clean = run.mlp_in[neuron.layer, at]
    scale = raw.scale(clean, neuron.layer)
    before = raw.pre_activation(clean, neuron.layer, neuron.index, scale)
    causal = []
    for head in range(raw.n_heads):
        nothing = raw.value_bias(0)[head]
        written = (run.z[0, at, head] - nothing) @ raw.w_o(0)[head]
        direct = before - raw.pre_activation(clean - written, neuron.layer, neuron.index, scale)
        assert abs(direct - float(parts.heads[0, 0, head])) <= tolerance(before)
        with raw.head_replaced(0, head, at, nothing):
            rerun = raw.run(pair.with_bos(prompt))
        causal.append(before - float(rerun.pre[neuron.layer, at, neuron.index]))
    gaps = torch.tensor(causal) - parts.heads[0, 0].float()
    assert float(gaps.abs().max()) > 0.01


def test_all_heads_for_many_neurons_at_once_equals_one_at_a_time(pair: Pair) -> None:
    shape, prompt = pair.model.shape, [3, 77, 210, 5]
    neurons = [NeuronId(layer, i) for layer in range(shape.n_layers) for i in (0, 3, 9)]
    readers = torch.zeros(len(neurons), shape.n_layers, shape.n_heads, shape.d_head)
    expected = torch.zeros(len(neurons), shape.n_layers, shape.n_heads, dtype=torch.float64)
    scales = torch.zeros(len(neurons))
    z = torch.zeros(shape.n_layers, shape.n_heads, shape.d_head)
    for row, neuron in enumerate(neurons):
        trace, parts = attributed(pair, prompt, neuron)
        reader, n = pair.model.reader(neuron), shape.n_reaching_layers(neuron.layer)
        readers[row, :n] = reader.heads
        expected[row, :n] = parts.heads[0]
        scales[row] = trace.ln_scale[0]
        z[:n] = trace.z[0]
    found = attribute_heads(z, readers, scales)
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)
    for row, neuron in enumerate(neurons):
        n = shape.n_reaching_layers(neuron.layer)
        assert bool((found[row, n:] == 0).all())
        assert bool((found[row, :n] != 0).all())


def test_contributions_that_are_not_finite_are_refused() -> None:
    good = {
        "heads": torch.ones(1, 2, 3), "mlps": torch.ones(1, 1),
        "embedding": torch.ones(1), "bias": torch.ones(1),
    }  # fmt: skip
    assert float(Attribution(**good).total[0]) == 9.0
    for name in good:
        for bad in (torch.nan, torch.inf):
            with pytest.raises(ValueError, match=name):
                Attribution(**{**good, name: good[name] * bad})
