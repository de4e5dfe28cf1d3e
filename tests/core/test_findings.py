"""Run-wide statistics: equal to plain formulas and to scipy, with intervals that cover the truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from explorer.core.findings import (
    Estimate,
    at_least,
    chance_agreement,
    cumulative,
    depth_of,
    difference,
    histogram,
    ks_test,
    mean,
    pearson,
    sign_agreement,
    signs_agree,
    spearman,
)


def _correlated(
    seed: int, n_clusters: int = 40, per: int = 6
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of clusters that share a common part, so that rows of one cluster resemble each other."""
    rng = np.random.default_rng(seed)
    clusters = np.repeat(np.arange(n_clusters), per)
    common = rng.normal(size=n_clusters)[clusters]
    x = common + 0.5 * rng.normal(size=len(clusters))
    y = 0.7 * common + 0.5 * rng.normal(size=len(clusters))
    return x, y, clusters


@pytest.mark.parametrize("shift", [0.0, 1e5])
def test_correlations_are_scipys(shift: float) -> None:
    x, y, clusters = _correlated(0)
    x = x + shift
    for ours, theirs in ((pearson, stats.pearsonr), (spearman, stats.spearmanr)):
        found = ours(x, y, clusters)
        assert found is not None
        assert found.value == pytest.approx(theirs(x, y).statistic, abs=1e-6)
        assert (found.n, found.n_clusters) == (240, 40)
    broken = pearson(x, np.random.default_rng(1).permutation(y), clusters)
    assert broken is not None
    assert abs(broken.value) < 0.2 < stats.pearsonr(x, y).statistic


def test_ranks_with_ties_share_their_mean() -> None:
    x, y = np.array([1.0, 1, 2, 2, 3, 9]), np.array([1.0, 2, 2, 3, 5, 1000])
    found = spearman(x, y)
    assert found is not None
    assert found.value == pytest.approx(stats.spearmanr(x, y).statistic)
    straight = pearson(x, y)
    assert straight is not None
    assert straight.value != pytest.approx(found.value, abs=0.01)


def test_nothing_is_said_where_nothing_can_be() -> None:
    empty, one, flat = np.zeros(0), np.ones(1), np.full(5, 0.1)
    assert mean(empty) is None
    assert difference(empty, one) is None
    assert pearson(np.arange(2.0), np.arange(2.0)) is None
    assert pearson(flat, np.arange(5.0)) is None
    assert spearman(np.arange(5.0), flat) is None
    assert chance_agreement(empty, empty) is None
    assert ks_test(empty, one) is None
    single = mean(np.array([0.3, 0.5]), np.array([7, 7]))
    assert single == Estimate(0.4, None, None, 2, 1)
    with pytest.raises(ValueError, match="finite"):
        Estimate(float("nan"), None, None, 1, 1)
    with pytest.raises(ValueError, match="as many"):
        pearson(np.arange(4.0), np.arange(5.0))


def _coverage(clustered: bool) -> float:
    """How often the interval of a mean of true value 0 holds 0, over 200 made samples."""
    held = 0
    for seed in range(200):
        x, _, clusters = _correlated(seed)
        found = mean(x, clusters if clustered else None, seed=seed)
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 0 <= found.high
    return held / 200


def test_the_interval_covers_the_truth_because_it_resamples_clusters() -> None:
    assert _coverage(clustered=True) > 0.88
    assert _coverage(clustered=False) < 0.75  # single rows: far too narrow


def test_an_interval_is_the_same_for_the_same_seed() -> None:
    x, y, clusters = _correlated(3)
    assert pearson(x, y, clusters, seed=1) == pearson(x, y, clusters, seed=1)
    assert pearson(x, y, clusters, seed=1) != pearson(x, y, clusters, seed=2)
    renamed = 1000 - clusters  # names of clusters are only names
    found, again = mean(x, clusters), mean(x, renamed)
    assert found is not None
    assert again is not None
    assert again.value == pytest.approx(found.value)


