"""What Live remembers between keystrokes: colour scales that stay, prompts last shown, heads off."""

from __future__ import annotations

from typing import Literal

import streamlit as st

from explorer import selection
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from explorer.resources.live_sides import Side
from explorer.resources.live_values import (
    LiveRequest,
    LiveScales,
    moved,
    scales_for,
    stored_scales,
)

SideName = Literal["A", "B"]
POSITION_OF: dict[SideName, str] = {"A": "pos", "B": "pos2"}
"""The field of the selection that holds a side's position."""
_SCALES, _LAST, _TURN, _UNDO = "live-scales", "live-last", "live-turn", "live-undo"
_SWITCHED = "live-switched"
_MAX_UNDO = 50


def scales(store: Store, sides: list[Side]) -> LiveScales:
    """The neuron's colour scales: those of its stored prompts, fixed; without any they only widen."""
    known: dict[tuple[str, NeuronId], tuple[LiveScales, bool]]
    known = st.session_state.setdefault(_SCALES, {})
    neuron = sides[0].before.neuron
    key = (store.run_id, neuron)
    if key not in known:
        stored = stored_scales(store, neuron)
        known[key] = (stored or scales_for([], []), stored is not None)
    old, fixed = known[key]
    if fixed:
        return old
    values = [side.before for side in sides]
    new = scales_for([v.heads for v in values], [a for v in values for a in v.activations])
    first = old == scales_for([], [])
    heads = new.heads if first else max(old.heads, new.heads)
    widest = LiveScales(heads, max(old.activation, new.activation))
    known[key] = (widest, False)
    return widest


def follow_edit(request: LiveRequest, ids: tuple[int, ...], side: SideName = "A") -> int | None:
    """The chosen position in these tokens, moved with the edit since the last run."""
    key = f"{_LAST}-{side}"
    last_text, last_ids = st.session_state.get(key, (request.text, ids))
    st.session_state[key] = (request.text, ids)
    if request.pos is None or last_text == request.text:
        return request.pos
    pos = moved(last_ids, ids, request.pos)
    if pos != request.pos:
        selection.choose(**{POSITION_OF[side]: pos})
    return pos


def forget_edits() -> None:
    """Prompts are about to be exchanged: no position is to be moved for it."""
    for side in POSITION_OF:
        st.session_state.pop(f"{_LAST}-{side}", None)


# --- heads off ------------------------------------------------------------------------------


def turn() -> int:
    """How often heads were switched in this session: tells a click from the same one before it."""
    return int(st.session_state.get(_TURN, 0))


def _switch(off: tuple[HeadId, ...], **more: object) -> tuple[HeadId, ...]:
    """Have exactly these heads off; gives those that were."""
    before = selection.current().off or ()
    st.session_state[_TURN] = turn() + 1
    switched: dict[HeadId, int] = st.session_state.setdefault(_SWITCHED, {})
    switched |= dict.fromkeys(set(before) ^ set(off), turn())
    selection.choose(off=off or None, **more)
    return before


def _set_off(off: tuple[HeadId, ...], **more: object) -> None:
    undo: list[tuple[HeadId, ...]] = st.session_state.setdefault(_UNDO, [])
    undo.append(_switch(off, **more))
    del undo[:-_MAX_UNDO]


def toggle_drawn(head: HeadId, drawn_at: int) -> None:
    """Switch a head that was clicked in the drawing of turn `drawn_at`.

    A quick hand clicks before the drawing has followed its last click. What it means is plain unless
    this very head was switched since: then the click came twice, or was meant for what is gone.
    """
    switched: dict[HeadId, int] = st.session_state.get(_SWITCHED, {})
    if switched.get(head, 0) <= drawn_at <= turn():
        toggle(head)


def toggle(head: HeadId) -> None:
    """Switch a head off, or on again; it is then the selected head."""
    off = selection.current().off or ()
    kept = tuple(other for other in off if other != head)
    _set_off(kept if head in off else (*off, head), head=head)


def restore_all() -> None:
    """Switch all heads on again."""
    if selection.current().off:
        _set_off(())


def can_undo() -> bool:
    """Whether heads have been switched that can be switched back."""
    return bool(st.session_state.get(_UNDO))


def undo() -> None:
    """Take the last switch of heads back."""
    if can_undo():
        _switch(st.session_state[_UNDO].pop())
