"""The model's runs behind a component's dial: clean, edited, and the whole curve in one batch.

They are the core's (`core.model_component_edit`), done by the model's own thread. Answers are
remembered, since a page asks for them at every run. Nothing here imports torch until the model is at
hand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from explorer.core.store import Store
from explorer.core.types import HeadId
from explorer.resources.channel_live import (
    Dial,
    DialRange,
    DialState,
    DialValue,
    component_range,
)
from explorer.resources.models import give_way, model_source, slot_of

_CURVE_STEPS = 21
_MOST_TOKENS = 1400
"""Positions that a curve over whole prompts may run at once; a longer prompt gets fewer points."""


@lru_cache(maxsize=2)
def _dials(model: Any) -> Any:
    from explorer.core.model_blocks import Blocks
    from explorer.core.model_component_edit import ComponentDials

    return ComponentDials(Blocks(model))


def _used(store: Store, ids: tuple[int, ...]) -> tuple[int, ...]:
    return ids[-(store.shape.n_ctx - 1) :]


@lru_cache(maxsize=8)
def _clean(store: Store, source: str, ids: tuple[int, ...], layer: int, n: int) -> Any:
    """The prompt run once, as `n` rows, ready to be run on from `layer`."""

    def job(model: Any) -> Any:
        with model.lock:
            return _dials(model).clean([ids] * n, layer)

    return slot_of(store, source).use(job, give_way)


@dataclass(frozen=True)
class _Activations:
    """A component's activations in a clean run."""

    last: float
    along: np.ndarray


@lru_cache(maxsize=32)
def _activations(
    store: Store, source: str, ids: tuple[int, ...], head: HeadId, component: int
) -> _Activations:
    clean = _clean(store, source, ids, head.layer, 1)

    def job(model: Any) -> _Activations:
        with model.lock:
            last = float(clean.activations(head)[0, component])
            along = _dials(model).along(ids, head)[:, component].cpu().numpy()
        return _Activations(last, along)

    return slot_of(store, source).use(job, give_way)


def dial_range(store: Store, dial: Dial) -> DialRange:
    """The slider of a dial."""
    found = _activations(
        store, model_source(store), _used(store, dial.token_ids), dial.head, dial.component
    )
    return component_range(dial.how, found.along)


def _edited(
    store: Store, source: str, dial: Dial, strengths: tuple[float, ...]
) -> tuple[DialState, ...]:
    """The model at each of these strengths, in one batch."""
    ids = _used(store, dial.token_ids)
    clean = _clean(store, source, ids, dial.head.layer, len(strengths))

    def job(model: Any) -> tuple[DialState, ...]:
        import torch

        from explorer.core.component_edit import ComponentEdit

        rows = torch.tensor(strengths, dtype=torch.float64)
        edit = (
            ComponentEdit(dial.head, dial.component, scale=rows)
            if dial.how == "scale"
            else ComponentEdit.set_to(dial.head, dial.component, rows)
        )
        with model.lock:
            found = clean.edited(
                [edit], receiver=dial.receiver, neuron=dial.neuron, everywhere=dial.everywhere
            )
        return tuple(_state(found, row, strength) for row, strength in enumerate(strengths))

    return slot_of(store, source).use(job, give_way)


def _state(found: Any, row: int, strength: float) -> DialState:
    has_neuron = found.activation is not None
    return DialState(
        strength=strength,
        probabilities=found.logits[row].double().softmax(-1).cpu().numpy(),
        activation=float(found.activation[row]) if has_neuron else None,
        pre_activation=float(found.pre_activation[row]) if has_neuron else None,
        attention=None if found.attention is None else found.attention[row].cpu().numpy(),
    )


@lru_cache(maxsize=8)
def _curve(store: Store, source: str, dial: Dial) -> tuple[DialState, ...]:
    limits, n = dial_range(store, dial), _CURVE_STEPS
    if dial.everywhere:
        n_positions = len(_used(store, dial.token_ids)) + 1
        n = max(6, min(_CURVE_STEPS, _MOST_TOKENS // n_positions))
    strengths = np.linspace(limits.low, limits.high, n)
    return _edited(store, source, dial, tuple(float(s) for s in strengths))


@lru_cache(maxsize=64)
def _at(store: Store, source: str, dial: Dial, strength: float) -> DialState:
    return _edited(store, source, dial, (strength,))[0]


@lru_cache(maxsize=8)
def _before(store: Store, source: str, dial: Dial, neutral: float) -> DialState:
    """The prompt without an edit, at the strength that leaves the component as it is."""
    clean = _clean(store, source, _used(store, dial.token_ids), dial.head.layer, 1)

    def job(model: Any) -> Any:
        with model.lock:
            return clean.edited([], receiver=dial.receiver, neuron=dial.neuron)

    return _state(slot_of(store, source).use(job, give_way), 0, neutral)


def turned(store: Store, dial: Dial, strength: float | None) -> DialValue:
    """The prompt with the dial at `strength`; None leaves the component as it is."""
    source, ids = model_source(store), _used(store, dial.token_ids)
    found = _activations(store, source, ids, dial.head, dial.component)
    before = now = _before(store, source, dial, 1.0 if dial.how == "scale" else found.last)
    # Setting all positions to the last one's activation is an edit, also at that strength.
    same = dial.how == "scale" or not dial.everywhere
    if strength is not None and not (same and math.isclose(strength, before.strength)):
        now = _at(store, source, dial, strength)
    texts = store.token_texts
    return DialValue(
        dial=dial,
        tokens=tuple(texts[i] for i in ids),
        n_cut=len(dial.token_ids) - len(ids),
        component_activation=found.last,
        along=found.along,
        before=before,
        now=now,
        curve=_curve(store, source, dial),
        texts=tuple(texts),
    )
