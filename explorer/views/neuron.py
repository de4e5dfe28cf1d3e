"""Neuron: what makes it fire, prompt by prompt, and which heads push it there."""

from __future__ import annotations

from functools import partial
from typing import Any

import streamlit as st

from explorer import selection
from explorer.charts.congruent_tokens import congruent_tokens
from explorer.charts.glossary import define, percent
from explorer.charts.prompt_heatmap import PICK, prompt_heatmap
from explorer.charts.prompt_strips import StripColumns, strips_html
from explorer.charts.share_bars import share_bars
from explorer.charts.style import number
from explorer.charts.truncation import truncation_chart
from explorer.components import frame
from explorer.components.chips import token_chip
from explorer.components.figure import figure, heading
from explorer.components.link_check import own_token
from explorer.components.metrics import Metric, metrics
from explorer.components.neuron_picker import neuron_picker, split_switch
from explorer.components.prompt_table import prompt_table
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from explorer.resources.neuron_tables import (
    NeuronTables,
    congruent_tokens_of,
    default_neuron,
    neuron_tables,
    prompt_limit,
    truncation_of,
)
from explorer.resources.prompt_rows import prompt_table_data, strips_of
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


def _answer(tables: NeuronTables) -> str:
    """What the prompts and heads say of the neuron, from the numbers alone."""
    chip, n = token_chip(tables.token), tables.n_prompts
    lead = "A random neuron, drawn as a baseline. " if tables.kind == "random" else ""
    if n == 0:
        return f"{lead}No {tables.split} text activates it."
    median = f"{100 * tables.medians['probability']:.1f} %"
    text = (
        f"{lead}Where it peaks, {chip} is the model's first choice in {tables.n_first_choice} of {n} "
        f"{tables.split} prompts (median probability {median}). "
    )
    top = tables.top_head
    row = None if top is None else tables.activity_of(top)
    if top is None or row is None:
        return text + "No head can reach it."
    if not tables.studied:
        return text + "No head is active in 25–75 % of its train prompts, so none is studied."
    return text + f"Head <b>{top.label}</b> is active in {int(row['n_active'])} of {n}."


def _metrics(store: Store, tables: NeuronTables) -> None:
    define_ = partial(define, manifest=store.manifest)
    kept = (
        (f"{tables.medians['n_kept']:g}", f"of {tables.medians['n_whole']:g}, median")
        if tables.n_prompts
        else ("–", "")
    )
    metrics(
        [
            Metric("Congruence", number(tables.congruence, 1), "", define_("Congruence")),
            Metric("Peak activation", number(tables.peak_activation), "", define_("Activation")),
            Metric("Tokens kept", *kept, define_("Tokens kept")),
            Metric("Studied heads", str(len(tables.studied)), "", define_("Studied")),
        ]
    )


def _controls(store: Store, neuron: NeuronId, head: HeadId | None) -> None:
    with st.container(
        key="nt-controls", horizontal=True, vertical_alignment="center", gap="medium"
    ):
        neuron_picker(store, neuron)
        if head is not None:
            frame.link("head", f"Meet head {head.label} →", head=head)
        frame.link("live", "Try it live →", text=None, pos=None)


def _pick_cell(key: str, tables: NeuronTables) -> None:
    picked = st.session_state[key]["selection"].get(PICK)
    if not picked or "head" not in picked[0]:
        return
    ranks = dict(zip(tables.prompts["rank"], tables.prompts["prompt_id"], strict=True))
    prompt = ranks.get(int(picked[0]["rank"]))
    if prompt is not None:
        selection.choose(prompt=int(prompt), head=HeadId.parse(picked[0]["head"]))


def _strips(store: Store, tables: NeuronTables, prompt_id: int, n_shown: int) -> None:
    heading(
        "Prompts that activate it most",
        prompt_table_data(tables),
        key="neuron-prompts",
        help=define("Activation", store.manifest)
        + " act.: the whole prompt's. P: "
        + define("P(token)", store.manifest)
        + " rank: its place among all tokens. Both after the kept text.",
        caption="Tint = activation at that token. Grey = removed by truncation. Box = peak token.",
        controls=partial(split_switch, tables.split, "neuron-split"),
    )
    columns = StripColumns(
        "activation", limit=tables.peak_activation or 0.0, numbers=("act.", "P", "rank")
    )
    strips = strips_html(
        strips_of(tables, n_shown),
        columns,
        selected=prompt_id,
        label="Prompts that activate the neuron most",
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
    cells = tables.cells.query("head in @columns and rank <= @n_shown").reset_index(drop=True)
    more = len(tables.activity) - len(columns)
    head = None if chosen is None else chosen.label
    key = f"neuron-heads-{store.run_id}-{tables.neuron}-{rank}-{head}"
    figure(
        "What each head adds, prompt by prompt",
        partial(
            prompt_heatmap,
            cells,
            heads=columns,
            studied=tables.studied,
            limit=prompt_limit(store, tables.neuron, columns),
            rule=define("Active", store.manifest).removeprefix("In this prompt, ").rstrip("."),
            rank=rank,
            head=head,
        ),
        tables.cells.rename(
            columns={"rank": "prompt", "contribution": "contribution (pre-activation)"}
        ),
        key="neuron-heads",
        help=define("Contribution", store.manifest)
        + " Dot, active: "
        + define("Active", store.manifest),
        caption="Dot = active. Studied heads first, in bold, then by share active"
        + (f"; {more} left out." if more > 0 else "."),
        on_select=partial(_pick_cell, key, tables),
        selection_mode=PICK,
        chart_key=key,
    )
    figure(
        "In what share of prompts",
        partial(share_bars, tables.shares, heads=columns, head=head),
        tables.shares,
        key="neuron-shares",
        help=define("Share active", store.manifest) + " " + define("Studied", store.manifest),
        caption="Share of prompts in which the head is active. Filled: studied (25–75 % of train).",
    )


def _truncation(store: Store, prompt: dict[str, Any]) -> None:
    curve = truncation_of(store, prompt)
    ratio = float(store.manifest.get("keep_ratio") or 0.8)
    figure(
        f"Truncation of prompt {int(prompt['rank'])}",
        partial(
            truncation_chart,
            curve,
            kept=int(prompt["n_kept"]),
            whole_activation=float(prompt["activation"]),
            keep_ratio=ratio,
        ),
        curve.rename(columns={"tokens_kept": "tokens kept"}),
        key="neuron-truncation",
        help=define("Tokens kept", store.manifest),
        caption="Activation at the peak token as words are removed from the left; ring: the shortest "
        f"ending that keeps {percent(ratio)}.",
    )


def _tokens(store: Store, neuron: NeuronId, own: int | None) -> None:
    tokens = congruent_tokens_of(store, neuron)
    figure(
        "Tokens it writes to",
        partial(congruent_tokens, tokens, own=own),
        tokens,
        key="neuron-tokens",
        help=define("Congruence", store.manifest),
        caption=f"Congruence with each token, highest {len(tokens)}.",
    )


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
        _tokens(store, neuron, None if token is None else store.token_id(token))


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
            f"{tables.neuron.label}, the {token_chip(tables.token)} neuron", _answer(tables)
        )
    with right:
        _metrics(store, tables)
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
        _tokens(store, tables.neuron, tables.token_id)


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
        _truncation(store, prompt)
    with right:
        _heads(store, tables, rank, head, n_shown)
