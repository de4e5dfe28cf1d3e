"""What a person sets on Live: the prompt, the neuron. Both write the selection, and so the URL."""

from __future__ import annotations

import streamlit as st

from explorer import selection
from explorer.core.store import Store
from explorer.core.types import NeuronId
from explorer.resources.live_values import from_field, neuron_names, to_field, token_of

_TEXT, _NEURON, _NOTE, _CHANGED = "live-text", "live-neuron", "live-note", "live-neuron-changed"
_MAX_CHARACTERS = 4000


def prompt_input(text: str, stored_text: str | None) -> None:
    """The prompt as a one-line field that commits while somebody types.

    `text` is what the selection shows; a text that equals the stored prompt's is no edit, and shows
    the stored tokens again.
    """

    def edited() -> None:
        typed = from_field(st.session_state[_TEXT])
        unedited = stored_text is not None and to_field(typed) == to_field(stored_text)
        selection.choose(text=None if unedited else typed)

    field = to_field(text)
    # Only where it differs: setting it anew would overwrite what is being typed at this moment.
    if st.session_state.get(_TEXT) != field:
        st.session_state[_TEXT] = field
    st.text_input(
        "Prompt: edit it, everything below follows",
        key=_TEXT,
        live="150ms",
        on_change=edited,
        max_chars=_MAX_CHARACTERS,
        placeholder="Type a word.",
        help="The model reads it as tokens, pieces of words, shown below. ↵ stands for a line break.",
    )


def _wanted_neuron(store: Store, typed: str) -> NeuronId | str:
    """The neuron that a text names, or why there is none."""
    shape = store.shape
    try:
        neuron = NeuronId.parse(typed)
    except ValueError:
        return f"Write a neuron as L{shape.n_layers - 1}N12: its layer, then its number."
    if neuron.layer >= shape.n_layers or neuron.index >= shape.d_mlp:
        return (
            f"The model has no neuron {neuron.label}: its layers are 0–{shape.n_layers - 1}, with "
            f"neurons 0–{shape.d_mlp - 1:,}."
        )
    return neuron


def neuron_input(store: Store, neuron: NeuronId) -> None:
    """The studied neurons with their tokens; any other one can be typed, as `L5N231`."""
    names = neuron_names(store)
    own = str(neuron)
    options = list(names) if own in names else [own, *names]
    if own not in names:
        token = to_field(store.token_texts[token_of(store, neuron)]).replace(" ", "␣")
        names[own] = f"{neuron.label} {token}"

    def picked() -> None:
        wanted = _wanted_neuron(store, str(st.session_state[_NEURON] or own))
        if isinstance(wanted, str):
            st.session_state[_NOTE] = wanted
            return
        # Without a token of its own the frame gives the trail the neuron's.
        selection.choose(neuron=wanted, token=None, head=None)
        st.session_state[_CHANGED] = True

    st.session_state[_NEURON] = own
    st.selectbox(
        "Neuron",
        options,
        key=_NEURON,
        on_change=picked,
        format_func=lambda name: names.get(str(name), str(name)),
        accept_new_options=True,
        help="A studied neuron, with the token it writes; or type any neuron, such as "
        f"L{store.shape.n_layers - 1}N12.",
    )


def neuron_note() -> str | None:
    """Why the last typed neuron was not taken; said once."""
    return st.session_state.pop(_NOTE, None)


def neuron_changed() -> bool:
    """Whether another neuron has just been picked: the frame around Live then follows."""
    return bool(st.session_state.pop(_CHANGED, False))
