"""Steering: activations of up to three components set at the last token, and which item then wins.

A grid sets the components' activations to every combination of a few values; in each cell each prompt
answers with one item, and the place in the list that wins most often is the cell's. Steering by position
takes, for each place of the answer, the cell that was right most often on one half of the prompts, and
counts right answers on the other half. It uses the answer's place to choose, so it is steering and never
an accuracy. Controls are fitted in the same way: random directions that the same heads can write, and
other components of those heads, moved by steps of equal norm.

That a subspace of three such components indexes places of a list is the finding of Merullo, Eickhoff and
Pavlick 2024; the halves and the controls are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from random import Random

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

from explorer.core.component_edit import (
    ComponentBasis,
    ComponentEdit,
    component_basis,
    random_directions,
)
from explorer.core.model_component_edit import CleanRuns, ComponentDials
from explorer.core.steps import Steps
from explorer.core.task_runs import judge
from explorer.core.tasks import TaskPrompt
from explorer.core.types import HeadId

MAX_AXES = 3


@dataclass(frozen=True)
class Axis:
    """A component, and the activations it is set to, ascending; units of the residual stream."""

    head: HeadId
    component: int
    values: tuple[float, ...]

    def __str__(self) -> str:
        return f"{self.head}.{self.component}"


def axis_values(
    activations: Float[Tensor, " prompt"], n_values: int, reach: float = 3.0
) -> tuple[float, ...]:
    """Evenly spaced values around the mean over prompts: `reach` standard deviations to either side, or
    as far as 0 (the component removed) where that is farther."""
    if n_values < 2 or len(activations) < 2:
        raise ValueError(f"expected two values and two prompts at least, got {n_values}")
    own = activations.double()
    mean = float(own.mean())
    half = max(reach * float(own.std()), abs(mean), 1e-6)
    return tuple(np.linspace(mean - half, mean + half, n_values).tolist())


@dataclass(frozen=True)
class Answers:
    """What each prompt answers at each point: the first point is the model as it is."""

    winners: Int[np.ndarray, "point prompt"]
    """Place of the item with the highest logit."""
    right: Bool[np.ndarray, "point prompt"]


@dataclass(frozen=True)
class Grid:
    """Which place wins in each cell; cells are every combination of the axes' values, the last axis
    running fastest."""

    axes: tuple[Axis, ...]
    answers: Answers
    n_places: int

    @property
    def cells(self) -> list[tuple[float, ...]]:
        return list(product(*(axis.values for axis in self.axes)))

    @property
    def shares(self) -> Float[np.ndarray, "cell place"]:
        """Share of prompts in which each place wins, by cell; each row sums to 1."""
        won = self.answers.winners[1:]
        return np.stack([(won == place).mean(1) for place in range(self.n_places)], axis=1)


@dataclass(frozen=True)
class Steered:
    """Right answers by place of the answer on the judged half."""

    name: str
    n_right: Int[np.ndarray, " place"]
    chosen: Int[np.ndarray, " place"]
    """The point taken for each place, 0 for the model as it is."""


@dataclass(frozen=True)
class Steering:
    """Steering by position beside what it is held against, all on the same prompts."""

    n_prompts: Int[np.ndarray, " place"]
    clean: Steered
    steered: Steered
    controls: tuple[Steered, ...]


Direction = tuple[HeadId, int, ComponentBasis | None]
"""A direction of a basis of its head's output; None stands for the head's own components."""


def _check(prompts: Sequence[TaskPrompt], axes: Sequence[Axis]) -> int:
    lengths = {p.n for p in prompts}
    if len(lengths) != 1:
        raise ValueError(f"expected prompts with equally many items, got {sorted(lengths)}")
    places = [(axis.head, axis.component) for axis in axes]
    if not 1 <= len(axes) <= MAX_AXES or len(set(places)) < len(places):
        raise ValueError(f"expected one to three different components, got {[*map(str, axes)]}")
    return lengths.pop()


def _answers(
    clean: CleanRuns,
    prompts: Sequence[TaskPrompt],
    directions: Sequence[Direction],
    shifts: Sequence[Sequence[Tensor]],
    done: int,
    total: int,
) -> Steps[Answers]:
    """Every prompt at every point: `shifts` has, point by point, each direction's step per prompt."""
    bases = {head: basis for head, _, basis in directions if basis is not None}
    winners, right = [], []
    for steps in [None, *shifts]:
        edits = [] if steps is None else [
            ComponentEdit(head, index, shift=step)
            for (head, index, _), step in zip(directions, steps, strict=True)
        ]  # fmt: skip
        judged = judge(clean.edited(edits, bases=bases).logits, prompts)
        winners.append(judged.winners)
        right.append(judged.right)
        done += 1
        yield done, total
    return Answers(np.stack(winners), np.stack(right))


