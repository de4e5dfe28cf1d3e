"""Tokens, the home page: find the neurons that write a token, and the heads that switch them on."""

from __future__ import annotations

from functools import partial
from typing import Any

import streamlit as st

from explorer import selection
from explorer.charts.glossary import define
from explorer.charts.style import number
from explorer.charts.token_charts import PICK, head_lollipops, layer_bars
from explorer.components import frame, token_search
from explorer.components.chips import token_chip
from explorer.components.figure import figure
from explorer.components.gallery import gallery
from explorer.components.guide import guide_strip
from explorer.components.link_check import studied_layers
from explorer.components.neuron_table import neuron_table
from explorer.components.reports import selected
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from explorer.resources.token_tables import TokenTables, best_neuron, default_token, token_tables
from explorer.selection import Selection

_PAIR_NAMES = {
    "n_active": "prompts active",
    "n_prompts": "prompts",
    "share": "share active",
    "mean_attribution": "mean contribution",
}


def _defaults(store: Store, chosen: Selection) -> dict[str, Any]:
    """A first visit opens on a good token, and a token on its strongest neuron."""
    token = chosen.token or default_token(store)
    if token is None:
        return {}
    return {"token": token, "neuron": chosen.neuron or best_neuron(store, token)}


def _answer(tables: TokenTables) -> str:
    if not tables.ids:
        return "This run lists no neurons for it."
    congruence = number(tables.neurons["congruence"].tolist()[0], 1)
    text = f"<b>{tables.ids[0].label}</b> points at it most, congruence {congruence}. "
    n_studied = len(tables.neurons["kind"].dropna())
    if n_studied == 0:
        return text + "None of these neurons is studied: no prompts are stored for them."
    text += f"{n_studied} of these {len(tables.ids)} neurons {'is' if n_studied == 1 else 'are'} studied"
    if tables.best_heads.empty:
        return text + ", but no head is active in 25–75 % of their prompts."
    best: Any = next(iter(tables.best_heads.sort_values("rank").itertuples(index=False)))
    neuron, head = NeuronId(best.layer, best.neuron), HeadId(best.head_layer, best.head)
    return (
        f"{text}; head <b>{head.label}</b> is active in {best.n_active} of {best.n_prompts} "
        f"prompts of <b>{neuron.label}</b>."
    )


def _pick_pair() -> None:
    picked = selected("token-heads-chart", PICK)
    if picked:
        neuron, head = NeuronId.parse(picked[0]["neuron_id"]), HeadId.parse(picked[0]["head_id"])
        selection.choose(neuron=neuron, head=head, prompt=None)


def _layers(store: Store, token_id: int) -> None:
    layers = store.neurons_per_layer(token_id)
    figure(
        "Where these 20 neurons sit",
        partial(layer_bars, layers, studied=studied_layers(store)),
        layers.rename(columns={"n": "neurons", "mean_n": "average token"}),
        key="token-layers",
        help="How many of the token's 20 best neurons are in each layer. Neurons of later layers "
        "point at tokens more sharply, so the average token leans to the right as well.",
        caption="Neurons per layer. Line: averaged over all tokens. Shaded: studied layers.",
    )


def _heads(store: Store, tables: TokenTables, chosen: Selection) -> None:
    if tables.pairs.empty:
        frame.empty("No head is stored for these neurons: none of them is studied.")
        return
    figure(
        "Heads that switch them on",
        partial(head_lollipops, tables.pairs, neuron=str(chosen.neuron)),
        tables.pairs.drop(columns=["neuron_id", "head_id"]).rename(columns=_PAIR_NAMES),
        key="token-heads",
        help=" ".join(define(name, store.manifest) for name in ("Share active", "Active", "Score")),
        caption="Share of prompts in which the head is active. Shaded: 25–75 %, studied. Right: the score "
        "of the pair's explanation."
        if any(tables.pairs["score"].notna().tolist())
        else "Share of prompts in which the head is active. Shaded: 25–75 %, studied.",
        on_select=_pick_pair,
        selection_mode=PICK,
    )


def render() -> None:
    store, chosen = frame.page("tokens", ("run", "token", "neuron"), defaults=_defaults)
    token_id = None if chosen.token is None else store.token_id(chosen.token)
    if chosen.token is None or token_id is None:
        frame.question("Which neurons make the model say a token?", "This run has no tokens.")
        return
    tables = token_tables(store, token_id)
    frame.question(f"Which neurons make the model say {token_chip(chosen.token)}?", _answer(tables))
    token_search.draw(store, chosen.token)
    guide_strip(store, "tokens", chosen)
    left, right = st.columns([58, 42], gap="large")
    with left:
        neuron_table(store, tables, chosen)
    with right:
        _layers(store, token_id)
        _heads(store, tables, chosen)
    gallery(store)
