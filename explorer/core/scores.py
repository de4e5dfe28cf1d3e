"""How well an explanation predicts a head's activity on test prompts, and what chance would score.

Everything here takes only prompts with a verdict; the caller leaves out the others and counts them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

N_RESAMPLES = 1_000
N_PERMUTATIONS = 1_000
_INTERVAL = (0.025, 0.975)

Verdicts = Bool[np.ndarray, " prompt"]


@dataclass(frozen=True)
class Confusion:
    """Prompts by what is (active or not) and what was predicted."""

    tp: int
    fp: int
    tn: int
    fn: int

    def __post_init__(self) -> None:
        if min(self.tp, self.fp, self.tn, self.fn) < 0:
            raise ValueError(f"expected counts from 0, got {self}")

    @classmethod
    def of(cls, active: Verdicts, predicted: Verdicts) -> Confusion:
        """Count prompts; both are `[prompt]`."""
        if active.shape != predicted.shape:
            raise ValueError(
                f"expected a verdict for each prompt, got {predicted.shape} for {active.shape}"
            )
        return cls(
            int((active & predicted).sum()), int((~active & predicted).sum()),
            int((~active & ~predicted).sum()), int((active & ~predicted).sum()),
        )  # fmt: skip

    @property
    def balanced_accuracy(self) -> float | None:
        """(TPR + TNR) / 2, 0 to 1, chance 0.5; None where a class is missing."""
        n_active, n_inactive = self.tp + self.fn, self.tn + self.fp
        if n_active == 0 or n_inactive == 0:
            return None
        return (self.tp / n_active + self.tn / n_inactive) / 2


@dataclass(frozen=True)
class Null:
    """Balanced accuracy without the explanation's content; None where there is nothing to score."""

    score: float | None
    p_value: float | None = None
    """Share of permutations that do as well as the explanation, or better."""


def bootstrap_interval(
    counts: Confusion, generator: np.random.Generator, n_resamples: int = N_RESAMPLES
) -> tuple[float, float] | None:
    """2.5 % and 97.5 % quantiles of the balanced accuracy over bootstrap resamples of the prompts.

    Each class is resampled within itself, keeping its size: drawing n prompts with replacement, of
    which k are right, is a binomial draw with n and k / n. None where a class is missing.
    """
    if counts.balanced_accuracy is None:
        return None
    n_active, n_inactive = counts.tp + counts.fn, counts.tn + counts.fp
    right_active = generator.binomial(n_active, counts.tp / n_active, n_resamples)
    right_inactive = generator.binomial(n_inactive, counts.tn / n_inactive, n_resamples)
    low, high = np.quantile((right_active / n_active + right_inactive / n_inactive) / 2, _INTERVAL)
    return float(low), float(high)


def shuffle_null(
    active: Verdicts,
    predicted: Verdicts,
    generator: np.random.Generator,
    n_permutations: int = N_PERMUTATIONS,
) -> Null:
    """The verdicts held against permutations of the activity: mean, and the share that does as well.

    How many prompts are active and how many were called active stays as it is, so that a permutation
    does as well exactly where it has as many true positives.
    """
    counts = Confusion.of(active, predicted)
    if counts.balanced_accuracy is None:
        return Null(None, None)
    n_active, n_inactive = counts.tp + counts.fn, counts.tn + counts.fp
    n_called = counts.tp + counts.fp
    permuted = generator.permuted(np.tile(active, (n_permutations, 1)), axis=1)
    tp = (permuted & predicted).sum(1)
    score = (tp / n_active + (n_inactive - (n_called - tp)) / n_inactive) / 2
    return Null(float(score.mean()), float((tp >= counts.tp).mean()))


def other_head_null(
    active: Verdicts,
    has_verdict: Verdicts,
    others: Bool[np.ndarray, "other prompt"],
    others_have_verdict: Bool[np.ndarray, "other prompt"],
) -> Null:
    """Verdicts of the neuron's other studied heads held against this head's activity: mean over them.

    All are over the same prompts; each other head counts only those where it and this head both have
    a verdict, and not at all where a class is then missing. None without any.
    """
    scores = []
    for predicted, judged in zip(others, others_have_verdict, strict=True):
        both = has_verdict & judged
        score = Confusion.of(active[both], predicted[both]).balanced_accuracy
        if score is not None:
            scores.append(score)
    return Null(float(np.mean(scores)) if scores else None)
