"""Head: when is it active for a neuron, where does it look, and which neurons does it serve."""

from __future__ import annotations

import html
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from explorer import selection
from explorer.charts.glossary import define
from explorer.charts.lollipops import PICK
from explorer.charts.prompt_strips import Strip, StripColumns, strips_html
from explorer.components import frame
from explorer.components.figure import draw, heading
from explorer.components.head_answer import answer, pair_numbers
from explorer.components.head_components import head_components
from explorer.components.head_removal import removal
from explorer.components.head_words import chosen_cell, explanation, holds
from explorer.components.link_check import own_token
from explorer.components.metrics import metrics
from explorer.components.neuron_picker import (
    choose_neuron,
    head_picker,
    neuron_picker,
    split_switch,
)
from explorer.components.pair_file import looks
from explorer.components.prompt_table import prompt_table
from explorer.components.reports import selected
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from explorer.resources.head_figures import (
    LOOKS_TITLE,
    looks_caption,
    looks_columns,
    served_figure,
)
from explorer.resources.head_removals import Removals, first_kind, removals
from explorer.resources.head_tables import (
    attention_data,
    attention_of,
    reaching_heads,
    served_neurons_of,
)
from explorer.resources.head_words import Explained, explained, prompt_texts
from explorer.resources.missing_stages import failed, why_unexplained, why_untested
from explorer.resources.neuron_tables import (
    NeuronTables,
    default_neuron,
    neuron_tables,
    top_head,
)
from explorer.resources.prompt_rows import attention_strips
from explorer.selection import Selection


def _defaults(store: Store, chosen: Selection) -> dict[str, Any]:
    """A first visit opens on a studied neuron and the head most often studied for it."""
    neuron = chosen.neuron or default_neuron(store, chosen.token)
    if neuron is None:
        return {}
    token = chosen.token or own_token(store, neuron)
    return {"neuron": neuron, "token": token, "head": chosen.head or top_head(store, neuron)}


def _controls(store: Store, neuron: NeuronId, head: HeadId, tables: NeuronTables | None) -> None:
    marks = {}
    if tables is not None:
        marks = {
            HeadId.parse(label): "studied" if studied else f"{n_active} of {n}"
            for label, studied, n_active, n in zip(
                tables.activity["label"],
                tables.activity["studied"],
                tables.activity["n_active"],
                tables.activity["n_prompts"],
                strict=True,
            )
        }
    with st.container(
        key="nt-controls", horizontal=True, vertical_alignment="center", gap="medium"
    ):
        head_picker(list(marks) or reaching_heads(store, neuron), head, marks)
        neuron_picker(store, neuron)
        frame.link("live", "Try it live →", text=None, pos=None)


def _pick_neuron(store: Store, key: str, head: HeadId) -> None:
    picked = selected(key, PICK)
    if picked:
        choose_neuron(store, NeuronId.parse(picked[0]["neuron"]))
        selection.choose(head=head)


def _served(store: Store, served: pd.DataFrame, neuron: NeuronId, head: HeadId, split: str) -> None:
    if served.empty:
        frame.empty(f"{head.label} comes after all studied neurons: it reaches none of them.")
        return
    key = f"head-served-{store.run_id}-{head}-{neuron}-{split}"
    draw(
        served_figure(store, served, neuron, head, split),
        key="head-served",
        on_select=partial(_pick_neuron, store, key, head),
        selection_mode=PICK,
        chart_key=key,
    )


def _block(title: str, strips: list[Strip], columns: StripColumns, prompt: int | None) -> None:
    """One of the two columns of prompts, under its name and count."""
    n = f"{len(strips)} prompt{'' if len(strips) == 1 else 's'}"
    st.html(
        '<p class="nt-small" style="display:flex;justify-content:space-between;padding-bottom:4px;'
        f'border-bottom:1px solid var(--nt-border)"><b>{title}</b><span>{n}</span></p>'
    )
    if not strips:
        frame.empty("None.")
        return
    opened = prompt_table(
        strips_html(strips, columns, selected=prompt, label=f"Prompts, head {title.lower()}"),
        key=f"head-strips-{title.lower()}",
        on_pick=lambda picked: selection.choose(prompt=picked),
    )
    if opened is not None:
        frame.go("live", prompt=opened, text=None, pos=None)


