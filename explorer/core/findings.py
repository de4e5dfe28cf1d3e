"""What holds across a run: means, correlations and distributions, each with its interval.

Rows of one pair of neuron and head (or of one neuron) resemble each other, so intervals resample
such *clusters* with replacement and never single rows: 2.5 % and 97.5 % quantiles of 1,000 seeded
bootstrap resamples. Every statistic here is a function of sums over rows, which makes a resample one
product of counts and each cluster's sums.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import stats

N_RESAMPLES = 1000
_CHUNK = 100
"""Resamples held at once."""
_EXACT_UP_TO = 1000
"""Rows of a sample up to which the KS test's p is exact, beyond it the limit's."""
_STEP = 1e-6
"""Scores are stored as 32-bit floats: 0.7 must count as 0.7 at the edge of a bin."""

Statistic = Callable[[np.ndarray], np.ndarray]
"""From sums over rows `[... moment]` to a value `[...]`; not finite where it has none."""


@dataclass(frozen=True)
class Estimate:
    """A number measured on a run, with its bootstrap interval and what it rests on."""

    value: float
    low: float | None
    """2.5 % quantile over resamples of clusters; None with a single cluster."""
    high: float | None
    n: int
    """Rows."""
    n_clusters: int
    """Independent groups of rows, which the interval resamples."""

    def __post_init__(self) -> None:
        if not np.isfinite(self.value):
            raise ValueError(f"expected a finite value, got {self.value}")


@dataclass(frozen=True)
class KsTest:
    """Two-sample Kolmogorov-Smirnov test: how far apart two distributions are, at most."""

    statistic: float
    """The largest distance between the two cumulative shares, 0 to 1."""
    p_value: float
    """Under independent rows; rows of one pair resemble each other, so it is too small."""
    at: float
    """The value at which the distance is largest."""
    n_first: int
    n_second: int


def _cluster_sums(
    moments: Float[np.ndarray, "row moment"], clusters: Int[np.ndarray, " row"]
) -> Float[np.ndarray, "cluster moment"]:
    _, place = np.unique(clusters, return_inverse=True)
    return np.stack([np.bincount(place, weights=column) for column in moments.T], axis=1)


def _resampled(
    sums: Float[np.ndarray, "cluster moment"], rng: np.random.Generator
) -> Float[np.ndarray, "resample moment"]:
    """Sums over each resample: as many clusters as there are, drawn with replacement."""
    n = len(sums)
    chances = np.full(n, 1 / n)
    chunks = [rng.multinomial(n, chances, size=_CHUNK) @ sums for _ in range(N_RESAMPLES // _CHUNK)]
    return np.concatenate(chunks)


def _interval(values: Float[np.ndarray, " resample"]) -> tuple[float | None, float | None]:
    finite = values[np.isfinite(values)]
    if 2 * len(finite) < len(values):  # most resamples have no value: nothing can be said
        return None, None
    low, high = np.quantile(finite, [0.025, 0.975])
    return float(low), float(high)


def _estimate(
    moments: Float[np.ndarray, "row moment"],
    clusters: Int[np.ndarray, " row"] | None,
    statistic: Statistic,
    seed: int,
) -> Estimate | None:
    """The statistic over all rows, with its interval; None where it has no value. Without
    `clusters` each row is one."""
    if len(moments) == 0:
        return None
    sums = moments if clusters is None else _cluster_sums(moments, clusters)
    value = float(statistic(sums.sum(axis=0)))
    if not np.isfinite(value):
        return None
    low, high = None, None
    if len(sums) > 1:
        low, high = _interval(statistic(_resampled(sums, np.random.default_rng(seed))))
    return Estimate(value, low, high, len(moments), len(sums))


def _mean_of(sums: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return sums[..., 1] / sums[..., 0]


def mean(
    values: Float[np.ndarray, " row"],
    clusters: Int[np.ndarray, " row"] | None = None,
    *,
    seed: int = 0,
) -> Estimate | None:
    """The mean of the values, in their unit; None without any. Of booleans it is a share."""
    values = np.asarray(values, dtype=float)
    return _estimate(np.stack([np.ones_like(values), values], axis=1), clusters, _mean_of, seed)


def difference(
    first: Float[np.ndarray, " first"], second: Float[np.ndarray, " second"], *, seed: int = 0
) -> Estimate | None:
    """The mean of the first sample minus the mean of the second, resampled apart; each value is a
    cluster. None where either is empty."""
    if len(first) == 0 or len(second) == 0:
        return None
    rng = np.random.default_rng(seed)
    one, other = (
        _mean_of(_resampled(np.stack([np.ones(len(v)), np.asarray(v, float)], axis=1), rng))
        for v in (first, second)
    )
    low, high = _interval(one - other) if min(len(first), len(second)) > 1 else (None, None)
    n = len(first) + len(second)
    return Estimate(float(np.mean(first) - np.mean(second)), low, high, n, n)


def _pearson_of(sums: np.ndarray) -> np.ndarray:
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    spread_x, spread_y = n * xx - x * x, n * yy - y * y
    # What is left of a constant's spread after rounding is no spread.
    flat = (spread_x <= 1e-12 * n * xx) | (spread_y <= 1e-12 * n * yy)
    with np.errstate(invalid="ignore", divide="ignore"):
        r = (n * xy - x * y) / np.sqrt(spread_x * spread_y)
    return np.where(flat, np.nan, np.clip(r, -1, 1))


def pearson(
    x: Float[np.ndarray, " row"],
    y: Float[np.ndarray, " row"],
    clusters: Int[np.ndarray, " row"] | None = None,
    *,
    seed: int = 0,
) -> Estimate | None:
    """Pearson's r of two measurements of the same rows, -1 to 1; None with fewer than three rows or
    where one of them does not vary."""
    if len(x) != len(y):
        raise ValueError(f"expected as many x as y, got {len(x)} and {len(y)}")
    if len(x) < 3:
        return None
    # Centred first: sums of squares of what lies far from zero would lose the digits that matter.
    x, y = (np.asarray(v, float) - np.mean(v, dtype=float) for v in (x, y))
    moments = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1)
    return _estimate(moments, clusters, _pearson_of, seed)


def spearman(
    x: Float[np.ndarray, " row"],
    y: Float[np.ndarray, " row"],
    clusters: Int[np.ndarray, " row"] | None = None,
    *,
    seed: int = 0,
) -> Estimate | None:
    """Spearman's r: Pearson's r of the ranks, ties sharing their mean rank. The interval resamples
    rows with the ranks that they have among all."""
    return pearson(stats.rankdata(x), stats.rankdata(y), clusters, seed=seed)


def signs_agree(
    x: Float[np.ndarray, " row"], y: Float[np.ndarray, " row"]
) -> Bool[np.ndarray, " row"]:
    """Whether both are positive or both negative; a zero has no sign and agrees with nothing."""
    return np.sign(x) * np.sign(y) > 0


def sign_agreement(
    x: Float[np.ndarray, " row"],
    y: Float[np.ndarray, " row"],
    clusters: Int[np.ndarray, " row"] | None = None,
    *,
    seed: int = 0,
) -> Estimate | None:
    """Share of the rows in which both have the same sign, 0 to 1."""
    return mean(signs_agree(np.asarray(x), np.asarray(y)), clusters, seed=seed)


def chance_agreement(x: Float[np.ndarray, " row"], y: Float[np.ndarray, " row"]) -> float | None:
    """The share of agreeing signs to expect if x and y were paired at random: both mostly positive
    agree mostly. None without rows."""
    if len(x) == 0:
        return None
    x, y = np.asarray(x), np.asarray(y)
    return float(np.mean(x > 0) * np.mean(y > 0) + np.mean(x < 0) * np.mean(y < 0))


def ks_test(
    first: Float[np.ndarray, " first"], second: Float[np.ndarray, " second"]
) -> KsTest | None:
    """Whether two samples come from one distribution (two-sided); None where either is empty."""
    if len(first) == 0 or len(second) == 0:
        return None
    method = "exact" if max(len(first), len(second)) <= _EXACT_UP_TO else "asymp"
    found = stats.ks_2samp(first, second, method=method)
    return KsTest(
        float(found.statistic),  # pyright: ignore[reportAttributeAccessIssue]
        float(found.pvalue),  # pyright: ignore[reportAttributeAccessIssue]
        float(found.statistic_location),  # pyright: ignore[reportAttributeAccessIssue]
        len(first),
        len(second),
    )


def cumulative(
    values: Float[np.ndarray, " row"], n_points: int = 400
) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]:
    """The cumulative distribution as at most `n_points` steps: values ascending, and the share of
    rows at or below each, which is exact at every value kept; the first and last are kept."""
    ordered, counts = np.unique(np.asarray(values, dtype=float), return_counts=True)
    shares = np.cumsum(counts) / max(1, len(values))
    if len(ordered) > n_points:
        kept = np.unique(np.linspace(0, len(ordered) - 1, n_points).round().astype(int))
        return ordered[kept], shares[kept]
    return ordered, shares


def at_least(values: Float[np.ndarray, " row"], threshold: float) -> Bool[np.ndarray, " row"]:
    """Which values reach a threshold; a 32-bit 0.8 reaches 0.8."""
    return np.asarray(values, dtype=float) >= threshold - _STEP


def histogram(
    values: Float[np.ndarray, " row"], edges: Float[np.ndarray, " edge"]
) -> Int[np.ndarray, " bin"]:
    """How many values lie in each bin, the lower edge included, and the upper one of the last.
    A 32-bit 0.7 lies in the bin that begins at 0.7. Values beyond the edges are refused."""
    values = np.asarray(values, dtype=float)
    if len(values) and (values.min() < edges[0] - _STEP or values.max() > edges[-1] + _STEP):
        raise ValueError(
            f"expected values in [{edges[0]}, {edges[-1]}], got {values.min()} to {values.max()}"
        )
    inner = np.asarray(edges, dtype=float)[1:-1] - _STEP
    return np.bincount(np.digitize(values, inner), minlength=len(edges) - 1)


def depth_of(layer: int, n_layers: int) -> float:
    """How deep a layer lies in its model, 0 to 1: the middle of its share of the layers, so that
    models of different depth can be compared."""
    return (layer + 0.5) / n_layers
