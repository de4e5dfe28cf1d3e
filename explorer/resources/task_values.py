"""What is asked of a task live, and what comes back: values without a model, and without torch."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from explorer.core.accuracy import Accuracy
from explorer.core.types import HeadId

Component = tuple[HeadId, int]
MAX_COMPONENTS = 3


@dataclass(frozen=True)
class Sentence:
    """A template that can be filled, with one kind of words."""

    template: str
    words: bool | None
    """Seen in training, or not; None where nothing is known of it."""
    group: str
    longest: int
    """Candidates at most: 2 names, or as many items as context and vocabulary hold."""


def parse_components(text: str, n_layers: int, n_heads: int, d_head: int) -> tuple[Component, ...]:
    """Components from `L0H5.1, L3H2.0`, at most three. Raises ValueError with what was expected."""
    found: list[Component] = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        match = re.fullmatch(r"(L\d{1,4} ?H\d{1,4})\.(\d{1,4})", part, re.I | re.A)
        if match is None:
            raise ValueError("expected components such as L0H5.1, with commas between")
        head, index = HeadId.parse(match[1]), int(match[2])
        if head.layer >= n_layers or head.index >= n_heads or index >= d_head:
            raise ValueError(
                f"this model has layers 0 to {n_layers - 1}, heads 0 to {n_heads - 1} and components "
                f"0 to {d_head - 1}"
            )
        found.append((head, index))
    found = list(dict.fromkeys(found))
    if len(found) > MAX_COMPONENTS:
        raise ValueError("expected at most three components")
    return tuple(found)


def written(components: tuple[Component, ...]) -> str:
    """Components as `parse_components` reads them."""
    return ", ".join(f"{head}.{index}" for head, index in components)


@dataclass(frozen=True)
class Asked:
    """One run of a task."""

    task: str
    sentence: Sentence
    n: int
    components: tuple[Component, ...] = ()
    factor: float = 1.0
    """What the components' activations at the last position are multiplied by."""


@dataclass(frozen=True)
class Example:
    """One prompt of a run, with the probability of each candidate."""

    text: str
    words: tuple[str, ...]
    position: int
    clean: tuple[float, ...]
    dialled: tuple[float, ...] | None


@dataclass(frozen=True)
class TaskRun:
    """How often the model is right as it is, and with the components dialled, by place of the answer."""

    asked: Asked
    condition: str
    clean: tuple[Accuracy, ...]
    dialled: tuple[Accuracy, ...] | None
    """None where no component is dialled, or the model cannot do the task as it is."""
    n_top1: int
    examples: tuple[Example, ...]

    @property
    def overall(self) -> Accuracy:
        return total(self.clean)

    @property
    def overall_dialled(self) -> Accuracy | None:
        return None if self.dialled is None else total(self.dialled)


def total(parts: tuple[Accuracy, ...]) -> Accuracy:
    """Answers of all places together; their chance is the same."""
    return Accuracy(sum(p.n_right for p in parts), sum(p.n for p in parts), parts[0].chance)


@dataclass(frozen=True)
class Scores:
    """Components by inhibition score for one receiver, highest first, and its clean attention gap."""

    receiver: HeadId
    sentence: Sentence
    gap: float
    n_prompts: int
    rows: tuple[tuple[HeadId, int, float, float], ...]
    """Head, component, score, standard error."""


@dataclass(frozen=True)
class SteeringRun:
    """Steering by position with its controls, and the grid that it was chosen from."""

    asked: Asked
    axes: tuple[tuple[float, ...], ...]
    """The values of each component."""
    shares: np.ndarray
    """`[cell place]`: the share of prompts in which each place wins."""
    rows: tuple[tuple[str, Accuracy], ...]
    """The model as it is, steered, and each control, on the judged half; chance is 1/n."""
