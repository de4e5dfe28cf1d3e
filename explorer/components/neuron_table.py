"""The table of a token's best neurons: a click, or the arrow keys, selects; Enter opens."""

from __future__ import annotations

from functools import partial
from typing import Any

import pandas as pd
import streamlit as st
from pandas.io.formats.style import Styler

from explorer import selection
from explorer.charts.glossary import define
from explorer.charts.style import Palette
from explorer.components import frame
from explorer.components.figure import heading
from explorer.components.reports import selected
from explorer.components.theme import current_palette
from explorer.core.store import Store
from explorer.core.types import NeuronId, visible
from explorer.resources.token_tables import TokenTables
from explorer.selection import Selection

_ROUND = "neuron-table-round"
"""Counts how often the table was drawn anew to forget the cell that was clicked in it."""


def _choose(neuron: NeuronId) -> None:
    selection.choose(neuron=neuron, head=None, prompt=None)


def _key(tables: TokenTables) -> str:
    return f"neurons-{tables.token_id}-{st.session_state.get(_ROUND, 0)}"


def _step(tables: TokenTables, place: int, by: int) -> None:
    state = st.session_state.get(_key(tables))
    if state and state["selection"]["cells"]:  # the table's own outline would stay behind
        st.session_state[_ROUND] = st.session_state.get(_ROUND, 0) + 1
    _choose(tables.ids[max(0, min(len(tables.ids) - 1, place + by))])


def _on_cell(tables: TokenTables) -> None:
    cells = selected(_key(tables), "cells")
    if cells:
        _choose(tables.ids[cells[0][0]])


def _marked(table: pd.DataFrame, place: int, colours: Palette) -> Styler:
    """The table with the chosen row shaded. A style moves without drawing the table anew, so that the
    keyboard's place in it is kept."""
    shade = f"background-color: {colours.zero}"
    return table.style.apply(
        lambda row: [shade if row.name == place else ""] * len(row), axis="columns"
    )


def _columns(store: Store, tables: TokenTables) -> dict[str, Any]:
    top = max(1e-6, *tables.table["congruence"].tolist())
    config = st.column_config
    return {
        "rank": config.NumberColumn("#", width=38, format="%d"),
        "neuron": config.TextColumn("Neuron", width=82),
        "congruence": config.ProgressColumn(
            "Congruence", width=130, format="%.1f", min_value=0.0, max_value=top,
            color=current_palette().teal, help=define("Congruence", store.manifest),
        ),
        "tokens": config.ListColumn("Tokens it writes to most", width=190),
        "best head": config.TextColumn(
            "Best head", width=78,
            help="Of the heads studied for the neuron, the one whose explanation has the highest score; "
            "without scores the one with the highest share active.",
        ),
        "share active": config.NumberColumn(
            "Active", width=62, format="%.0f %%", help=define("Share active", store.manifest)
        ),
        "score": config.NumberColumn(
            "Score", width=56, format="%.2f", help=define("Score", store.manifest)
        ),
        "studied": config.TextColumn(
            "●", width=34, alignment="center",
            help="● studied: the neuron's prompts and heads are stored. ○ only its weights are known.",
        ),
    }  # fmt: skip


def _keys(tables: TokenTables, chosen: NeuronId | None) -> None:
    place = tables.place(chosen)
    with st.container(
        key="nt-table-keys", horizontal=True, vertical_alignment="center", gap="small"
    ):
        st.html('<p class="nt-small">Click a row, or use the keys:</p>', width="content")
        st.button("Up", key="neuron-up", shortcut="Up", on_click=_step, args=(tables, place, -1))
        st.button(
            "Down", key="neuron-down", shortcut="Down", on_click=_step, args=(tables, place, 1)
        )
        if chosen is not None and st.button(
            f"Open {chosen.label} →", key="neuron-open", shortcut="Enter"
        ):
            frame.go("neuron")


def neuron_table(store: Store, tables: TokenTables, chosen: Selection) -> None:
    """Draw the table with the chosen neuron's row selected."""
    shown = tables.table.assign(
        studied=["●" if studied else "○" for studied in tables.table["studied"]],
        **{"share active": 100 * tables.table["share active"]},
    )
    heading(
        "Top 20 neurons by congruence",
        tables.table,
        key="token-neurons",
        help=define("Congruence", store.manifest),
        caption="Bar and number: how far the neuron's output weights point at the token. "
        "● = studied: its prompts and heads are stored.",
    )
    place = tables.place(chosen.neuron)
    token = visible(chosen.token or "")
    with st.container(key="nt-neuron-table"):
        _draw(store, tables, shown, place, token)
    _keys(tables, chosen.neuron)


def _draw(store: Store, tables: TokenTables, shown: pd.DataFrame, place: int, token: str) -> None:
    st.dataframe(
        _marked(shown, place, current_palette()),
        hide_index=True,
        column_config=_columns(store, tables),
        height=35 * (min(len(shown), 12) + 1) + 3,
        key=_key(tables),
        on_select=partial(_on_cell, tables),
        selection_mode="single-cell",
        placeholder="–",
        alt=f"The {len(shown)} neurons with the highest congruence with “{token}”",
    )
