"""Map: all heads against all studied neurons; a click selects a pair."""

from __future__ import annotations

import html
from dataclasses import replace
from functools import partial
from typing import Any

import streamlit as st

from explorer import selection
from explorer.charts.explanation_text import explanation_html
from explorer.charts.glossary import define
from explorer.charts.map_heatmap import PICK
from explorer.charts.prompt_strips import StripColumns, strips_html
from explorer.charts.style import signed
from explorer.components import frame
from explorer.components.chips import token_chip
from explorer.components.figure import draw
from explorer.components.link_check import own_token
from explorer.components.metrics import Metric, metrics
from explorer.components.neuron_picker import choose_neuron
from explorer.components.prompt_table import prompt_table
from explorer.components.reports import selected
from explorer.components.shown_key import shown_key
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from explorer.resources.head_figures import ONE_CLASS
from explorer.resources.head_words import explained, prompt_texts
from explorer.resources.map_figure import MEASURE_NAMES, map_figure
from explorer.resources.map_tables import (
    COLUMN_SORTS,
    MEASURES,
    ROW_SORTS,
    MapTables,
    map_tables,
    median_effect,
    read_sort,
)
from explorer.resources.neuron_tables import (
    NeuronTables,
    default_neuron,
    neuron_tables,
    top_head,
)
from explorer.resources.prompt_rows import attention_strips
from explorer.selection import Selection

_ROW_NAMES = {"layer": "Layer", "token": "Token", "similar": "Similar heads"}
_COLUMN_NAMES = {"layer": "Layer", "total": "Total"}


def _defaults(store: Store, chosen: Selection) -> dict[str, Any]:
    """A first visit opens on a studied neuron and its first head."""
    neuron = chosen.neuron or default_neuron(store, chosen.token)
    if neuron is None:
        return {}
    token = chosen.token or own_token(store, neuron)
    return {"neuron": neuron, "token": token, "head": chosen.head or top_head(store, neuron)}


def _pickers(measure: str, rows: str, columns: str) -> None:
    names = {"map-measure": measure, "map-rows": rows, "map-columns": columns}
    measure_key, rows_key, columns_key = (shown_key(name, value) for name, value in names.items())

    def sort() -> None:
        state = st.session_state
        selection.choose(sort=f"{state[rows_key]}-{state[columns_key]}")

    def colour() -> None:
        selection.choose(measure=st.session_state[measure_key])

    with st.container(key="nt-controls", horizontal=True, gap="large"):
        st.segmented_control("Colour", MEASURES, key=measure_key, required=True, on_change=colour,
                             format_func=lambda name: MEASURE_NAMES[name])  # fmt: skip
        st.segmented_control(
            "Neurons by", ROW_SORTS, key=rows_key, required=True, on_change=sort,
            format_func=lambda name: _ROW_NAMES[name],
            help="Similar heads: by the first principal component of the rows, so that neurons with "
            "like heads stand together.",
        )  # fmt: skip
        st.segmented_control(
            "Heads by", COLUMN_SORTS, key=columns_key, required=True, on_change=sort,
            format_func=lambda name: _COLUMN_NAMES[name],
            help="Total: the sum of the measure's sizes over all neurons shown, largest first.",
        )  # fmt: skip


def _answer(tables: MapTables) -> str:
    text = (
        f"Of {tables.n_pairs:,} pairs in which the head can reach the neuron, {tables.n_studied:,} are "
        "studied: the head is active in 25–75 % of the neuron's prompts. "
    )
    means = tables.studied_heads_per_neuron
    if "random" in means and "chosen" in means:
        text += (
            f"A neuron has {means['chosen']:.1f} such heads on average, "
            f"a random one {means['random']:.1f}."
        )
    return text


def _pick(store: Store, key: str) -> None:
    picked = selected(key, PICK)
    if picked:
        choose_neuron(store, NeuronId.parse(picked[0]["neuron"]))
        selection.choose(head=HeadId.parse(picked[0]["head"]))


def _heatmap(store: Store, tables: MapTables, measure: str, chosen: Selection) -> None:
    head = None if chosen.head is None else chosen.head.label
    key = f"map-{store.run_id}-{chosen.neuron}-{head}-{measure}-{chosen.sort}"
    draw(
        map_figure(tables, measure, store.manifest, str(chosen.neuron), head),
        key="map-heatmap",
        on_select=partial(_pick, store, key),
        selection_mode=PICK,
        chart_key=key,
    )


