"""Head: when is it active for a neuron, where does it look, and which neurons does it serve."""

from __future__ import annotations

from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from explorer import selection
from explorer.charts.glossary import define
from explorer.charts.lollipops import PICK, served_neurons
from explorer.charts.prompt_strips import Strip, StripColumns, strips_html
from explorer.charts.style import signed
from explorer.components import frame
from explorer.components.chips import token_chip
from explorer.components.figure import figure, heading
from explorer.components.link_check import own_token, spans
from explorer.components.metrics import Metric, metrics
from explorer.components.neuron_picker import (
    choose_neuron,
    head_picker,
    neuron_picker,
    split_switch,
)
from explorer.components.prompt_table import prompt_table
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from explorer.resources.head_tables import (
    attention_data,
    attention_limit,
    attention_of,
    reaching_heads,
    served_neurons_of,
    shown_neurons,
)
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


def _answer(store: Store, tables: NeuronTables | None, neuron: NeuronId, head: HeadId) -> str:
    """How often it adds to the neuron, and that no removal has tested whether it matters."""
    n_layers = store.shape.n_reaching_layers(neuron.layer)
    if head.layer >= n_layers:
        layers = spans(list(range(n_layers))) or "none"
        return f"It cannot: only heads of layers {layers} write to the input of {neuron.label}."
    if tables is None:
        return f"No prompts are stored for {neuron.label}: it is not studied in this run."
    row = tables.activity_of(head)
    if row is None or not row["n_prompts"]:
        return f"No {tables.split} prompt is kept for this neuron."
    mean = tables.contribution_when_active(head)
    n, split = int(row["n_prompts"]), tables.split
    if mean is None:
        return f"It is active in none of the {n} {split} prompts."
    return (
        f"It adds to the {token_chip(tables.token)} neuron directly, {signed(mean)} on average in the "
        f"{int(row['n_active'])} of {n} {split} prompts where it is active; not tested: the model was "
        "not re-run without it."
    )


def _metrics(store: Store, tables: NeuronTables, head: HeadId, n_studied: int) -> None:
    row = tables.activity_of(head)
    share, of = "–", ""
    if row is not None and row["n_prompts"]:
        share = f"{100 * float(row['share']):.0f} %"
        of = f"{int(row['n_active'])} of {int(row['n_prompts'])} prompts"
    mean = tables.contribution_when_active(head)
    define_ = partial(define, manifest=store.manifest)
    metrics(
        [
            Metric("Share active", share, of, define_("Share active")),
            Metric(
                "Contribution when active",
                "–" if mean is None else signed(mean),
                "" if mean is None else "mean",
                define_("Contribution") + " " + define_("Active"),
            ),
            Metric(
                "Studied for",
                str(n_studied),
                "neuron" if n_studied == 1 else "neurons",
                define_("Studied"),
            ),
        ]
    )


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
    picked = st.session_state[key]["selection"].get(PICK)
    if picked:
        choose_neuron(store, NeuronId.parse(picked[0]["neuron"]))
        selection.choose(head=head)


def _served(store: Store, served: pd.DataFrame, neuron: NeuronId, head: HeadId, split: str) -> None:
    if served.empty:
        frame.empty(f"{head.label} comes after all studied neurons: it reaches none of them.")
        return
    shown = shown_neurons(served, neuron)
    more = len(served) - len(shown)
    key = f"head-served-{store.run_id}-{head}-{neuron}-{split}"
    figure(
        "Neurons it serves",
        partial(served_neurons, shown, neuron=str(neuron)),
        served.drop(columns=["neuron"]),
        key="head-served",
        help=define("Share active", store.manifest) + " " + define("Studied", store.manifest),
        caption=f"Share of each neuron's {split} prompts in which {head.label} is active. "
        "Shaded: 25–75 %. Filled: studied" + (f". {more} more in the table." if more else "."),
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


def _attention(store: Store, tables: NeuronTables, head: HeadId, prompt: int | None) -> None:
    weights = attention_of(store, tables.neuron, head)
    limit = attention_limit(weights)
    stored = bool(weights)
    heading(
        "Where it looks",
        attention_data(tables, head, weights),
        key="head-attention",
        help=define("Attention", store.manifest)
        + " Right: "
        + define("Contribution", store.manifest),
        caption="Tint = attention from the peak token (boxed); start = the hidden start token. "
        "Right: contribution."
        if stored
        else "Attention is stored where a head is studied for the neuron (active in 25–75 % of train "
        "prompts); this pair is not, so the tokens have no tint. Right: contribution.",
        controls=partial(split_switch, tables.split, "head-split"),
    )
    columns = StripColumns(
        "attention", limit=limit if stored else 0.0, numbers=("adds",), start=stored, removed=False
    )
    for title, active, place in zip(
        ("Active", "Inactive"), (True, False), st.columns(2, gap="medium"), strict=True
    ):
        with place:
            _block(title, attention_strips(tables, head, weights, active), columns, prompt)


def render() -> None:
    names = ("token", "neuron", "head", "split", "prompt")
    store, chosen = frame.page("head", names, defaults=_defaults)
    neuron, head, split = chosen.neuron, chosen.head, chosen.split or "train"
    if neuron is None or head is None:
        frame.question("When is a head active?", "No head can reach these neurons.")
        return
    tables = neuron_tables(store, neuron, split)
    left, right = st.columns([62, 38], gap="large")
    with left:
        frame.question(
            f"Does {head.label} switch on {neuron.label}?", _answer(store, tables, neuron, head)
        )
    served = served_neurons_of(store, head, split)
    if tables is not None:
        with right:
            _metrics(store, tables, head, served["studied"].tolist().count(True))
    _controls(store, neuron, head, tables)
    left, right = st.columns([62, 38], gap="large")
    with left:
        if tables is not None and tables.activity_of(head) is not None and tables.n_prompts:
            _attention(store, tables, head, chosen.prompt)
        else:
            split_switch(split, "head-split")
            frame.empty("There are no prompts to show for this pair.")
    with right:
        _served(store, served, neuron, head, split)
