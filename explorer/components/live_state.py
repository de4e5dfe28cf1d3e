"""What Live remembers between keystrokes: colour scales that stay, the prompt last shown."""

from __future__ import annotations

import streamlit as st

from explorer import selection
from explorer.core.store import Store
from explorer.core.types import NeuronId
from explorer.resources.live_values import (
    LiveRequest,
    LiveScales,
    LiveValue,
    moved,
    scales_for,
    stored_scales,
)

_SCALES, _LAST = "live-scales", "live-last"


def scales(store: Store, value: LiveValue) -> LiveScales:
    """The neuron's colour scales: those of its stored prompts, fixed; without any they only widen."""
    known: dict[tuple[str, NeuronId], tuple[LiveScales, bool]]
    known = st.session_state.setdefault(_SCALES, {})
    key = (store.run_id, value.neuron)
    if key not in known:
        stored = stored_scales(store, value.neuron)
        known[key] = (stored or scales_for([], []), stored is not None)
    old, fixed = known[key]
    if fixed:
        return old
    new = scales_for([value.heads], value.activations)
    first = old == scales_for([], [])
    heads = new.heads if first else max(old.heads, new.heads)
    widest = LiveScales(heads, max(old.activation, new.activation))
    known[key] = (widest, False)
    return widest


def follow_edit(request: LiveRequest, ids: tuple[int, ...]) -> int | None:
    """The chosen position in these tokens, moved with the edit since the last run."""
    last_text, last_ids = st.session_state.get(_LAST, (request.text, ids))
    st.session_state[_LAST] = (request.text, ids)
    if request.pos is None or last_text == request.text:
        return request.pos
    pos = moved(last_ids, ids, request.pos)
    if pos != request.pos:
        selection.choose(pos=pos)
    return pos