def test_intervals_by_plain_resampling() -> None:
    x, y, clusters = _correlated(5)
    found = pearson(x, y, clusters)
    assert found is not None
    rng = np.random.default_rng(9)
    values = []
    for _ in range(1000):
        rows = np.concatenate([np.flatnonzero(clusters == c) for c in rng.integers(0, 40, 40)])
        values.append(stats.pearsonr(x[rows], y[rows]).statistic)
    assert [found.low, found.high] == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=0.03)


def test_a_difference_of_means() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(0.6, 0.2, 80), rng.normal(0.5, 0.2, 60)
    found = difference(first, second)
    assert found is not None
    assert found.value == pytest.approx(first.mean() - second.mean())
    assert found.low is not None
    assert found.low > 0
    same = difference(first, rng.permutation(first))
    assert same is not None
    assert same.value == pytest.approx(0)
    assert same.low is not None
    assert same.low < 0
    assert difference(second, first).value == pytest.approx(-found.value)  # type: ignore[union-attr]


def test_signs() -> None:
    x, y = np.array([1.0, -1, 1, 0, 2]), np.array([0.1, -3, -1, 1, 0])
    assert signs_agree(x, y).tolist() == [True, True, False, False, False]
    found = sign_agreement(x, y)
    assert found is not None
    assert found.value == pytest.approx(0.4)
    assert chance_agreement(x, y) == pytest.approx(3 / 5 * 2 / 5 + 1 / 5 * 2 / 5)
    rng = np.random.default_rng(0)
    x, y = rng.normal(1, 1, 20_000), rng.normal(1, 1, 20_000)  # unrelated, both mostly positive
    agreed = sign_agreement(x, y)
    assert agreed is not None
    assert agreed.value > 0.7
    assert agreed.value == pytest.approx(chance_agreement(x, y), abs=0.01)


def test_ks_is_the_largest_distance_of_the_shares() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(0, 1, 150), rng.normal(0.8, 1, 200)
    found = ks_test(first, second)
    assert found is not None
    every = np.concatenate([first, second])
    gaps = [abs((first <= v).mean() - (second <= v).mean()) for v in every]
    assert found.statistic == pytest.approx(max(gaps))
    assert found.at == pytest.approx(every[int(np.argmax(gaps))])
    assert found.p_value < 1e-4
    assert (found.n_first, found.n_second) == (150, 200)
    same = ks_test(first[:75], first[75:])
    assert same is not None
    assert same.p_value > 0.05


def test_a_cumulative_share_is_exact_where_it_is_drawn() -> None:
    values = np.random.default_rng(0).normal(size=3000).round(3)
    at, shares = cumulative(values, 100)
    assert len(at) <= 100
    assert (at[0], at[-1], shares[-1]) == (values.min(), values.max(), 1.0)
    for value, share in zip(at, shares, strict=True):
        assert share == pytest.approx((values <= value).mean())
    few = cumulative(np.array([2.0, 1.0, 2.0]))
    assert [v.tolist() for v in few] == [[1.0, 2.0], [pytest.approx(1 / 3), 1.0]]
    assert [len(v) for v in cumulative(np.zeros(0))] == [0, 0]


def test_scores_stand_in_the_bin_that_their_text_names() -> None:
    edges = np.linspace(0, 1, 11)
    stored = np.array([0.0, 0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 0.79], dtype=np.float32)
    assert histogram(stored, edges).tolist() == [1, 1, 0, 1, 0, 1, 1, 2, 1, 2]
    naive = np.histogram(stored, edges)[0].tolist()
    assert naive != histogram(stored, edges).tolist()  # 32-bit 0.7 is below 0.7
    assert at_least(stored, 0.8).tolist() == [v >= 0.795 for v in stored]
    assert histogram(np.zeros(0), edges).tolist() == [0] * 10
    with pytest.raises(ValueError, match="expected values"):
        histogram(np.array([1.2]), edges)


def test_depths_of_models_can_be_compared() -> None:
    assert depth_of(0, 1) == 0.5
    assert [depth_of(layer, 4) for layer in range(4)] == [0.125, 0.375, 0.625, 0.875]