def _two_prompts(tables: NeuronTables, head: HeadId) -> None:
    """The top prompt in which the head is active, and the top one in which it is not."""
    columns = StripColumns("attention", limit=0.0, numbers=("active", "adds"), removed=False)
    strips = [
        replace(strip, numbers=("●" if active else "○", *strip.numbers))
        for active in (True, False)
        for strip in attention_strips(tables, head, {}, active)[:1]
    ]
    opened = prompt_table(
        strips_html(strips, columns, label="Two prompts of the neuron", foot=False),
        key="map-strips",
        on_pick=lambda picked: selection.choose(prompt=picked),
    )
    if opened is not None:
        frame.go("live", prompt=opened, text=None, pos=None)


def _words(store: Store, neuron: NeuronId, head: HeadId) -> None:
    """The pair's explanation with its score and what chance would score."""
    told = explained(store, neuron, head, None, prompt_texts(store, neuron))
    if told is None:
        frame.empty("No explanation is stored for this pair.")
        return
    st.html(f'<div class="nt-card-words">{explanation_html(told.text)}</div>')
    if told.score is None or told.score.score is None:
        frame.empty(
            ONE_CLASS if told.score is not None else "It was not held against test prompts."
        )
        return
    n_right = told.score.tp + told.score.tn
    parts = [f"{n_right} of {told.score.n_verdicts} test prompts right"]
    parts += [f"{html.escape(r.name)} {html.escape(r.shown)}" for r in told.references[1:]]
    score = html.escape(told.references[0].shown)
    frame.empty(
        f'<b style="color:var(--nt-ink)">Score {score}</b>: {" · ".join(parts)}. Explainer '
        f"{html.escape(told.explainer)}."
    )


def _card(store: Store, neuron: NeuronId, head: HeadId) -> None:
    tables = neuron_tables(store, neuron, "train")
    token = "" if tables is None else f" {token_chip(tables.token)}"
    st.html(f'<h2 class="nt-heading nt-gap">{head.label} → {neuron.label}{token}</h2>')
    row = None if tables is None else tables.activity_of(head)
    if tables is None or row is None:
        frame.empty(
            f"{neuron.label} is not studied."
            if tables is None
            else f"{head.label} comes too late to reach {neuron.label}."
        )
        return
    n_active, n = int(row["n_active"]), int(row["n_prompts"])
    mean, removed = row["mean_attribution"], median_effect(store, neuron, head)
    metrics(
        [
            Metric("Share active", f"{100 * n_active / n:.0f} %" if n else "–", f"{n_active} of {n}",
                   define("Share active", store.manifest)),
            Metric("Contribution", signed(float(mean)) if n else "–", "mean",
                   define("Contribution", store.manifest)),
            Metric("Removed", "–" if removed is None else signed(-removed), "",
                   "Median change over all the neuron's prompts, zero-last. "
                   + define("Removing it", store.manifest)),
        ]
    )  # fmt: skip
    if row["studied"]:
        _words(store, neuron, head)
    if not row["studied"]:
        frame.empty("Not studied: it is not active in 25–75 % of train prompts.")
    if n:
        _two_prompts(tables, head)
    with st.container(key="nt-card-links", horizontal=True, gap="medium"):
        frame.link("neuron", f"{neuron.label} →")
        frame.link("head", f"{head.label} →")
        frame.link("live", "Try it live →", text=None, pos=None)


def render() -> None:
    names = ("measure", "sort", "neuron", "head")
    store, chosen = frame.page("map", names, defaults=_defaults)
    measure = chosen.measure if chosen.measure in MEASURES else MEASURES[0]
    rows, columns = read_sort(chosen.sort)
    tables = map_tables(store, "train", measure, rows, columns)
    title = "Which heads switch on which neurons?"
    if not tables.order.columns:
        frame.question(title, "No head can reach these neurons.")
        return
    frame.question(title, _answer(tables))
    _pickers(measure, rows, columns)
    left, right = st.columns([72, 28], gap="large")
    with left:
        _heatmap(store, tables, measure, chosen)
    with right:
        if chosen.neuron is None or chosen.head is None:
            frame.empty("Click a cell to see the pair.")
        else:
            _card(store, chosen.neuron, chosen.head)
