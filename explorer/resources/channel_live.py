"""A component's dial on one prompt: what comes next, a neuron and a head's attention, before and now.

Every figure of the dial is drawn from one `DialValue`, which carries its own prompt. All of it is at the
prompt's last position. `channel_runs` has the model make it. Nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from explorer.charts.live_attention import share
from explorer.charts.next_tokens import NextRow, percent
from explorer.charts.style import number, round_up_125
from explorer.core.types import HeadId, NeuronId

N_NEXT = 7
SCALE_FROM, SCALE_TO, SCALE_STEP = -4.0, 6.0, 0.25
"""The dial of a factor: 0 removes the component, 1 leaves it as it is."""
How = Literal["scale", "set"]


@dataclass(frozen=True)
class Dial:
    """What is turned, and on which prompt."""

    text: str
    """The prompt as a person reads it."""
    token_ids: tuple[int, ...]
    head: HeadId
    component: int
    receiver: HeadId | None
    """The head whose attention is watched; None where none comes after."""
    neuron: NeuronId | None
    """The neuron that is watched; None where it comes before the head."""
    how: How
    everywhere: bool
    """At all positions, as in the weights; else at the last one."""
    token_id: int | None = None
    """The neuron's token; None without a neuron."""


@dataclass(frozen=True)
class DialRange:
    """A slider: its ends, its step, and where the component is left as it is."""

    low: float
    high: float
    step: float
    neutral: float


@dataclass(frozen=True)
class DialState:
    """The model at one strength of the dial, at the prompt's last position."""

    strength: float
    probabilities: np.ndarray
    """Of every next token, 0 to 1, by token id."""
    activation: float | None
    """The neuron's, after its non-linearity; None without a neuron."""
    pre_activation: float | None
    attention: np.ndarray | None
    """The receiver's, over the start token and the prompt's tokens; None without a receiver."""


@dataclass(frozen=True)
class DialValue:
    """A prompt with the dial where it stands; every figure of the dial is drawn from one of these."""

    dial: Dial
    tokens: tuple[str, ...]
    n_cut: int
    """Tokens cut from the left because the context is shorter than the prompt."""
    component_activation: float
    """The component's activation at the last position, clean; in units of the residual stream."""
    along: np.ndarray
    """The same at each token, clean."""
    before: DialState
    now: DialState
    curve: tuple[DialState, ...]
    """By ascending strength."""
    texts: tuple[str, ...]
    """Of every token of the vocabulary."""

    @property
    def first_token(self) -> int:
        """The most probable next token before the dial was turned."""
        return int(np.argmax(self.before.probabilities))

    @property
    def watched_token(self) -> int:
        """The neuron's token where it is ever likely (1 %) over the curve, else the one that came first
        before."""
        own = self.dial.token_id
        if own is not None and max(float(s.probabilities[own]) for s in self.curve) >= 0.01:
            return own
        return self.first_token

    @property
    def is_turned(self) -> bool:
        """Whether the dial stands elsewhere than where it leaves the component as it is."""
        return self.now is not self.before

    @property
    def looked_at(self) -> int | None:
        """Where the receiver's attention changes most over the curve; 0 is the start token."""
        weights = [s.attention for s in self.curve if s.attention is not None]
        if not weights:
            return None
        spread = np.max(np.stack(weights), axis=0) - np.min(np.stack(weights), axis=0)
        return int(np.argmax(spread))

    def next_rows(self) -> list[NextRow]:
        """The most probable next tokens now, each with its probability before."""
        now, before = self.now.probabilities, self.before.probabilities
        order = np.argsort(-now, kind="stable")[:N_NEXT]
        return [
            NextRow(self.texts[i], float(now[i]), rank, int(i),
                    before=float(before[i]) if self.is_turned else None)
            for rank, i in enumerate(order, start=1)
        ]  # fmt: skip

    def row_of(self, token: int) -> NextRow:
        """One token now, with its rank."""
        now = self.now.probabilities
        rank = 1 + int((now > now[token]).sum())
        before = float(self.before.probabilities[token]) if self.is_turned else None
        return NextRow(self.texts[token], float(now[token]), rank, token, before=before)


@dataclass(frozen=True)
class Quantity:
    """One curve of the dial: its points, and its values before and now in words."""

    points: pd.DataFrame
    """`strength value shown`."""
    before: tuple[float, float, str]
    now: tuple[float, float, str]
    is_share: bool

    @classmethod
    def of(cls, value: DialValue, read: Any, words: Any, is_share: bool) -> Quantity:
        def mark(state: DialState) -> tuple[float, float, str]:
            found = float(read(state))
            return state.strength, found, words(found)

        marks = [mark(state) for state in value.curve]
        points = pd.DataFrame(marks, columns=pd.Index(["strength", "value", "shown"]))
        return cls(points, mark(value.before), mark(value.now), is_share)


def probability_curve(value: DialValue) -> Quantity:
    """P of the watched token."""
    token = value.watched_token
    return Quantity.of(value, lambda s: s.probabilities[token], percent, True)


def activation_curve(value: DialValue) -> Quantity | None:
    """The watched neuron's activation; None without one."""
    if value.before.activation is None:
        return None
    return Quantity.of(value, lambda s: s.activation, number, False)


def attention_curve(value: DialValue) -> Quantity | None:
    """The receiver's attention to the token where it changes most; None without a receiver."""
    place = value.looked_at
    if place is None:
        return None
    return Quantity.of(value, lambda s: s.attention[place], share, True)


def component_range(how: How, along: np.ndarray) -> DialRange:
    """The slider's ends: a factor, or values twice as large as any in the prompt."""
    if how == "scale":
        return DialRange(SCALE_FROM, SCALE_TO, SCALE_STEP, 1.0)
    limit = round_up_125(2 * float(np.abs(along).max(initial=0.0)))
    return DialRange(-limit, limit, limit / 40, float(along[-1]))
