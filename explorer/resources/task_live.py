"""Tasks put to the model live: accuracy with components dialled, scores of components, grids, steering.

The work is the core's, one step at a time by the model's own thread, so that other sessions go between
and the page can say how far it is. Nothing here imports torch until the model is at hand.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from explorer.core.accuracy import Accuracy
from explorer.core.store import Store
from explorer.core.tasks import LAUNDRY_LIST, NAME_INHIBITION
from explorer.core.types import HeadId
from explorer.resources.models import give_way, model_source, slot_of
from explorer.resources.task_tables import group_of
from explorer.resources.task_values import (
    Asked,
    Example,
    Scores,
    Sentence,
    SteeringRun,
    TaskRun,
    total,
)

Progress = Callable[[float, float | None], None]
"""Told the share done, 0 to 1, and the seconds left (None while they cannot be told)."""
N_PROMPTS, N_CONTROLS = 64, 2
_NAMES_A_ORDER = 24
_VALUES = {1: 9, 2: 5, 3: 3}
"""Values on each axis of the grid, by the number of axes: some 25 cells."""


@lru_cache(maxsize=2)
def _dials(model: Any) -> Any:
    from explorer.core.model_blocks import Blocks
    from explorer.core.model_component_edit import ComponentDials

    return ComponentDials(Blocks(model))


@lru_cache(maxsize=2)
def _maker(model: Any) -> Any:
    from explorer.core.task_seen import read_seen
    from explorer.core.tasks import TaskMaker

    return TaskMaker(
        model.tokenizer.encode_all, model.max_prompt_tokens, read_seen(str(model.source))
    )


@lru_cache(maxsize=4)
def sentences(store: Store, task: str) -> tuple[Sentence, ...]:
    """What can be asked of the run's model; empty where its vocabulary has too few whole words."""

    def job(model: Any) -> tuple[Sentence, ...]:
        maker, found = _maker(model), []
        for words in maker.kinds:
            for template in maker.templates(task):
                if not maker.has_words(task, template, words):
                    continue
                if task == NAME_INHIBITION:
                    longest = 2 if maker.names_fit(template, words) else 0
                else:
                    longest = maker.longest_list(template, words)
                group = group_of(maker.condition(template, words, 2))
                if longest >= 2:
                    found.append(Sentence(template, words, group, longest))
        return tuple(found)

    return slot_of(store, model_source(store)).use(job, give_way)


def _in_steps(store: Store, make: Callable[[Any], Any], progress: Progress) -> Any:
    """Do a core generator's steps by the model's thread, one job each; return its result."""
    slot = slot_of(store, model_source(store))
    steps = slot.use(make, give_way)

    def step(model: Any) -> tuple[bool, Any]:
        try:
            with model.lock:
                return False, next(steps)
        except StopIteration as end:
            return True, end.value

    began = time.monotonic()
    while True:
        is_over, value = slot.use(step, give_way)
        if is_over:
            return value
        done, n_steps = value
        spent = time.monotonic() - began
        progress(done / n_steps, spent / done * (n_steps - done) if spent > 0.5 else None)
        give_way()


def _prompts(model: Any, asked: Asked, per_place: int) -> list[Any]:
    maker, own = _maker(model), asked.sentence
    if asked.task == LAUNDRY_LIST:
        return maker.lists(own.template, asked.n, per_place, words=own.words, seed=1)
    return maker.names(own.template, per_place, words=own.words, seed=1)


def _per_place(n: int) -> int:
    return max(4, -(-N_PROMPTS // n))


def run_task(store: Store, asked: Asked, progress: Progress) -> TaskRun:
    """The task as asked, on at least 64 prompts with each place of the answer equally often."""
    from explorer.core.task_dials import dialled_answers

    prompts: list[Any] = []

    def make(model: Any) -> Any:
        prompts.extend(_prompts(model, asked, _per_place(asked.n)))
        factors = [(head, index, asked.factor) for head, index in asked.components]
        return dialled_answers(_dials(model), prompts, factors)

    found = _in_steps(store, make, progress)
    positions = np.array([p.position for p in prompts])

    def by_place(right: np.ndarray) -> tuple[Accuracy, ...]:
        return tuple(
            Accuracy(
                int(right[positions == place].sum()), int((positions == place).sum()), 1 / asked.n
            )
            for place in range(asked.n)
        )

    clean = by_place(found.clean.right)
    can = total(clean).beats_chance
    shows = can and bool(asked.components)
    examples = tuple(
        Example(
            p.text, p.words, p.position, tuple(found.clean.probabilities[row].tolist()),
            tuple(found.dialled.probabilities[row].tolist()) if shows else None,
        )
        for row, p in enumerate(prompts[: asked.n])
    )  # fmt: skip
    return TaskRun(
        asked, str(prompts[0].condition), clean, by_place(found.dialled.right) if shows else None,
        int(found.clean.top1.sum()), examples,
    )  # fmt: skip


def _name_prompts(model: Any, sentence: Sentence) -> list[Any]:
    return _maker(model).names(sentence.template, _NAMES_A_ORDER, words=sentence.words, seed=1)


@lru_cache(maxsize=8)
def receivers(store: Store, sentence: Sentence) -> tuple[tuple[HeadId, float], ...]:
    """All heads by how much more they attend from the end to the answer's name than to the other's."""

    def job(model: Any) -> Any:
        from explorer.core.task_scores import receiver_gaps

        with model.lock:
            return receiver_gaps(_dials(model).blocks, _name_prompts(model, sentence))

    gaps = slot_of(store, model_source(store)).use(job, give_way)
    n_heads = gaps.shape[1]
    order = np.argsort(-gaps.ravel(), kind="stable")
    return tuple((HeadId.from_flat(int(i), n_heads), float(gaps.ravel()[i])) for i in order)


def score_components(
    store: Store, sentence: Sentence, receiver: HeadId, progress: Progress
) -> Scores:
    """The inhibition score of every component below a receiver, on 48 prompts."""
    from explorer.core.task_scores import inhibition_scores

    def make(model: Any) -> Any:
        return inhibition_scores(_dials(model), _name_prompts(model, sentence), receiver)

    found = _in_steps(store, make, progress)
    gap = dict(receivers(store, sentence))[receiver]
    rows = tuple((s.head, s.component, s.score, s.standard_error) for s in found)
    return Scores(receiver, sentence, gap, 2 * _NAMES_A_ORDER, rows)


def steer_task(store: Store, asked: Asked, progress: Progress) -> SteeringRun:
    """Set the components to a grid of values; fit on one half of the prompts, judge on the other."""

    def make(model: Any) -> Any:
        from explorer.core.steering import Axis, axis_values, steer

        prompts, dials = _prompts(model, asked, max(6, -(-48 // asked.n))), _dials(model)
        layer = min(head.layer for head, _ in asked.components)
        with model.lock:
            runs = dials.clean([p.token_ids for p in prompts], layer)
            values = _VALUES[len(asked.components)]
            axes = [
                Axis(head, index, axis_values(runs.activations(head)[:, index], values))
                for head, index in asked.components
            ]
        return steer(dials, prompts, axes, n_controls=N_CONTROLS)

    steering, grid = _in_steps(store, make, progress)
    n = int(steering.n_prompts.sum())
    named = [("as it is", steering.clean), ("steered", steering.steered)]
    named += [(control.name, control) for control in steering.controls]
    rows = tuple((name, Accuracy(int(s.n_right.sum()), n, 1 / asked.n)) for name, s in named)
    return SteeringRun(asked, tuple(axis.values for axis in grid.axes), grid.shares, rows)
