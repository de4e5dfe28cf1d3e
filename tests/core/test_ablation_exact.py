"""Batched removals equal removals done one by one, the whole model each time, in float64."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from explorer.core.ablation import KINDS, NEURON, HeadMeans, Removal
from explorer.core.ablation_effects import removal_effects
from explorer.core.errors import UnsupportedModelError
from explorer.core.model import LanguageModel, load_model
from explorer.core.model_blocks import Blocks
from explorer.core.types import HeadId, NeuronId
from tests.conftest import N_TOKENS, SIZES
from tests.core.conftest import Pair
from tests.core.plain_removal import plain_deltas, run_without

IDS = st.integers(1, N_TOKENS - 1)
PROMPTS = st.lists(IDS, min_size=1, max_size=12)
LONG = st.lists(IDS, min_size=SIZES["context"] - 1, max_size=SIZES["context"] - 1)
NEURONS = st.builds(NeuronId, st.integers(0, SIZES["layers"] - 1), st.integers(0, SIZES["mlp"] - 1))
HEADS = st.builds(HeadId, st.integers(0, SIZES["layers"] - 1), st.integers(0, SIZES["heads"] - 1))
MODELS = st.sampled_from(["gpt2", "neox", "gpt2-other", "neox-other"])
SOME = settings(max_examples=25, deadline=None)


def some_means(model: LanguageModel, seed: int = 0) -> HeadMeans:
    """Vectors of about the size of the heads' own, different for each head and for the two kinds."""
    shape = (model.shape.n_layers, model.shape.n_heads, model.shape.d_head)
    last, everywhere = torch.randn((2, *shape), generator=torch.Generator().manual_seed(seed))
    return HeadMeans(last, everywhere)


def measured(
    model: LanguageModel, removals: Sequence[Removal], means: HeadMeans | None, max_tokens: int
) -> np.ndarray:
    """`[removal 3]`."""
    found = np.full((len(removals), 3), np.nan)
    neurons = {removal.neuron: means for removal in removals}
    for places, effects in removal_effects(Blocks(model), removals, neurons, max_tokens):
        found[places] = np.stack([*effects.__dict__.values()], axis=1)
    return found


def plainly(
    pair: Pair, removal: Removal, means: HeadMeans, where: range | None = None
) -> list[float]:
    vectors: Tensor = means.last if removal.kind == "mean-last" else means.everywhere
    return [*plain_deltas(
        pair.raw, pair.with_bos([*removal.prompt]), [(h.layer, h.index) for h in removal.heads],
        removal.kind, vectors, (removal.neuron.layer, removal.neuron.index), removal.token_id, where,
    )]  # fmt: skip


@SOME
@given(name=MODELS, prompt=PROMPTS, neuron=NEURONS, head=HEADS, token=IDS)
def test_one_head_in_each_kind(
    zoo: dict[str, Pair], name: str, prompt: list[int], neuron: NeuronId, head: HeadId, token: int
) -> None:
    """Any head: also one that cannot reach the neuron, and then changes the prediction alone."""
    pair = zoo[name]
    means = some_means(pair.model)
    removals = [Removal(tuple(prompt), neuron, token, kind, (head,)) for kind in KINDS]
    expected = [plainly(pair, removal, means) for removal in removals]
    found = measured(pair.model, removals, means, 4096)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    if head.layer >= pair.model.shape.n_reaching_layers(neuron.layer):
        assert np.abs(found[:, :2]).max() < 1e-5


@SOME
@given(name=MODELS, prompt=PROMPTS, neuron=NEURONS, token=IDS,
       heads=st.sets(HEADS, min_size=2, max_size=12))  # fmt: skip
def test_several_heads_at_once_each_with_its_own_replacement(
    zoo: dict[str, Pair], name: str, prompt: list[int], neuron: NeuronId, token: int,
    heads: set[HeadId],
) -> None:  # fmt: skip
    pair = zoo[name]
    means = some_means(pair.model)
    removals = [Removal(tuple(prompt), neuron, token, kind, tuple(heads)) for kind in KINDS]
    expected = [plainly(pair, removal, means) for removal in removals]
    np.testing.assert_allclose(
        measured(pair.model, removals, means, 4096), expected, rtol=0, atol=1e-4
    )


