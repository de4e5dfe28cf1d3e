"""What a person sets on Live: prompts and neuron. All write the selection, and so the URL."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from explorer import selection
from explorer.components.live_state import SideName, forget_edits
from explorer.core.store import Store
from explorer.core.types import NeuronId
from explorer.resources.live_values import from_field, neuron_names, to_field, token_of

_NEURON, _NOTE, _CHANGED = "live-neuron", "live-note", "live-neuron-changed"
_FIELD: dict[SideName, str] = {"A": "live-text", "B": "live-text-b"}
_MAX_CHARACTERS = 4000


def prompt_input(side: SideName, label: str, text: str, on_edit: Callable[[str], None]) -> None:
    """A prompt as a one-line field that commits while somebody types.

    `text` is what the selection shows; `on_edit` gets what is typed.
    """
    key = _FIELD[side]

    def edited() -> None:
        on_edit(from_field(st.session_state[key]))

    field = to_field(text)
    # Only where it differs: setting it anew would overwrite what is being typed at this moment.
    if st.session_state.get(key) != field:
        st.session_state[key] = field
    st.text_input(
        label,
        key=key,
        live="150ms",
        on_change=edited,
        max_chars=_MAX_CHARACTERS,
        placeholder="Type a word.",
        help="The model reads it as tokens, pieces of words, shown below. ↵ stands for a line break.",
    )


def edit_first(stored_text: str | None) -> Callable[[str], None]:
    """What an edit of the first prompt does: a text that equals the stored prompt's is no edit, and
    shows the stored tokens again."""

    def edit(typed: str) -> None:
        unedited = stored_text is not None and to_field(typed) == to_field(stored_text)
        selection.choose(text=None if unedited else typed)

    return edit


def edit_second(typed: str) -> None:
    """An edit of the second prompt."""
    selection.choose(text2=typed)


# --- two prompts ----------------------------------------------------------------------------


def _exchange(text: str, pos: int | None, text2: str | None, pos2: int | None) -> None:
    forget_edits()
    selection.choose(text=text, pos=pos, text2=text2, pos2=pos2)


def _button(
    label: str, key: str, help: str, values: tuple[str, int | None, str | None, int | None]
) -> None:
    st.button(label, key=key, help=help, on_click=_exchange, args=values)


def second_prompt_button(a: str, is_there: bool) -> None:
    """Put a second prompt beside the first; it begins as its copy. Or take it away."""
    if is_there:
        st.button("× One prompt", key="live-one", on_click=_one, width="stretch")
        return
    pos = selection.current().pos
    st.button(
        "+ Second prompt", key="live-second", on_click=_second, args=(a, pos), width="stretch"
    )


def _second(a: str, pos: int | None) -> None:
    forget_edits()
    selection.choose(text2=a, pos2=pos)


def _one() -> None:
    selection.choose(text2=None, pos2=None)


def pair_buttons(a: str, b: str) -> None:
    """Swap the prompts, or copy one to the other."""
    chosen = selection.current()
    with st.container(key="live-pair", horizontal=True, gap="xsmall", horizontal_alignment="right"):
        _button("⇅ Swap", "live-swap", "Exchange A and B", (b, chosen.pos2, a, chosen.pos))
        _button("A → B", "live-copy-a", "Copy A to B", (a, chosen.pos, a, chosen.pos))
        _button("B → A", "live-copy-b", "Copy B to A", (b, chosen.pos2, b, chosen.pos2))


# --- the neuron -----------------------------------------------------------------------------


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


def choose_neuron(neuron: NeuronId, token: str | None = None) -> None:
    """Select another neuron, and the token whose probability is watched; the frame around Live
    follows in the next run."""
    # Without a token the frame gives the trail the neuron's own.
    selection.choose(neuron=neuron, token=token, head=None)
    st.session_state[_CHANGED] = True


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
        choose_neuron(wanted)

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


def frame_is_stale() -> bool:
    """Whether what the frame around Live shows has just changed."""
    return bool(st.session_state.pop(_CHANGED, False))


def frame_changes() -> None:
    """Say that the frame is to be drawn anew."""
    st.session_state[_CHANGED] = True
