"""Channels: which heads talk to each other, through which components, and what those carry."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import streamlit as st

from explorer.components import channel_components, channel_heads, frame, laundry_panel, model_wait
from explorer.components.channel_dial import dial
from explorer.components.channel_inputs import tab_input
from explorer.components.link_check import own_token
from explorer.components.live_panels import apply_style
from explorer.core.composition_modes import Mode
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from explorer.resources import models
from explorer.resources.channel_parts import first_fed
from explorer.resources.channel_tables import (
    ChannelMap,
    best_component,
    channel_map,
    fill_command,
    first_pair,
    read_matrix,
    read_mode,
    receiver,
)
from explorer.selection import Selection

_NAMES = ("tab", "mode", "src", "dst", "matrix", "comp", "token", "neuron", "text", "prompt", "edit",
          "strength", "items")  # fmt: skip
_TITLE = "Which heads talk to each other?"
_TABS = ("heads", "components", "laundry")


def _first_neuron(store: Store, src: HeadId, comp: int, neuron: NeuronId | None) -> dict[str, Any]:
    """A component without a chosen neuron shows the one to which it adds most."""
    found = first_fed(store, src, comp) if neuron is None else None
    return {} if found is None else {"neuron": found, "token": own_token(store, found)}


def _defaults(store: Store, chosen: Selection) -> dict[str, Any]:
    """A first visit opens on the strongest pair, and on the component that carries most of it; what a
    link names and the model does not have is forgotten."""
    fixes = _missing(store, chosen)
    src = None if "src" in fixes else chosen.src
    dst = None if "dst" in fixes else chosen.dst
    mode = read_mode(chosen.mode)
    pair = first_pair(store, mode, src, dst)
    if pair is None:
        return fixes
    fixes |= {"src": pair[0], "dst": pair[1]}
    comp = chosen.comp
    if comp is None or "comp" in fixes or src is None:
        comp = best_component(receiver(store, mode, pair[1]), pair[0])
    fixes["comp"] = comp
    if chosen.tab == "components" and read_matrix(chosen.matrix) == "OV":
        fixes |= _first_neuron(store, pair[0], comp, chosen.neuron)
    return fixes


def _missing(store: Store, chosen: Selection) -> dict[str, Any]:
    """What of the page's own fields does not exist in this model, each said once."""
    shape, lost = store.shape, {}
    for name, head in (("src", chosen.src), ("dst", chosen.dst)):
        if head is not None and (head.layer >= shape.n_layers or head.index >= shape.n_heads):
            lost[name] = (
                f"This model has no head {head.label}: its layers are 0–{shape.n_layers - 1}, with heads "
                f"0–{shape.n_heads - 1}."
            )
    if "dst" not in lost and chosen.dst is not None and chosen.dst.layer == 0:
        lost["dst"] = f"{chosen.dst.label} is in the first layer: no head comes before it."
    if chosen.comp is not None and chosen.comp >= shape.d_head:
        lost["comp"] = f"Heads of this model have components 0–{shape.d_head - 1}."
    st.session_state["channels-notes"] = list(lost.values())
    return dict.fromkeys(lost)


def _empty(store: Store) -> None:
    if store.has_channels():
        frame.question(_TITLE, "This model has one layer of heads: none comes after another.")
        return
    frame.question(_TITLE, "This run holds no channels.")
    frame.empty(
        "It was made before this stage, or was left without it. A new run holds them: "
        f'<code class="nt-command">{html.escape(fill_command(store))}</code>'
    )


def _answer(store: Store, found: ChannelMap, tab: str, mode: Mode, dst: HeadId) -> str:
    if tab == "laundry":
        return laundry_panel.answer(store)
    if tab == "heads":
        return channel_heads.answer(found)
    return channel_components.answer(receiver(store, mode, dst), mode, dst)


def _style() -> None:
    sheet = Path(channel_heads.__file__).with_name("channels.css").read_text(encoding="utf-8")
    st.html(f"<style>{sheet}</style>")


def render() -> None:
    store, chosen = frame.page("channels", _NAMES, defaults=_defaults)
    apply_style()
    _style()
    for text in st.session_state.pop("channels-notes", []):
        frame.note(html.escape(text))
    mode, src, dst = read_mode(chosen.mode), chosen.src, chosen.dst
    found = channel_map(store, mode, tuple(h for h in (src, dst) if h is not None))
    if found is None or src is None or dst is None:
        _empty(store)
        return
    tab = chosen.tab if chosen.tab in _TABS else _TABS[0]
    top, tabs = st.columns([70, 30], vertical_alignment="bottom")
    with top:
        frame.question(_TITLE, _answer(store, found, tab, mode, dst))
    with tabs, st.container(horizontal=True, horizontal_alignment="right"):
        tab_input(_TABS, tab)
    if tab == "laundry":
        laundry_panel.laundry_tab(store)
        return
    if tab == "heads":
        channel_heads.heads_tab(store, found, src, dst)
        return
    matrix, comp = read_matrix(chosen.matrix), chosen.comp or 0
    channel_components.components_tab(store, mode, src, dst, matrix, comp, chosen.neuron)
    if matrix == "OV":
        dial(store, src, comp)
        if model_wait.is_coming(models.model_status(store)):
            model_wait.await_model(store)
