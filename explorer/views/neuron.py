"""Neuron: what makes it fire, prompt by prompt, and which heads push it there."""

from __future__ import annotations

from functools import partial
from typing import Any

import streamlit as st

from explorer import selection
from explorer.charts.glossary import define
from explorer.charts.prompt_heatmap import PICK
from explorer.charts.standalone import Html
from explorer.components import frame
from explorer.components.chips import token_chip
from explorer.components.figure import draw, heading
from explorer.components.link_check import own_token
from explorer.components.metrics import metrics
from explorer.components.neuron_answer import answer, neuron_numbers
from explorer.components.neuron_picker import neuron_picker, split_switch
from explorer.components.prompt_table import prompt_table
from explorer.components.reports import selected
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from explorer.resources.neuron_figures import (
    STRIPS_CAPTION,
    STRIPS_TITLE,
    heads_figure,
    prompt_strips,
    shares_figure,
    tokens_figure,
    truncation_figure,
)
from explorer.resources.neuron_tables import NeuronTables, default_neuron, neuron_tables
from explorer.resources.prompt_rows import prompt_table_data
from explorer.selection import Selection

N_FIRST = 10
"""Prompts shown before a person asks for all."""
_ALL = "neuron-show-all"


def _defaults(store: Store, chosen: Selection) -> dict[str, Any]:
    """A first visit opens on the chosen token's best studied neuron."""
    if chosen.neuron is not None:
        return {}
    neuron = default_neuron(store, chosen.token)
    return {} if neuron is None else {"neuron": neuron, "token": own_token(store, neuron)}


def _controls(store: Store, neuron: NeuronId, head: HeadId | None) -> None:
    with st.container(
        key="nt-controls", horizontal=True, vertical_alignment="center", gap="medium"
    ):
        neuron_picker(store, neuron)
        if head is not None:
            frame.link("head", f"Meet head {head.label} →", head=head)
        frame.link("live", "Try it live →", text=None, pos=None)


def _pick_cell(key: str, tables: NeuronTables) -> None:
    picked = selected(key, PICK)
    if not picked or "head" not in picked[0]:
        return
    ranks = dict(zip(tables.prompts["rank"], tables.prompts["prompt_id"], strict=True))
    prompt = ranks.get(int(picked[0]["rank"]))
    if prompt is not None:
        selection.choose(prompt=int(prompt), head=HeadId.parse(picked[0]["head"]))


def _strips(store: Store, tables: NeuronTables, prompt_id: int, n_shown: int) -> None:
    heading(
        STRIPS_TITLE,
        prompt_table_data(tables),
        key="neuron-prompts",
        help=define("Activation", store.manifest)
        + " act.: the whole prompt's. P: "
        + define("P(token)", store.manifest)
        + " rank: its place among all tokens. Both after the kept text.",
        caption=STRIPS_CAPTION,
        controls=partial(split_switch, tables.split, "neuron-split"),
        drawing=lambda: Html(prompt_strips(tables, still=True)),
    )
    strips = prompt_strips(
        tables,
        n_shown,
        selected=prompt_id,
        hint="Click a row to inspect it. ↑ ↓ move, Enter opens it in Live.",
    )
    opened = prompt_table(
        strips, key="neuron-strips", on_pick=lambda picked: selection.choose(prompt=picked)
    )
    if opened is not None:
        frame.go("live", prompt=opened, text=None, pos=None)


def _heads(
    store: Store, tables: NeuronTables, rank: int, chosen: HeadId | None, n_shown: int
) -> None:
    columns = tables.columns(chosen)
    if not columns:
        frame.empty("No head can reach this neuron.")
        return
    key = f"neuron-heads-{store.run_id}-{tables.neuron}-{rank}-{chosen and chosen.label}"
    draw(
        heads_figure(store, tables, columns, rank, chosen, n_shown),
        key="neuron-heads",
        on_select=partial(_pick_cell, key, tables),
        selection_mode=PICK,
        chart_key=key,
    )
    draw(shares_figure(store, tables, columns, chosen), key="neuron-shares")


def _not_studied(store: Store, neuron: NeuronId) -> None:
    token = own_token(store, neuron)
    named = f", the {token_chip(token)} neuron" if token else ""
    frame.question(
        f"{neuron.label}{named}",
        "No prompts are stored for this neuron. Its weights are below; open it in Live to probe it.",
    )
    with st.container(
        key="nt-controls", horizontal=True, vertical_alignment="center", gap="medium"
    ):
        neuron_picker(store, neuron)
        frame.link("live", "Open it in Live →", prompt=None, text=None, pos=None)
    with st.columns([58, 42], gap="large")[0]:
        own = None if token is None else store.token_id(token)
        draw(tokens_figure(store, neuron, own), key="neuron-tokens")


def render() -> None:
    names = ("token", "neuron", "split", "prompt", "head")
    store, chosen = frame.page("neuron", names, defaults=_defaults)
    if chosen.neuron is None:
        frame.question("What makes a neuron fire?", "This run studied no neurons.")
        return
    tables = neuron_tables(store, chosen.neuron, chosen.split or "train")
    if tables is None:
        _not_studied(store, chosen.neuron)
        return
    left, right = st.columns([58, 42], gap="large")
    with left:
        frame.question(
            f"{tables.neuron.label}, the {token_chip(tables.token)} neuron", answer(tables)
        )
    with right:
        metrics(neuron_numbers(store, tables))
    _controls(store, tables.neuron, chosen.head or tables.top_head)
    prompt = tables.prompt(chosen.prompt)
    left, right = st.columns([58, 42], gap="large")
    if prompt is None:
        with left:
            split_switch(tables.split, "neuron-split")
            frame.empty(
                f"No {tables.split} prompt is kept: no document there activates the neuron."
            )
    else:
        _prompts(store, tables, prompt, chosen.head, left, right)
    with right:
        draw(tokens_figure(store, tables.neuron, tables.token_id), key="neuron-tokens")


def _prompts(
    store: Store,
    tables: NeuronTables,
    prompt: dict[str, Any],
    head: HeadId | None,
    left: Any,
    right: Any,
) -> None:
    rank = int(prompt["rank"])
    all_shown = bool(st.session_state.get(_ALL)) or rank > N_FIRST
    n_shown = tables.n_prompts if all_shown else min(N_FIRST, tables.n_prompts)
    with left:
        _strips(store, tables, int(prompt["prompt_id"]), n_shown)
        if tables.n_prompts > N_FIRST and rank <= N_FIRST:
            st.toggle(f"Show all {tables.n_prompts} prompts", key=_ALL)
        draw(truncation_figure(store, prompt), key="neuron-truncation")
    with right:
        _heads(store, tables, rank, head, n_shown)