def _attention(
    store: Store,
    tables: NeuronTables,
    head: HeadId,
    prompt: int | None,
    told: Explained | None,
    cell: str | None,
) -> None:
    weights = attention_of(store, tables.neuron, head)
    right = told.right if told is not None and tables.split == "test" else {}
    only = told.prompts_in(cell) if told is not None and cell is not None and right else None
    heading(
        LOOKS_TITLE,
        attention_data(tables, head, weights),
        key="head-attention",
        help=define("Attention", store.manifest)
        + " Right: "
        + define("Contribution", store.manifest),
        caption=looks_caption(bool(weights), bool(right), cell if only is not None else None),
        controls=partial(split_switch, tables.split, "head-split"),
        drawing=partial(looks, tables, head, weights, right, only),
    )
    columns = looks_columns(weights)
    for title, active, place in zip(
        ("Active", "Inactive"), (True, False), st.columns(2, gap="medium"), strict=True
    ):
        with place:
            strips = attention_strips(tables, head, weights, active, right, only)
            _block(title, strips, columns, prompt)


def _notes(chosen: Selection, told: Explained | None, removed: Removals | None) -> None:
    """What the link names and the pair does not have."""
    if chosen.explainer is not None and told is not None and told.explainer != chosen.explainer:
        wanted, shown = html.escape(chosen.explainer), html.escape(told.explainer)
        frame.note(f"No explanation of this pair by {wanted} is stored. Shown: {shown}’s.")
    if chosen.kind is not None and removed is not None and chosen.kind not in removed.kinds:
        frame.note(f"No removal of the kind {chosen.kind} is stored. Shown: {removed.kinds[0]}.")


def render() -> None:
    names = ("token", "neuron", "head", "split", "prompt", "explainer", "kind")
    store, chosen = frame.page("head", names, defaults=_defaults)
    neuron, head = chosen.neuron, chosen.head
    if neuron is None or head is None:
        frame.question("When is a head active?", "No head can reach these neurons.")
        return
    texts = prompt_texts(store, neuron)
    told = explained(store, neuron, head, chosen.explainer, texts)
    removed = removals(store, neuron, head, texts)
    _notes(chosen, told, removed)
    tested = told is not None and not told.verdicts.empty
    split = chosen.split or ("test" if tested else "train")
    kind = first_kind(removed, chosen.kind)
    tables = neuron_tables(store, neuron, split)
    pair = f"{store.run_id}-{head}-{neuron}" + ("" if told is None else f"-{told.explainer}")
    has_prompts = tables is not None and tables.activity_of(head) is not None and tables.n_prompts
    left, right = st.columns([58, 42], gap="large")
    with left:
        frame.question(
            f"Does {head.label} switch on {neuron.label}?",
            answer(store, tables, removed, neuron, head),
        )
        _controls(store, neuron, head, tables)
        if tables is not None and has_prompts:
            _words(store, tables, told, head, chosen.prompt, pair)
        else:
            split_switch(split, "head-split")
            frame.empty("There are no prompts to show for this pair.")
    with right:
        if tables is not None:
            score = None if told is None else told.score
            metrics(pair_numbers(store, tables, head, score, removed, kind))
        explainer = None if told is None else told.explainer
        _served(store, served_neurons_of(store, head, split, explainer), neuron, head, split)
        if tables is not None and has_prompts:
            why = why_untested(store, head.label in tables.studied)
            removal(store, removed, why, kind, chosen.prompt, pair)
            head_components(store, head, neuron, split, chosen.prompt)


def _words(
    store: Store,
    tables: NeuronTables,
    told: Explained | None,
    head: HeadId,
    prompt: int | None,
    pair: str,
) -> None:
    """The left column: the explanation, its test, and the prompts."""
    studied = head.label in tables.studied
    missing = why_unexplained(store, tables.neuron, head, studied)
    explanation(store, told, missing, failed(store, tables.neuron, head))
    if told is not None:
        holds(store, told, prompt, pair)
    _attention(store, tables, head, prompt, told, chosen_cell(told, pair))
