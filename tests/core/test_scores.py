"""Scores and their nulls: theorems, brute force in plain loops, and controls that must score chance."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from explorer.core.scores import (
    Confusion,
    bootstrap_interval,
    other_head_null,
    shuffle_null,
)

cases = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=30)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def arrays(case: list[tuple[bool, bool]]) -> tuple[np.ndarray, np.ndarray]:
    table = np.array(case, dtype=bool).reshape(len(case), 2)
    return table[:, 0], table[:, 1]


def plain_score(active: list[bool], predicted: list[bool]) -> float | None:
    """The mean of the shares of each kind that are called by their name."""
    shares = []
    for kind in (True, False):
        called = [p is kind for a, p in zip(active, predicted, strict=True) if a is kind]
        if not called:
            return None
        shares.append(sum(called) / len(called))
    return sum(shares) / 2


# --- confusion and balanced accuracy -------------------------------------------------------------


@given(cases)
def test_counts_and_score_are_those_of_plain_loops(case: list[tuple[bool, bool]]) -> None:
    counts = Confusion.of(*arrays(case))
    assert counts.tp == case.count((True, True)) and counts.fp == case.count((False, True))
    assert counts.tn == case.count((False, False)) and counts.fn == case.count((True, False))
    plain = plain_score([a for a, _ in case], [p for _, p in case])
    assert counts.balanced_accuracy == (None if plain is None else pytest.approx(plain))


@pytest.mark.parametrize("n_active", [1, 7, 19])
def test_truth_scores_1_its_opposite_0_and_one_answer_for_all_a_half(n_active: int) -> None:
    active = np.arange(20) < n_active
    for predicted, score in ((active, 1.0), (~active, 0.0), (np.ones(20, bool), 0.5),
                             (np.zeros(20, bool), 0.5)):  # fmt: skip
        assert Confusion.of(active, predicted).balanced_accuracy == score


@pytest.mark.parametrize("active", [np.ones(5, bool), np.zeros(5, bool), np.zeros(0, bool)])
def test_a_missing_class_has_no_score_no_interval_and_no_null(active: np.ndarray) -> None:
    counts = Confusion.of(active, active)
    assert counts.balanced_accuracy is None
    assert bootstrap_interval(counts, rng()) is None
    null = shuffle_null(active, active, rng())
    assert (null.score, null.p_value) == (None, None)


def test_verdicts_for_other_prompts_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="verdict for each prompt"):
        Confusion.of(np.ones(3, bool), np.ones(2, bool))
    with pytest.raises(ValueError, match="counts from 0"):
        Confusion(1, -1, 0, 0)


# --- the interval ------------------------------------------------------------------------------


def test_the_interval_is_that_of_resampled_prompts() -> None:
    """Against drawing prompts one by one within each class, twice as an estimate of the noise."""
    counts = Confusion(tp=6, fp=3, tn=8, fn=3)
    right = {True: [1] * 6 + [0] * 3, False: [1] * 8 + [0] * 3}

    def drawn(seed: int) -> np.ndarray:
        generator = rng(seed)
        scores = [
            np.mean([np.mean(generator.choice(right[kind], len(right[kind]))) for kind in right])
            for _ in range(4_000)
        ]
        return np.quantile(scores, (0.025, 0.975))

    interval = bootstrap_interval(counts, rng(1), n_resamples=40_000)
    assert interval == pytest.approx(drawn(2), abs=0.03)
    assert drawn(3) == pytest.approx(drawn(2), abs=0.03)
    # The control: one more error in each class moves it further than the noise.
    worse = bootstrap_interval(Confusion(5, 4, 7, 4), rng(1), n_resamples=40_000)
    assert worse is not None and worse[0] < drawn(2)[0] - 0.05


@given(st.tuples(*[st.integers(0, 9)] * 4), st.integers(0, 99))
def test_the_interval_is_seeded_ordered_and_within_0_and_1(
    counted: tuple[int, int, int, int], seed: int
) -> None:
    counts = Confusion(*counted)
    found = bootstrap_interval(counts, rng(seed))
    assert found == bootstrap_interval(counts, rng(seed))
    if found is not None:
        assert 0 <= found[0] <= found[1] <= 1
        if counts.balanced_accuracy == 1:
            assert found == (1, 1)


def test_the_interval_narrows_with_prompts_and_holds_the_truth_19_times_in_20() -> None:
    narrow, wide = (
        np.diff(bootstrap_interval(Confusion(6 * n, 3 * n, 6 * n, 3 * n), rng()) or ())
        for n in (25, 1)
    )
    assert narrow * 4 == pytest.approx(wide, rel=0.3)  # 25 times the prompts, a fifth of the width
    generator, held = rng(4), 0
    for _ in range(300):
        counts = Confusion(tp := generator.binomial(60, 0.8), fp := generator.binomial(60, 0.3),
                           60 - fp, 60 - tp)  # fmt: skip
        low, high = bootstrap_interval(counts, generator) or (1, 0)
        held += low <= (0.8 + 0.7) / 2 <= high
    assert 0.90 < held / 300 < 0.98


# --- shuffled activity -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("active", "predicted"),
    [("110100", "110100"), ("110100", "101100"), ("110000", "001111"), ("1110", "1100")],
)
def test_the_shuffle_null_is_that_of_all_permutations(active: str, predicted: str) -> None:
    a, p = (np.array([c == "1" for c in text]) for text in (active, predicted))
    own = plain_score(list(map(bool, a)), list(map(bool, p)))
    every = [
        plain_score([bool(x) for x in order], [bool(x) for x in p]) for order in permutations(a)
    ]
    null = shuffle_null(a, p, rng(3), n_permutations=20_000)
    assert null.score == pytest.approx(np.mean(every), abs=0.01)
    as_good = np.mean([score >= own - 1e-9 for score in every])
    assert null.p_value == pytest.approx(as_good, abs=0.015)
    assert np.mean(every) == pytest.approx(0.5)  # the theorem: without content, chance


def test_a_perfect_explanation_beats_every_permutation_and_coin_flips_do_not() -> None:
    active = np.arange(20) < 9
    null = shuffle_null(active, active, rng())
    assert null.p_value == 0 and null.score == pytest.approx(0.5, abs=0.02)
    generator = rng(7)
    values = [
        shuffle_null(active, generator.random(20) < 0.5, generator).p_value for _ in range(400)
    ]
    # Ties make a share at least as large as a uniform one: never too many small ones.
    assert np.mean(np.array(values) <= 0.05) < 0.08
    assert 0.45 < np.mean(values) < 0.75


def test_a_constant_answer_is_as_good_as_all_its_permutations() -> None:
    null = shuffle_null(np.arange(20) < 9, np.ones(20, bool), rng())
    assert (null.score, null.p_value) == (0.5, 1.0)


def test_a_thousand_permutations_by_default_and_the_same_for_the_same_seed() -> None:
    active, predicted = np.arange(20) < 9, np.arange(20) % 3 > 0
    one = shuffle_null(active, predicted, rng(1))
    assert one == shuffle_null(active, predicted, rng(1), n_permutations=1_000)
    assert one != shuffle_null(active, predicted, rng(2))
    assert one.p_value == pytest.approx(round(one.p_value, 3), abs=1e-12)


def test_coin_flips_score_a_half_within_the_interval() -> None:
    generator, active = rng(5), np.arange(20) < 10
    held, scores = 0, []
    for _ in range(300):
        counts = Confusion.of(active, generator.random(20) < 0.5)
        low, high = bootstrap_interval(counts, generator) or (1, 0)
        held += low <= 0.5 <= high
        scores.append(counts.balanced_accuracy)
    assert np.mean(scores) == pytest.approx(0.5, abs=0.02)
    assert held / 300 > 0.88  # 20 prompts: the bootstrap is a little too narrow


# --- another head's words ------------------------------------------------------------------------


@given(
    st.integers(0, 8).flatmap(
        lambda n: st.tuples(
            st.lists(st.booleans(), min_size=n, max_size=n),
            st.lists(st.booleans(), min_size=n, max_size=n),
            st.lists(st.lists(st.sampled_from([True, False, None]), min_size=n, max_size=n),
                     max_size=3),
        )
    )
)  # fmt: skip
def test_the_other_head_null_is_that_of_plain_loops(
    case: tuple[list[bool], list[bool], list[list[bool | None]]],
) -> None:
    active, has_verdict, others = case
    scores = []
    for other in others:
        rows = [
            (a, o)
            for a, own, o in zip(active, has_verdict, other, strict=True)
            if own and o is not None
        ]
        scores.append(plain_score([a for a, _ in rows], [bool(o) for _, o in rows]))
    known = [score for score in scores if score is not None]
    shape = (len(others), len(active))
    null = other_head_null(
        np.array(active, bool),
        np.array(has_verdict, bool),
        np.array([[bool(o) for o in row] for row in others], bool).reshape(shape),
        np.array([[o is not None for o in row] for row in others], bool).reshape(shape),
    )
    assert null.p_value is None
    assert null.score == (pytest.approx(np.mean(known)) if known else None)


def test_heads_that_share_their_words_are_no_better_than_each_other() -> None:
    """Where another head's words fit as well, the null equals the score; the opposite gives 1 − it."""
    active = np.array([True, True, False, False, True])
    predicted = np.array([True, False, False, False, True])
    every = np.ones((1, 5), bool)
    own = Confusion.of(active, predicted).balanced_accuracy
    assert own is not None
    assert other_head_null(active, every[0], predicted[None], every).score == own
    assert other_head_null(active, every[0], ~predicted[None], every).score == pytest.approx(
        1 - own
    )


def test_all_small_cases_of_the_score_are_symmetric() -> None:
    """Calling active what is inactive, in truth and verdict alike, changes nothing."""
    for case in product([True, False], repeat=6):
        active, predicted = np.array(case[:3]), np.array(case[3:])
        assert Confusion.of(active, predicted).balanced_accuracy == (
            Confusion.of(~active, ~predicted).balanced_accuracy
        )
