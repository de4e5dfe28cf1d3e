"""Shares of right answers beside chance, with their interval. Pure, without torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

_Z = 1.959963984540054
"""Half the width of a 95 % interval in standard normal units."""


def wilson_interval(n_right: int, n: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a share `n_right / n`, for independent answers; within 0 to 1.

    Unlike share ± 2 standard errors it is sound for few answers and at 0 and 1. (0, 1) without any.
    """
    if not 0 <= n_right <= n:
        raise ValueError(f"expected 0 to {n} right answers, got {n_right}")
    if n == 0:
        return 0.0, 1.0
    share, z2 = n_right / n, _Z**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n**2))
    low = 0.0 if n_right == 0 else middle - half
    high = 1.0 if n_right == n else middle + half
    return low, high


@dataclass(frozen=True)
class Accuracy:
    """Right answers among `n`, and the share that guessing gets."""

    n_right: int
    n: int
    chance: float

    def __post_init__(self) -> None:
        if not (0 <= self.n_right <= self.n and 0 <= self.chance <= 1):
            raise ValueError(f"expected counts and a chance of 0 to 1, got {self}")

    @property
    def share(self) -> float | None:
        """None without an answer."""
        return self.n_right / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float]:
        """95 %, Wilson."""
        return wilson_interval(self.n_right, self.n)

    @property
    def beats_chance(self) -> bool:
        """Whether chance lies below the whole interval: the model can do the task."""
        return self.n > 0 and self.interval[0] > self.chance