@SOME
@given(name=MODELS, prompt=PROMPTS, neuron=NEURONS, token=IDS)
def test_the_neuron_itself(
    zoo: dict[str, Pair], name: str, prompt: list[int], neuron: NeuronId, token: int
) -> None:
    pair = zoo[name]
    removal = Removal(tuple(prompt), neuron, token, NEURON)
    means = some_means(pair.model)
    (found,) = measured(pair.model, [removal], None, 4096)
    _, _, probability = plainly(pair, removal, means)
    ids = pair.with_bos(prompt)
    clean = run_without(pair.raw, ids, (), "zero-last", means.last, (neuron.layer, neuron.index), 0)
    # What it receives stays, what it gives is gone.
    np.testing.assert_allclose(found, [0.0, -clean.post, probability], rtol=0, atol=1e-4)


@settings(max_examples=3, deadline=None)
@given(name=MODELS, prompt=LONG, neuron=NEURONS, head=HEADS)
def test_prompts_as_long_as_the_context(
    zoo: dict[str, Pair], name: str, prompt: list[int], neuron: NeuronId, head: HeadId
) -> None:
    pair = zoo[name]
    means = some_means(pair.model)
    removals = [Removal(tuple(prompt), neuron, 7, kind, (head,)) for kind in KINDS]
    expected = [plainly(pair, removal, means) for removal in removals]
    np.testing.assert_allclose(
        measured(pair.model, removals, means, 4096), expected, rtol=0, atol=1e-4
    )


