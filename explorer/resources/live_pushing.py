"""The neurons that push the prediction at the position studied, of any layer, studied or not."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from explorer.core.store import Store
from explorer.core.types import NeuronId
from explorer.resources.live_values import LiveValue, token_of
from explorer.resources.models import give_way, model_source, slot_of

N_PUSHING = 8


@dataclass(frozen=True)
class Pushing:
    """A neuron, its own token, and its direct effect on a next token in centred logits."""

    neuron: NeuronId
    own_token: str
    activation: float
    effect: float


def pushing(store: Store, value: LiveValue, token_id: int) -> tuple[Pushing, ...]:
    """The neurons that raise this next token most after the position studied, most first."""
    ids = value.token_ids[: value.position + 1]
    return _pushing(store, model_source(store), ids, token_id)


@lru_cache(maxsize=32)
def _pushing(store: Store, source: str, ids: tuple[int, ...], token_id: int) -> tuple[Pushing, ...]:
    from explorer.core.flow_analysis import pushing_neurons

    def job(model: Any) -> Any:
        return pushing_neurons(model, ids, None, token_id, N_PUSHING)

    texts = store.token_texts
    return tuple(
        Pushing(one.neuron, texts[token_of(store, one.neuron)], one.activation, one.effect)
        for one in slot_of(store, source).use(job, give_way)
    )
