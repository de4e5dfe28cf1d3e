"""Where to begin on Live: examples, a surprise, and the neurons that push the prediction."""

from __future__ import annotations

import random
from typing import Any

import streamlit as st

from explorer import selection
from explorer.charts.style import signed
from explorer.components.chips import plain_markdown, token_code
from explorer.components.live_inputs import choose_neuron, frame_changes
from explorer.components.live_state import forget_edits
from explorer.core.store import Store
from explorer.resources.live_pushing import Pushing, pushing
from explorer.resources.live_values import LiveValue
from explorer.resources.presets import Preset, presets, surprise
from explorer.selection import Selection

_SURPRISED, _SEE = "live-surprised", "live-see"


def _open(preset: Preset) -> None:
    forget_edits()
    selection.choose(**preset.fields())
    st.session_state[_SEE] = preset
    frame_changes()


def what_to_see(chosen: Selection) -> str:
    """What to look at in the example that was opened; empty once another prompt or neuron is shown."""
    preset: Preset | None = st.session_state.get(_SEE)
    if preset is None:
        return ""
    same = (chosen.neuron, chosen.text, chosen.text2) == (preset.neuron, preset.text, preset.text2)
    return preset.see if same and preset.prompt in (None, chosen.prompt) else ""


def _surprise(store: Store) -> None:
    preset = surprise(store, st.session_state.get(_SURPRISED), random.Random())
    if preset is not None:
        st.session_state[_SURPRISED] = preset.prompt
        _open(preset)


def examples(store: Store) -> None:
    """The examples, drawn while their menu is open, and *Surprise me*."""
    box: Any = st.popover("Examples", key="live-examples", on_change="rerun",
                          help="Prompts worth looking at, each with what to see")  # fmt: skip
    if box.open:
        with box, st.container(key="live-example-list", gap=None):
            for place, preset in enumerate(presets(store)):
                st.button(plain_markdown(preset.title), key=f"live-example-{place}",
                          on_click=_open, args=(preset,), width="stretch")  # fmt: skip
                st.caption(plain_markdown(preset.see))
    st.button("Surprise me", key="live-surprise", on_click=_surprise, args=(store,),
              help="A stored prompt at random, with a head that matters to its neuron")  # fmt: skip


def _pushing_list(found: tuple[Pushing, ...], key: str, token: str) -> None:
    for place, one in enumerate(found):
        label = f"{one.neuron.label} {token_code(one.own_token)} &ensp; **{signed(one.effect)}**"
        st.button(label, key=f"{key}-{place}", on_click=choose_neuron, args=(one.neuron, token),
                  width="stretch", help=f"With its own token. Activation {one.activation:.2f}")  # fmt: skip
    if not found:
        st.caption("No neuron raises it here.")


def pushing_menu(store: Store, value: LiveValue | None) -> None:
    """The neurons that push the prediction at the chosen position most, computed while it is open."""
    box: Any = st.popover("Pushing", key="live-pushing", on_change="rerun", width="stretch",
                          help="The neurons that push this prediction most, of any layer")  # fmt: skip
    if not box.open:
        return
    with box, st.container(key="live-push-list", gap="xxsmall"):
        if value is None or not value.next_tokens:
            st.caption("This comes with the model.")
            return
        best, own = value.next_tokens[0], value.target
        for key, row in (("live-push-best", best), ("live-push-own", own)):
            if row.token_id is None or (row is own and own.token_id == best.token_id):
                continue
            what = "the model's first choice" if row is best else "this neuron's token"
            st.caption(
                f"Direct effect on {token_code(row.text)}, {what}, in centred logits. "
                "Direct is not causal."
            )
            _pushing_list(pushing(store, value, row.token_id), key, row.text)