def mixed_removals(pair: Pair) -> list[Removal]:
    """Prompts of several lengths, neurons of all layers, all kinds, one head and many."""
    generator = torch.Generator().manual_seed(4)
    draw = lambda n: int(torch.randint(n, (1,), generator=generator))  # noqa: E731
    removals = []
    for length in (1, 3, 3, 3, 8, 8, 2):
        prompt = tuple(1 + draw(N_TOKENS - 1) for _ in range(length))
        neuron = NeuronId(2 - draw(6) // 4, draw(64))
        for kind in KINDS:
            for n in (1, 1, 3):
                heads = tuple({HeadId(draw(3), draw(4)) for _ in range(n)})
                removals.append(Removal(prompt, neuron, draw(N_TOKENS), kind, heads))
        removals.append(Removal(prompt, neuron, draw(N_TOKENS), NEURON))
    return removals


def test_many_removals_together(pair: Pair) -> None:
    """Prompts, layers and kinds mixed in one batch, in several, or alone: the same effects."""
    means = some_means(pair.model)
    removals = mixed_removals(pair)
    expected = np.array([plainly(pair, removal, means) for removal in removals])
    expected[[r.kind == NEURON for r in removals], 0] = 0.0
    for max_tokens in (1, 40, 4096):
        found = measured(pair.model, removals, means, max_tokens)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    # The comparison means something: effects are large, and few removals' are alike.
    assert np.median(np.abs(expected).max(1)) > 0.05
    assert (np.abs(found - np.roll(expected, 1, axis=0)).max(1) > 1e-3).mean() > 0.8


def test_a_head_replaced_by_itself_changes_nothing(pair: Pair) -> None:
    prompt, neuron = [17, 230, 45, 301, 88], NeuronId(2, 5)
    tokens, last = pair.model.batch([prompt])
    trace = pair.model.trace(tokens, last, [neuron])
    own = HeadMeans(trace.z[0], trace.z[0])
    reach = pair.model.shape.n_reaching_layers(2)
    heads = [HeadId(layer, h) for layer in range(reach) for h in range(4)]
    removals = [Removal(tuple(prompt), neuron, 3, "mean-last", (head,)) for head in heads]
    removals.append(Removal(tuple(prompt), neuron, 3, "mean-last", tuple(heads)))
    assert np.abs(measured(pair.model, removals, own, 4096)).max() < 1e-5
    # Control: by another head's, it changes something.
    swapped = HeadMeans(own.last.roll(1, 1), own.everywhere)
    assert np.abs(measured(pair.model, removals, swapped, 4096)[:, 0]).min() > 1e-4


def test_control_zero_all_takes_bos_too_and_mean_all_leaves_it(pair: Pair) -> None:
    prompt, neuron, head = (17, 230, 45, 301, 88), NeuronId(2, 5), HeadId(0, 1)
    means = some_means(pair.model)
    for kind, wrong in (("zero-all", range(1, 6)), ("mean-all", range(6))):
        removal = Removal(prompt, neuron, 3, kind, (head,))
        (found,) = measured(pair.model, [removal], means, 4096)
        np.testing.assert_allclose(found, plainly(pair, removal, means), rtol=0, atol=1e-4)
        assert np.abs(found - plainly(pair, removal, means, wrong)).max() > 1e-3


def test_in_the_last_layer_that_reaches_last_and_all_agree(pair: Pair) -> None:
    """Other positions' heads of that layer cannot reach the neuron any more; of a lower one they can."""
    prompt, neuron = (17, 230, 45, 301, 88), NeuronId(1, 5)
    top = pair.model.shape.n_reaching_layers(1) - 1
    for layer, agree in ((top, True), (0, top == 0)):
        removals = [
            Removal(prompt, neuron, 3, kind, (HeadId(layer, 2),))
            for kind in ("zero-last", "zero-all")
        ]
        last, everywhere = measured(pair.model, removals, None, 4096)[:, 0]
        assert (abs(last - everywhere) < 1e-5) == agree


def test_layer_norms_are_recomputed(pair: Pair) -> None:
    """The effect is not minus the contribution at the frozen divisor, even where the head has no
    other way to the neuron than the direct one."""
    prompt, neuron = (17, 230, 45, 301, 88), NeuronId(1, 5)
    layer = pair.model.shape.n_reaching_layers(1) - 1
    heads = [HeadId(layer, h) for h in range(4)]
    removals = [Removal(prompt, neuron, 3, "zero-last", (head,)) for head in heads]
    found = measured(pair.model, removals, None, 4096)[:, 0]
    tokens, last = pair.model.batch([prompt])
    trace = pair.model.trace(tokens, last, [neuron])
    parts = trace.attribute(slice(0, 1), pair.model.reader(neuron), 1)
    direct = parts.heads[0, layer].numpy()
    assert np.abs(found + direct).max() > 1e-3
    # At the divisor that the re-run has, it is exactly minus the contribution, where nothing lies
    # between head and neuron but the layer norm.
    if not pair.model.shape.parallel_blocks:
        raw = pair.raw
        for head, delta in zip(heads, found, strict=True):
            run = run_without(
                raw, pair.with_bos([*prompt]), [(head.layer, head.index)], "zero-last",
                some_means(pair.model).last, (1, 5), 3,
            ).run  # fmt: skip
            ratio = float(trace.ln_scale[0]) / raw.scale(run.mlp_in[1, -1], 1)
            rest = (
                float(trace.pre_activation[0]) - float(pair.model.b_in(1)[5]) - direct[head.index]
            )
            pre = rest * ratio + float(pair.model.b_in(1)[5])
            assert delta == pytest.approx(pre - float(trace.pre_activation[0]), abs=1e-4)


def test_mean_kinds_without_means_are_a_mistake(gpt2_pair: Pair) -> None:
    removal = Removal((5, 6), NeuronId(1, 5), 3, "mean-last", (HeadId(0, 0),))
    with pytest.raises(ValueError, match="expected means for L1N5"):
        measured(gpt2_pair.model, [removal], None, 4096)


def test_a_model_that_steps_otherwise_is_refused(pair: Pair) -> None:
    """Blocks that do not give what the library gives are never used."""
    model = load_model(pair.folder, device="cpu")
    Blocks(model)
    model.__dict__["w_v"] = 1.1 * model.w_v
    with pytest.raises(UnsupportedModelError, match=r"predictions differ.*choose a GPT-2"):
        Blocks(model)
    del model._bridge.blocks[1].mlp.original_component.act
    with pytest.raises(UnsupportedModelError, match="cannot be run step by step"):
        Blocks(model)
