"""The dial of one component on one prompt: what a person sets, and what the model makes of it."""

from __future__ import annotations

import html

import streamlit as st

from explorer import selection
from explorer.components import channel_dial_figures as figures
from explorer.components import flow_inputs, frame, model_wait
from explorer.components.live_inputs import edit_first, prompt_input
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from explorer.resources import models
from explorer.resources.channel_live import Dial, DialRange, How
from explorer.resources.channel_runs import dial_range, turned
from explorer.resources.live_values import (
    LiveRequest,
    StoredPrompt,
    stored_prompt,
    token_of,
)
from explorer.resources.neuron_tables import default_neuron

_HOW_NAMES: dict[str, str] = {"scale": "Scale", "set": "Set"}
_WHERE_NAMES = {"last": "last position", "all": "all positions"}


def _shown_prompt(store: Store, neuron: NeuronId) -> StoredPrompt | None:
    """The stored prompt to begin with: the chosen one, else the neuron's first, else any neuron's."""
    chosen = selection.current()
    other = default_neuron(store, None)
    return (
        stored_prompt(store, neuron, chosen.prompt)
        or stored_prompt(store, neuron, None)
        or (None if other is None else stored_prompt(store, other, None))
    )


def _request(stored: StoredPrompt | None, neuron: NeuronId) -> LiveRequest:
    """The typed text, else the stored prompt's own tokens."""
    text = selection.current().text
    own = stored if text is None else None
    return LiveRequest(
        text=text or "" if own is None else own.text,
        token_ids=None if own is None else own.token_ids,
        neuron=neuron,
        token_id=0,
        pos=None,
    )


def _modes() -> tuple[How, str]:
    how, _, where = (selection.current().edit or "scale-last").partition("-")
    return ("set" if how == "set" else "scale"), where


def _mode_inputs(how: How, where: str) -> None:
    """How the dial works and where, in widgets whose keys say what they show."""
    keys = f"channels-how-{how}", f"channels-where-{where}"

    def picked() -> None:
        wanted = st.session_state[keys[0]]
        forget = {"strength": None} if wanted != how else {}
        selection.choose(edit=f"{wanted}-{st.session_state[keys[1]]}", **forget)

    st.session_state.update(dict(zip(keys, (how, where), strict=True)))
    st.segmented_control(
        "Dial", [*_HOW_NAMES], key=keys[0], required=True, on_change=picked,
        format_func=lambda name: _HOW_NAMES[name],
        help="Scale: the component's activation times a factor; 0 removes it, 1 leaves it. Set: the "
        "activation itself. The head's other components stay. The paper scales, removes and sets; this "
        "form is ours.",
    )  # fmt: skip
    st.segmented_control(
        "At", [*_WHERE_NAMES], key=keys[1], required=True, on_change=picked,
        format_func=lambda name: _WHERE_NAMES[name],
        help="Scaling at all positions is the same as scaling the singular value in the weights.",
    )  # fmt: skip


def _strength_input(of: str, limits: DialRange, how: How, strength: float | None) -> None:
    """The slider; `of` names the component, so that another one's slider is another widget."""
    shown = min(limits.high, max(limits.low, limits.neutral if strength is None else strength))
    key = f"channels-strength-{of}-{how}-{limits.high:g}"

    def moved() -> None:
        # A new range makes the browser report the value that the page itself has set.
        if st.session_state[key] != shown:
            selection.choose(strength=float(st.session_state[key]))

    st.session_state[key] = shown
    st.slider(
        "Factor" if how == "scale" else "Activation, units of the residual stream",
        limits.low, limits.high, step=limits.step, format="%.2f", key=key, on_change=moved,
    )  # fmt: skip


def _turn_to(strength: float | None) -> None:
    selection.choose(strength=strength)


def _controls(of: str, limits: DialRange, how: How, where: str) -> None:
    strength = selection.current().strength
    modes, slider, buttons = st.columns([37, 43, 20], gap="medium", vertical_alignment="bottom")
    with modes, st.container(horizontal=True, gap="medium"):
        _mode_inputs(how, where)
    with slider:
        _strength_input(of, limits, how, strength)
    with buttons, st.container(horizontal=True, gap="small", horizontal_alignment="right"):
        st.button("Zero", key="channels-zero", on_click=_turn_to, args=(0.0,),
                  help="Remove the component")  # fmt: skip
        st.button("As it is", key="channels-neutral", on_click=_turn_to, args=(None,),
                  disabled=strength is None, help="Leave the component as the model has it")  # fmt: skip


def _prompt_inputs(
    store: Store, neuron: NeuronId, request: LiveRequest, stored: StoredPrompt | None
) -> None:
    wide, side = st.columns([68, 32], gap="small")
    with wide:
        text = None if stored is None else stored.text
        prompt_input(
            "A", "Prompt: edit it, the dial's figures follow", request.text, edit_first(text)
        )
    with side:
        shown = stored if request.token_ids is not None else None
        flow_inputs.stored_prompt_input(store, neuron, shown)


def _instead(status: models.ModelStatus, request: LiveRequest) -> None:
    """What stands where there is nothing to turn."""
    if not request.text or status.state == "ready":
        frame.empty("Type a word.")
        return
    if model_wait.is_coming(status):
        frame.empty("The dial comes with the model.")
        st.skeleton(height=420)


def _watched(src: HeadId, dst: HeadId, neuron: NeuronId) -> tuple[HeadId | None, NeuronId | None]:
    """The receiver and the neuron, where the head's edit can reach them at all."""
    return (dst if dst.layer > src.layer else None, neuron if neuron.layer >= src.layer else None)


@st.fragment
def dial(store: Store, src: HeadId, comp: int) -> None:
    """Turn a component of a head, and see prediction, neuron and receiver move."""
    chosen = selection.current()
    neuron = chosen.neuron or default_neuron(store, None) or NeuronId(store.shape.n_layers - 1, 0)
    dst = chosen.dst or HeadId(store.shape.n_layers - 1, 0)
    status = models.model_status(store)
    with st.container(key="channels-dial"):
        with st.container(horizontal=True, horizontal_alignment="distribute"):
            title = html.escape(f"Turn {src.label}, component {comp}, on a prompt")
            st.html(f'<h2 class="nt-heading">{title}</h2>')
            st.html(f'<p class="nt-status" role="status">{model_wait.status_line(status)}</p>')
        model_wait.trouble(store, status, "The dial")
        stored = _shown_prompt(store, neuron)
        request = _request(stored, neuron)
        _prompt_inputs(store, neuron, request, stored)
        ids = models.encode(store, request) if status.state == "ready" and request.text else ()
        if not ids:
            _instead(status, request)
            return
        how, where = _modes()
        receiver, watched = _watched(src, dst, neuron)
        asked = Dial(
            request.text, ids, src, comp, receiver, watched, how, where == "all",
            None if watched is None else token_of(store, watched),
        )  # fmt: skip
        _controls(f"{src}-{comp}", dial_range(store, asked), how, where)
        figures.draw(store, turned(store, asked, chosen.strength), dst, neuron)
