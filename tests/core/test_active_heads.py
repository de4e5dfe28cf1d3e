"""Which heads are active in a prompt, and which are studied for a neuron, against brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from explorer.core.attribution import MIN_HEADS_FOR_2SD, active_heads, is_studied
from explorer.core.types import ActiveRule

# Few distinct values, so that ties are common; wide ones, so that outliers are.
FEW_VALUES = st.sampled_from([-1.0, -0.5, 0.0, 0.25, 0.5, 4.0])
WIDE_VALUES = st.floats(-50, 50, width=32)
MANY = settings(max_examples=150, deadline=None)


def contributions(min_heads: int, values: st.SearchStrategy = FEW_VALUES | WIDE_VALUES):
    shape = st.tuples(st.integers(1, 4), st.integers(min_heads, 40))
    return shape.flatmap(lambda s: hnp.arrays(np.float32, s, elements=values))


def two_sd_threshold(row: np.ndarray) -> float:
    """In the order of the definition: mean, sample variance (n - 1), threshold."""
    values = [float(v) for v in row]
    mean = sum(values) / len(values)
    variance = sum((v - mean) ** 2 for v in values) / (len(values) - 1)
    return mean + 2 * variance**0.5


def top_positive(row: np.ndarray, k: int) -> list[bool]:
    order = sorted(range(len(row)), key=lambda i: (-row[i], i))[:k]
    return [i in order and row[i] > 0 for i in range(len(row))]


@MANY
@given(contributions(min_heads=MIN_HEADS_FOR_2SD))
def test_mean_plus_two_sample_sd_by_hand(heads: np.ndarray) -> None:
    found = active_heads(torch.from_numpy(heads), ActiveRule())
    for row, values in zip(found.tolist(), heads, strict=True):
        threshold = two_sd_threshold(values)
        # A head within rounding of the threshold may fall on either side of it.
        sure = [abs(v - threshold) > 1e-9 * (1 + abs(threshold)) for v in values.tolist()]
        expected = [v > threshold for v in values.tolist()]
        assert [x for x, s in zip(row, sure, strict=True) if s] == [
            x for x, s in zip(expected, sure, strict=True) if s
        ]


def test_the_sd_is_that_of_a_sample() -> None:
    """One head among zeros is (n - 1) / sqrt(n) sample SDs above the mean: more than 2 from n = 6."""
    for n in range(2, 12):
        heads = torch.zeros(1, n)
        heads[0, 0] = 1.0
        sample_z = (n - 1) / n**0.5
        assert active_heads(heads, ActiveRule())[0, 0].item() == (sample_z > 2)
    assert (6 - 1) / 6**0.5 > 2 > (5 - 1) / 5**0.5
    # A second head of 0.3 widens the spread: above two population SDs, below two sample SDs.
    values = np.array([1.0, 0.0, 0.0, 0.0, 0.0, 0.3])
    z = (1 - values.mean()) / np.array([values.std(), values.std(ddof=1)])
    assert z[0] > 2 > z[1]
    assert not active_heads(torch.from_numpy(values)[None], ActiveRule()).any()


@pytest.mark.parametrize("value", [0.0, 1.0, -2.5, 0.1])
def test_a_head_must_be_above_the_threshold_not_at_it(value: float) -> None:
    """Where all heads are equal the threshold is their value, and none is active."""
    heads = torch.full((1, 12), value)
    assert not active_heads(heads, ActiveRule()).any()
    heads[0, 3] += 1.0
    assert active_heads(heads, ActiveRule())[0].nonzero().tolist() == [[3]]


@MANY
@given(st.integers(1, MIN_HEADS_FOR_2SD - 1).flatmap(
    lambda n: hnp.arrays(np.float32, (2, n), elements=WIDE_VALUES)))  # fmt: skip
def test_with_fewer_than_six_heads_none_can_be_active(heads: np.ndarray) -> None:
    assert not active_heads(torch.from_numpy(heads), ActiveRule()).any()
    # Control: the other rule has no such limit.
    found = active_heads(torch.from_numpy(heads), ActiveRule(1))
    assert found.any(1).tolist() == (heads > 0).any(1).tolist()


@MANY
@given(contributions(min_heads=1), st.integers(1, 45))
def test_top_k_takes_the_largest_positive_ones(heads: np.ndarray, k: int) -> None:
    found = active_heads(torch.from_numpy(heads), ActiveRule(k))
    assert found.tolist() == [top_positive(row, k) for row in heads]


def test_top_k_gives_ties_to_the_lower_index_and_nothing_to_zeros() -> None:
    heads = torch.tensor([[0.5, 2.0, 2.0, -1.0, 0.5, 0.5], [0.0, -1.0, 0.0, 3.0, 0.0, 0.0]])
    found = active_heads(heads, ActiveRule(4))
    assert found.tolist() == [
        [True, True, True, False, True, False],
        [False, False, False, True, False, False],
    ]


def test_the_rule_reads_contributions_as_the_store_keeps_them() -> None:
    """Two contributions that differ past float32 are a tie: live (float64) and stored agree."""
    heads = torch.tensor([[1.0, 1.0 + 1e-12, 0.3]], dtype=torch.float64)
    assert heads[0, 1] > heads[0, 0]
    assert active_heads(heads, ActiveRule(1)).tolist() == [[True, False, False]]


@MANY
@given(st.lists(st.integers(-20, 20), min_size=6, max_size=30), st.sampled_from([0.125, 0.5, 8.0]))
def test_dividing_by_the_layer_norm_scale_changes_no_rule(values: list[int], scale: float) -> None:
    """Both rules look at relations between heads only (powers of two divide exactly)."""
    heads = torch.tensor([values], dtype=torch.float32)
    for rule in (ActiveRule(), ActiveRule(3)):
        assert torch.equal(active_heads(heads, rule), active_heads(heads / scale, rule))


@pytest.mark.parametrize(
    ("n_active", "n_prompts", "studied"),
    [
        (5, 20, True), (4, 20, False), (15, 20, True), (16, 20, False),
        (1, 4, True), (3, 4, True), (0, 4, False), (4, 4, False),
        (1, 3, True), (1, 2, True), (1, 1, False), (2, 7, True), (1, 7, False), (6, 7, False),
        (0, 0, False),
    ],
)  # fmt: skip
def test_studied_between_a_quarter_and_three_quarters_both_included(
    n_active: int, n_prompts: int, studied: bool
) -> None:
    assert is_studied(n_active, n_prompts) is studied


@MANY
@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_studied_is_symmetric_in_active_and_inactive(counts: tuple[int, int]) -> None:
    n_active, n_prompts = counts
    assert is_studied(n_active, n_prompts) == is_studied(n_prompts - n_active, n_prompts)
    assert is_studied(n_active, n_prompts) == (0.25 <= n_active / n_prompts <= 0.75)
