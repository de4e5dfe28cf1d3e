"""Replacements: streamed sums equal sums taken whole, a neuron's own prompts stay out, edits hit what
they name."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from explorer.core.ablation import (
    KINDS,
    NEURON,
    HeadEdits,
    HeadMeans,
    Removal,
    Replacements,
    ReplacementSums,
    is_everywhere,
    replaced,
)
from explorer.core.types import HeadId, NeuronId

SHAPE = (2, 3, 4)
NEURONS = [NeuronId(1, n) for n in range(4)]
MANY = settings(max_examples=60, deadline=None)


def prompts(seed: int, n: int) -> list[tuple[NeuronId, Tensor]]:
    """Prompts of 1 to 6 positions after BOS, each kept by a neuron: `[pos layer head d_head]`."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 7, (n,), generator=generator).tolist()
    owners = torch.randint(len(NEURONS), (n,), generator=generator).tolist()
    return [
        (NEURONS[owner], torch.randn((length, *SHAPE), generator=generator))
        for owner, length in zip(owners, lengths, strict=True)
    ]


def summed(batch: list[tuple[NeuronId, Tensor]]) -> ReplacementSums:
    sums = ReplacementSums()
    if batch:
        sums.update(
            [neuron for neuron, _ in batch],
            torch.stack([z[-1] for _, z in batch]),
            torch.stack([z.double().sum(0) for _, z in batch]),
            [len(z) for _, z in batch],
        )
    return sums


def close(found: HeadMeans | None, chosen: list[Tensor]) -> bool:
    """Whether means are those over these prompts, taken at once."""
    if not chosen:
        return found is None
    assert found is not None
    last = torch.stack([z[-1] for z in chosen]).double().mean(0)
    everywhere = torch.cat(chosen).double().mean(0)
    return torch.allclose(found.last.double(), last, atol=1e-6) and torch.allclose(
        found.everywhere.double(), everywhere, atol=1e-6
    )


@MANY
@given(
    seed=st.integers(0, 999), n=st.integers(0, 12), cuts=st.lists(st.integers(0, 12), max_size=4)
)
def test_means_of_all_others_however_streamed(seed: int, n: int, cuts: list[int]) -> None:
    found = prompts(seed, n)
    bounds = sorted({0, n, *(min(cut, n) for cut in cuts)})
    parts = [summed(found[a:b]) for a, b in itertools.pairwise(bounds)]
    left, right = ReplacementSums(), ReplacementSums()
    for part in parts:
        left.merge(part)
    for part in reversed(parts):
        # The other association, and the other order.
        joined = ReplacementSums()
        joined.merge(part)
        joined.merge(right)
        right = joined
    for sums in (left, right, summed(found)):
        means = sums.result()
        assert close(means.over_all(), [z for _, z in found])
        for neuron in NEURONS:
            assert close(means.without(neuron), [z for owner, z in found if owner != neuron])


def test_each_position_weighs_the_same_and_each_keeping_counts() -> None:
    long, short = torch.ones(3, *SHAPE), torch.full((1, *SHAPE), 5.0)
    means = summed([(NEURONS[0], long), (NEURONS[1], short), (NEURONS[2], short)]).result()
    without = means.without(NEURONS[3])
    assert without is not None
    # Prompts weigh the same at their last positions, positions everywhere; the short one counts twice.
    assert float(without.last.mean()) == pytest.approx((1 + 5 + 5) / 3)
    assert float(without.everywhere.mean()) == pytest.approx((3 * 1 + 5 + 5) / 5)


def test_without_another_neuron_there_is_no_mean() -> None:
    means = summed([(NEURONS[0], torch.ones(2, *SHAPE))]).result()
    assert means.without(NEURONS[0]) is None
    assert means.without(NEURONS[1]) is not None
    assert ReplacementSums().result().over_all() is None


def test_results_do_not_change_what_was_summed() -> None:
    sums = summed(prompts(3, 9))
    first = sums.result().over_all()
    sums.merge(summed(prompts(4, 9)))
    second = sums.result().over_all()
    again = sums.result().over_all()
    assert first is not None and second is not None and again is not None
    assert torch.equal(second.last, again.last)
    assert not torch.equal(first.last, second.last)
    assert close(second, [z for _, z in prompts(3, 9) + prompts(4, 9)])


def test_counts_that_cannot_be_are_refused() -> None:
    one = torch.zeros(SHAPE)
    with pytest.raises(ValueError, match="a position or more a prompt, got 2, 1"):
        ReplacementSums().add(NEURONS[0], one, one, 2, 1)
    with pytest.raises(ValueError, match="expected finite"):
        HeadMeans(one, one + float("nan"))
    with pytest.raises(ValueError, match="expected one shape"):
        HeadMeans(one, one[:1])


def test_a_removal_is_heads_in_a_kind_or_the_neuron_alone() -> None:
    heads = (HeadId(1, 2), HeadId(0, 3))
    removal = Removal((4, 5), NeuronId(1, 0), 9, "zero-all", heads)
    assert removal.first_layer == 0
    assert Removal((4,), NeuronId(1, 0), 9, NEURON).first_layer == 1
    assert [is_everywhere(kind) for kind in (*KINDS, NEURON)] == [False, True, False, True, False]
    for kind, chosen in (("zero", heads), (NEURON, heads), ("mean-all", ())):
        with pytest.raises(ValueError, match="expected"):
            Removal((4, 5), NeuronId(1, 0), 9, kind, chosen)
    with pytest.raises(ValueError, match="at least one token"):
        Removal((), NeuronId(1, 0), 9, NEURON)


def test_replacements_are_looked_up_by_neuron_kind_layer_and_head() -> None:
    means = {n: HeadMeans(*torch.randn((2, *SHAPE))) for n in NEURONS[:2]}
    table = Replacements(3, 3, 4, means.items(), torch.device("cpu"))
    for neuron, kind, head in itertools.product(NEURONS[:2], KINDS, (HeadId(0, 2), HeadId(1, 1))):
        row = table.row(Removal((1,), neuron, 0, kind, (head,)))
        (found,) = table.take(torch.tensor([row]), head.layer, torch.tensor([head.index]))
        mean = means[neuron].last if kind == "mean-last" else means[neuron].everywhere
        expected = mean[head.layer, head.index] if kind.startswith("mean") else torch.zeros(4)
        assert torch.equal(found, expected)
    with pytest.raises(ValueError, match="expected means for L1N3"):
        table.row(Removal((1,), NEURONS[3], 0, "mean-all", (HeadId(0, 0),)))


@MANY
@given(first=st.integers(0, 1), keeps=st.lists(st.booleans(), min_size=3, max_size=3))
def test_edits_change_the_named_heads_of_the_named_rows_alone(
    first: int, keeps: list[bool]
) -> None:
    z = torch.randn(3, 4, 3, 2)
    before = z.clone()
    rows, heads = [0, 0, 2], [0, 2, 1]
    edits = HeadEdits(
        torch.tensor(rows), torch.tensor(heads), torch.randn(3, 2), torch.tensor(keeps)
    )
    found = replaced(z, edits, first)
    assert torch.equal(z, before)
    for row, pos, head in itertools.product(range(3), range(4), range(3)):
        expected = z[row, pos, head]
        if (row, head) in zip(rows, heads, strict=True):
            i = [*zip(rows, heads, strict=True)].index((row, head))
            is_kept_bos = keeps[i] and pos == 0 and first == 0
            expected = expected if is_kept_bos else edits.values[i]
        assert torch.equal(found[row, pos, head], expected)
