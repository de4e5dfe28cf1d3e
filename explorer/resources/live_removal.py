"""Heads switched off in Live: the model re-run without them, and each head's causal effect.

All of it is the core's ablation, done by the model's own thread. Answers are remembered, since a page
asks for them at every run. Nothing here imports torch until the model is at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from explorer.charts.live_effects import HeadEffect
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from explorer.resources.live_sides import N_NEXT, Removal, Side
from explorer.resources.live_values import LiveValue
from explorer.resources.models import give_way, model_source, next_row, slot_of


def is_mean(kind: str) -> bool:
    """Whether a kind puts means in a head's place, which the run's prompts must give first."""
    return kind.startswith("mean")


@lru_cache(maxsize=2)
def _blocks(model: Any) -> Any:
    from explorer.core.model_blocks import Blocks

    return Blocks(model)


@lru_cache(maxsize=4)
def get_ready(store: Store) -> None:
    """Take the model apart into its blocks now, so that the first click on a head does not wait."""
    slot_of(store, model_source(store)).soon(_blocks)


@lru_cache(maxsize=32)
def _other_prompts(store: Store, neuron: NeuronId) -> tuple[tuple[int, ...], ...]:
    """The kept texts of all other neurons' train prompts, in the store's order."""
    rows = store.sql(
        "SELECT token_ids[start + 1:] AS kept FROM prompts WHERE split = 'train' "
        "AND NOT (layer = ? AND neuron = ?) ORDER BY prompt_id",
        (neuron.layer, neuron.index),
    )
    return tuple(tuple(int(i) for i in kept) for kept in rows["kept"])


@lru_cache(maxsize=64)
def _means(store: Store, source: str, neuron: NeuronId) -> Any:
    """What the mean kinds put in a head's place; None where no other neuron kept a prompt."""
    from explorer.core.live_ablation import prompt_means

    prompts = _other_prompts(store, neuron)
    return slot_of(store, source).use(lambda model: prompt_means(_blocks(model), prompts), give_way)


def _means_for(store: Store, source: str, neuron: NeuronId, kind: str) -> Any:
    return _means(store, source, neuron) if is_mean(kind) else None


def can_remove(store: Store, neuron: NeuronId, kind: str) -> bool:
    """Whether the run has what a kind puts in a head's place."""
    return not is_mean(kind) or bool(_other_prompts(store, neuron))


def without_heads(store: Store, value: LiveValue, removal: Removal) -> Side:
    """The prompt with the heads of `removal` switched off, beside the prompt as it is."""
    if not removal or value.probabilities is None:
        return Side(value, value)
    return Side(value, _without(store, model_source(store), _Asked.of(value), removal), removal)


@dataclass(frozen=True)
class _Asked:
    """A value by what it was asked of, so that equal questions are answered once."""

    value: LiveValue
    key: tuple[Any, ...]

    @classmethod
    def of(cls, value: LiveValue) -> _Asked:
        ids = value.token_ids[: value.position + 1]
        return cls(value, (value.text, value.token_ids, ids, value.neuron, value.target.token_id))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Asked) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


@lru_cache(maxsize=32)
def _without(store: Store, source: str, asked: _Asked, removal: Removal) -> LiveValue:
    from explorer.core.live_ablation import ablate_prompt

    value, texts = asked.value, store.token_texts
    assert value.target.token_id is not None, "a value of the model knows its token"
    token_id = value.target.token_id
    means = _means_for(store, source, value.neuron, removal.kind)

    def job(model: Any) -> Any:
        return ablate_prompt(
            _blocks(model), value.token_ids, value.neuron, token_id, value.position, removal.heads,
            removal.kind, means=means, n_next_tokens=N_NEXT,
        )  # fmt: skip

    found = slot_of(store, source).use(job, give_way)
    return replace(
        value,
        heads=found.heads,
        mlps=found.mlps,
        embedding=found.embedding,
        bias=found.bias,
        pre_activation=found.pre_activation,
        activation=found.activation,
        next_tokens=tuple(next_row(token, texts) for token in found.next_tokens),
        target=next_row(found.target, texts),
        ln_scale=found.ln_scale,
        attention=None,
        probabilities=found.probabilities,
    )


def head_effects(store: Store, value: LiveValue, kind: str) -> tuple[HeadEffect, ...]:
    """What each head that reaches the neuron adds directly, and what is lost without it, alone.

    For the mean kinds the direct part is the contribution less that of the mean put in its place.
    """
    return _effects(store, model_source(store), _Asked.of(value), kind)


@lru_cache(maxsize=16)
def _effects(store: Store, source: str, asked: _Asked, kind: str) -> tuple[HeadEffect, ...]:
    from explorer.core.live_ablation import single_head_effects

    value = asked.value
    means = _means_for(store, source, value.neuron, kind)
    token_id = value.target.token_id
    assert token_id is not None, "a value of the model knows its token"

    def job(model: Any) -> tuple[Any, np.ndarray | None]:
        blocks = _blocks(model)
        found = single_head_effects(
            blocks, value.token_ids, value.neuron, token_id, value.position, kind, means=means
        )
        return found, None if means is None else _direct_of_means(model, value, means, kind)

    found, of_means = slot_of(store, source).use(job, give_way)
    direct = value.heads[: value.n_reaching_layers].astype(np.float64).ravel()
    if of_means is not None:
        direct = direct - of_means
    n_heads = value.heads.shape[1]
    heads = [HeadId.from_flat(flat, n_heads) for flat in range(len(direct))]
    return tuple(
        HeadEffect(head, float(own), -float(delta), head in value.active)
        for head, own, delta in zip(heads, direct, found.delta_pre_activation, strict=True)
    )


def _direct_of_means(model: Any, value: LiveValue, means: Any, kind: str) -> np.ndarray:
    """What the means would add in each head's place, at the divisor observed: flat, heads that reach."""
    import torch

    from explorer.core.attribution import attribute_heads

    n = value.n_reaching_layers
    z = (means.last if kind == "mean-last" else means.everywhere)[:n].double()
    readers = model.reader(value.neuron).heads[None].double().cpu()
    scale = torch.tensor([value.ln_scale], dtype=torch.float64)
    return attribute_heads(z.cpu(), readers, scale)[0].flatten().numpy()


def pearson_r(effects: Sequence[HeadEffect]) -> float | None:
    """Pearson's r of direct and causal over the heads; None where it has none."""
    from explorer.core.findings import pearson

    direct = np.array([effect.direct for effect in effects])
    found = pearson(direct, np.array([effect.causal for effect in effects]))
    return None if found is None else found.value
