"""What a link to Live names that is not there: said, and left out."""

from __future__ import annotations

import streamlit as st

from explorer import selection
from explorer.components import chips, frame
from explorer.core.store import Store
from explorer.resources.live_sides import Side
from explorer.resources.live_values import LiveRequest, StoredPrompt, stored_prompt
from explorer.selection import Selection

_NOTE = "live-link-note"


def note_missing_prompt(store: Store, wanted: Selection) -> None:
    """Remember that the link names a prompt that the run does not have, to be said on the page."""
    if wanted.prompt is None or wanted.neuron is None:
        return
    if stored_prompt(store, wanted.neuron, wanted.prompt) is None:
        st.session_state[_NOTE] = f"Run *{store.run_id}* has no prompt {wanted.prompt}."


def check_link(store: Store, linked: Selection) -> None:
    """Say what the link names that is not there; heads that the model does not have are left out."""
    notes = [note] if (note := st.session_state.pop(_NOTE, None)) else []
    shape, off = store.shape, linked.off or ()
    missing = [h for h in off if h.layer >= shape.n_layers or h.index >= shape.n_heads]
    if missing:
        selection.choose(off=tuple(head for head in off if head not in missing) or None)
        names = ", ".join(head.label for head in missing)
        notes.append(
            f"Run *{store.run_id}* has no head {names}, so it cannot be off. Its layers are "
            f"0–{shape.n_layers - 1}, with heads 0–{shape.n_heads - 1}."
        )
    for text in notes:
        frame.note(chips.emphasised(text))


def not_its_own(store: Store, request: LiveRequest, stored: StoredPrompt | None) -> str | None:
    """Whose prompt is shown, where the neuron has none of its own and nobody has typed one."""
    if request.token_ids is None or stored is None or stored.neuron == request.neuron:
        return None
    if stored_prompt(store, request.neuron, None) is not None:
        return None
    return (
        f"No prompts are stored for {request.neuron.label}. This is one of {stored.neuron.label}; edit "
        "it, or type your own."
    )


def position_note(side: Side, wanted: int | None, name: str) -> str:
    """Why another position is shown than the link's; empty where it is the link's."""
    value = side.before
    if wanted is None or value.position + value.n_cut == wanted:
        return ""
    prompt = f"Prompt {name}" if name else "The prompt"
    n = value.n_cut + len(value.tokens)
    return f"{prompt} has no token {wanted + 1} to look at: it has {n}. Its last one is chosen."
