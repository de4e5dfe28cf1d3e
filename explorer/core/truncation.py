"""How much of a prompt a neuron needs: the shortest suffix that keeps its activation.

Lengths are evaluated from 1 upwards, each of them, to the one kept; nothing is assumed monotone.
Positions restart with BOS for every suffix. The rule is a pure search (`Truncation`) that is asked
for the next length and told its activation, so that a job batches many prompts and a test can count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

CURVE_FACTORS = (2, 4, 8)
"""For the curve, these multiples of the kept length are evaluated as well."""


def reaches(activation: float, whole: float, keep_ratio: float) -> bool:
    """Whether a suffix keeps enough: activation >= keep_ratio x that of the whole prompt.

    Only a neuron that is on (a positive activation) can be kept on.
    """
    return whole > 0 and activation >= keep_ratio * whole


@dataclass
class Truncation:
    """The search for one prompt of `n_tokens` tokens whose whole activation is known.

    Ask `next_length`, tell `update`; when `next_length` is None, `kept` is the length or None where
    no suffix of at most `max_tokens` tokens reaches the threshold. `n_tokens` itself needs no
    evaluation: its activation is the whole prompt's.
    """

    n_tokens: int
    whole: float
    keep_ratio: float
    max_tokens: int
    activations: dict[int, float] = field(default_factory=dict)
    kept: int | None = None
    _tried: int = 0

    def __post_init__(self) -> None:
        if self.n_tokens < 1 or not 0 < self.keep_ratio <= 1 or self.max_tokens < 1:
            raise ValueError(
                "expected a prompt, a ratio in (0, 1] and a maximum of 1 or more, got "
                f"{self.n_tokens}, {self.keep_ratio}, {self.max_tokens}"
            )

    @property
    def _longest(self) -> int:
        return min(self.n_tokens, self.max_tokens)

    def next_length(self) -> int | None:
        """The next suffix length to evaluate; None when the search is over."""
        if self.kept is not None or self.whole <= 0:
            return None
        length = self._tried + 1
        if length == self.n_tokens <= self.max_tokens:
            self._take(length, self.whole)
            return None
        return length if length <= self._longest else None

    def next_lengths(self, n: int) -> list[int]:
        """The next suffix lengths, up to `n` of them, as if none of them were to be kept; none when the
        search is over. Of their activations, tell `update` those that `next_length` asks for."""
        first = self.next_length()
        if first is None:
            return []
        end = min(first + n, self._longest + 1)
        return [length for length in range(first, end) if length != self.n_tokens]

    def update(self, length: int, activation: float) -> None:
        if length != self._tried + 1:
            raise ValueError(f"expected length {self._tried + 1}, got {length}")
        self._take(length, activation)

    def _take(self, length: int, activation: float) -> None:
        self._tried = length
        self.activations[length] = activation
        if reaches(activation, self.whole, self.keep_ratio):
            self.kept = length

    def curve_lengths(self) -> list[int]:
        """What is evaluated for the curve alone: multiples of the kept length, whatever the maximum,
        where shorter than the whole prompt."""
        if self.kept is None:
            return []
        return [
            factor * self.kept for factor in CURVE_FACTORS if factor * self.kept < self.n_tokens
        ]

    def curve(self, extra: Mapping[int, float]) -> tuple[list[int], list[float]]:
        """Starts (tokens removed from the left, ascending) and activations of every suffix
        evaluated up to the kept one, of `extra` (lengths to activations) and of the whole prompt."""
        found = {**self.activations, **extra, self.n_tokens: self.whole}
        lengths = sorted(found, reverse=True)
        return [self.n_tokens - length for length in lengths], [found[n] for n in lengths]