def _clean_and_shifts(
    dials: ComponentDials, prompts: Sequence[TaskPrompt], axes: Sequence[Axis]
) -> tuple[CleanRuns, list[list[Tensor]]]:
    """Steps that set the components' activations to each cell's values, whatever they were."""
    clean = dials.clean([p.token_ids for p in prompts], min(axis.head.layer for axis in axes))
    own = [clean.activations(axis.head)[:, axis.component] for axis in axes]
    cells = product(*(axis.values for axis in axes))
    return clean, [[v - c for v, c in zip(cell, own, strict=True)] for cell in cells]


def steering_grid(
    dials: ComponentDials, prompts: Sequence[TaskPrompt], axes: Sequence[Axis]
) -> Steps[Grid]:
    """Which place wins in each cell. Callers hold the model's lock during each step."""
    n = _check(prompts, axes)
    clean, shifts = _clean_and_shifts(dials, prompts, axes)
    directions = [(axis.head, axis.component, None) for axis in axes]
    answers = yield from _answers(clean, prompts, directions, shifts, 0, len(shifts) + 1)
    return Grid(tuple(axes), answers, n)


def halves(prompts: Sequence[TaskPrompt]) -> Bool[np.ndarray, " prompt"]:
    """True for the half that is fitted on: every other prompt of each place of the answer.

    Raises ValueError where a place has fewer than two prompts.
    """
    seen: dict[int, int] = {}
    fitted = np.zeros(len(prompts), dtype=bool)
    for row, p in enumerate(prompts):
        fitted[row] = seen.get(p.position, 0) % 2 == 0
        seen[p.position] = seen.get(p.position, 0) + 1
    if not seen or min(seen.values()) < 2 or len(seen) < prompts[0].n:
        raise ValueError("expected two prompts at least for each place of the answer")
    return fitted


def fit_and_judge(
    name: str,
    right: Bool[np.ndarray, "point prompt"],
    positions: Int[np.ndarray, " prompt"],
    fitted: Bool[np.ndarray, " prompt"],
) -> Steered:
    """For each place the point with most right answers on the fitted half (of equal ones the first,
    which is the model as it is), and its right answers on the other half."""
    chosen, n_right = [], []
    for place in range(int(positions.max()) + 1):
        mine = positions == place
        best = int(right[:, mine & fitted].sum(1).argmax())
        chosen.append(best)
        n_right.append(int(right[best, mine & ~fitted].sum()))
    return Steered(name, np.array(n_right), np.array(chosen))


def _random(dials: ComponentDials, axes: Sequence[Axis], seed: int) -> list[Direction]:
    """One random direction for each axis within what its head writes, orthogonal within a head."""
    found: list[Direction] = []
    by_head: dict[HeadId, tuple[ComponentBasis, int]] = {}
    for axis in axes:
        if axis.head not in by_head:
            n = sum(a.head == axis.head for a in axes)
            own = random_directions(dials.writes(axis.head), n, seed + 1000 * axis.head.index)
            w_o = dials.blocks.model.w_o[axis.head.layer, axis.head.index]
            by_head[axis.head] = component_basis(w_o, own), 0
        basis, used = by_head[axis.head]
        by_head[axis.head] = basis, used + 1
        found.append((axis.head, used, basis))
    return found


def _others(dials: ComponentDials, axes: Sequence[Axis], seed: int) -> list[Direction]:
    """For each axis another component of its head, drawn among those that are not axes."""
    rng, found = Random(seed), []
    taken = {(axis.head, axis.component) for axis in axes}
    for axis in axes:
        free = [i for i in range(len(dials.writes(axis.head))) if (axis.head, i) not in taken]
        if not free:
            raise ValueError(f"expected a component of {axis.head} that is no axis")
        component = rng.choice(free)
        taken.add((axis.head, component))
        found.append((axis.head, component, None))
    return found


def steer(
    dials: ComponentDials,
    prompts: Sequence[TaskPrompt],
    axes: Sequence[Axis],
    *,
    n_controls: int = 3,
    seed: int = 0,
) -> Steps[tuple[Steering, Grid]]:
    """Steering by position with `n_controls` of each kind, and the grid it was chosen from, over all
    prompts. Callers hold the model's lock during each step."""
    n, fitted = _check(prompts, axes), halves(prompts)
    positions = np.array([p.position for p in prompts])
    clean, shifts = _clean_and_shifts(dials, prompts, axes)
    own: list[Direction] = [(axis.head, axis.component, None) for axis in axes]
    sets = [("components", own)]
    for i in range(n_controls):
        sets.append((f"random directions {i + 1}", _random(dials, axes, seed + i)))
        sets.append((f"other components {i + 1}", _others(dials, axes, seed + i)))
    each = len(shifts) + 1
    results, grid = [], None
    for index, (name, directions) in enumerate(sets):
        answers = yield from _answers(
            clean, prompts, directions, shifts, index * each, len(sets) * each
        )
        grid = grid or Grid(tuple(axes), answers, n)
        results.append(fit_and_judge(name, answers.right, positions, fitted))
    assert grid is not None
    judged = np.bincount(positions[~fitted], minlength=n)
    plain = fit_and_judge("as it is", grid.answers.right[:1], positions, fitted)
    return Steering(judged, plain, results[0], tuple(results[1:])), grid
