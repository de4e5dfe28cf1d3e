"""The search for the shortest suffix that keeps the neuron on, against brute force."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer.core.truncation import CURVE_FACTORS, Truncation, reaches

ACTIVATIONS = st.sampled_from([-1.0, 0.0, 0.5, 0.8, 0.799999, 1.0, 2.0]) | st.floats(-2, 4)
RATIOS = st.sampled_from([0.8, 1.0, 0.5, 0.01]) | st.floats(0, 1, exclude_min=True)
MANY = settings(max_examples=300, deadline=None)


@dataclass
class Search:
    """What a search found, and what it asked for."""

    result: Truncation
    asked: list[int]
    starts: list[int]
    activations: list[float]


def search(by_length: list[float], ratio: float, longest: int) -> Search:
    """Run a search whose suffix of n tokens has activation `by_length[n - 1]`."""
    found = Truncation(len(by_length), by_length[-1], ratio, longest)
    asked = []
    while (length := found.next_length()) is not None:
        asked.append(length)
        found.update(length, by_length[length - 1])
    extra = {length: by_length[length - 1] for length in found.curve_lengths()}
    return Search(found, asked, *found.curve(extra))


def shortest(by_length: list[float], ratio: float, longest: int) -> int | None:
    """By brute force: the first of all lengths that keeps enough of a neuron that is on."""
    whole = by_length[-1]
    lengths = range(1, min(longest, len(by_length)) + 1)
    enough = [n for n in lengths if whole > 0 and by_length[n - 1] >= ratio * whole]
    return min(enough, default=None)


PROMPTS = st.lists(ACTIVATIONS, min_size=1, max_size=60)
LONGEST = st.integers(1, 70)


@MANY
@given(PROMPTS, RATIOS, LONGEST)
def test_kept_is_the_shortest_that_reaches(
    by_length: list[float], ratio: float, longest: int
) -> None:
    found = search(by_length, ratio, longest)
    assert found.result.kept == shortest(by_length, ratio, longest)
    # Nothing reads the whole prompt again, and no length twice.
    assert found.asked == list(range(1, len(found.asked) + 1))
    assert len(by_length) not in found.asked


@MANY
@given(PROMPTS, RATIOS, LONGEST)
def test_the_curve_has_the_points_of_the_contract_and_no_others(
    by_length: list[float], ratio: float, longest: int
) -> None:
    """1 up to the kept length, each; 2, 4 and 8 times it where shorter than the whole; the whole."""
    n, kept = len(by_length), shortest(by_length, ratio, longest)
    found = search(by_length, ratio, longest)
    if kept is None:
        assert found.result.curve_lengths() == []
        return
    lengths = {*range(1, kept + 1), n} | {f * kept for f in (2, 4, 8) if f * kept < n}
    assert found.result.curve_lengths() == [f * kept for f in (2, 4, 8) if f * kept < n]
    assert found.starts == sorted(n - length for length in lengths)
    assert found.activations == [by_length[n - start - 1] for start in found.starts]
    assert found.starts[0] == 0
    assert found.activations[0] == by_length[-1]


def test_factors_reach_past_the_longest_that_may_be_kept() -> None:
    """Kept 3 of 30 with a maximum of 5: 6, 12 and 24 are on the curve, whatever the maximum."""
    by_length = [0.1, 0.2, 0.9, *[1.0] * 27]
    found = search(by_length, 0.8, 5)
    assert CURVE_FACTORS == (2, 4, 8)
    assert found.result.kept == 3
    assert [30 - start for start in found.starts] == [30, 24, 12, 6, 3, 2, 1]


def test_nothing_is_assumed_monotone() -> None:
    """Length 2 reaches, 3 to 9 do not: a search by bisection would find 10."""
    by_length = [0.1, 0.9, *[0.2] * 7, 1.0]
    assert search(by_length, 0.8, 100).result.kept == 2
    assert search([0.1, 0.7, *[0.2] * 7, 1.0], 0.8, 100).result.kept == 10


def test_no_suffix_is_kept_of_a_prompt_too_long_or_off() -> None:
    rising = [0.1 * n for n in range(1, 11)]
    assert search(rising, 0.8, 8).result.kept == 8
    assert search(rising, 0.8, 7).result.kept is None
    for whole in (0.0, -0.1):
        off = search([5.0, 5.0, whole], 0.8, 100)
        assert (off.result.kept, off.asked) == (None, [])


def test_the_whole_prompt_is_kept_where_nothing_shorter_does() -> None:
    found = search([0.1, 0.2, 1.0], 0.8, 3)
    assert (found.result.kept, found.asked, found.starts) == (3, [1, 2], [0, 1, 2])
    assert search([1.0], 1.0, 1).result.kept == 1
    # One token more than may be kept: the whole prompt is no candidate.
    assert search([0.1, 0.2, 1.0], 0.8, 2).result.kept is None


@pytest.mark.parametrize(
    ("activation", "whole", "ratio", "enough"),
    [(0.8, 1.0, 0.8, True), (0.7999, 1.0, 0.8, False), (1.0, 1.0, 1.0, True), (9.0, 1.0, 0.8, True),
     (0.0, 0.0, 0.8, False), (1.0, -1.0, 0.8, False), (float("nan"), 1.0, 0.8, False),
     (1.0, float("nan"), 0.8, False)],
)  # fmt: skip
def test_the_threshold_is_included_and_a_neuron_must_be_on(
    activation: float, whole: float, ratio: float, enough: bool
) -> None:
    assert reaches(activation, whole, ratio) is enough


@pytest.mark.parametrize(
    ("n_tokens", "ratio", "longest"),
    [(0, 0.8, 5), (5, 0.0, 5), (5, -0.1, 5), (5, 1.01, 5), (5, 0.8, 0), (5, float("nan"), 5)],
)
def test_impossible_searches_are_refused(n_tokens: int, ratio: float, longest: int) -> None:
    with pytest.raises(ValueError, match="expected a prompt, a ratio"):
        Truncation(n_tokens, 1.0, ratio, longest)


def test_lengths_come_in_order() -> None:
    found = Truncation(5, 1.0, 0.8, 5)
    assert found.next_length() == 1
    with pytest.raises(ValueError, match="expected length 1, got 2"):
        found.update(2, 0.1)
    found.update(1, 0.1)
    assert found.next_length() == 2


@MANY
@given(PROMPTS, RATIOS, LONGEST, st.integers(1, 9))
def test_looking_ahead_finds_the_same(
    by_length: list[float], ratio: float, longest: int, ahead: int
) -> None:
    expected = search(by_length, ratio, longest)
    found = Truncation(len(by_length), by_length[-1], ratio, longest)
    while lengths := found.next_lengths(ahead):
        assert len(lengths) <= ahead and lengths[0] == found.next_length()
        assert max(lengths) <= longest and len(by_length) not in lengths
        for length in lengths:
            if found.next_length() == length:
                found.update(length, by_length[length - 1])
    assert (found.kept, found.activations) == (expected.result.kept, expected.result.activations)
