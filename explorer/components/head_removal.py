"""What happens when a head is removed: changes in each prompt, by kind of removal and quantity."""

from __future__ import annotations

from functools import partial

import pandas as pd
import streamlit as st

from explorer import selection
from explorer.charts.removal_strips import PICK
from explorer.components import frame
from explorer.components.figure import draw, heading
from explorer.components.reports import selected
from explorer.components.shown_key import shown_key
from explorer.core.store import Store
from explorer.resources.head_figures import (
    REMOVAL_TITLE,
    beside_removal,
    removal_figure,
    removal_help,
)
from explorer.resources.head_removals import QUANTITIES, Removals

_KIND, _QUANTITY = "head-kind", "head-quantity"


def _choose_kind(key: str) -> None:
    selection.choose(kind=st.session_state[key])


def _switches(kinds: list[str], kind: str) -> None:
    key = shown_key(_KIND, kind)
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        st.segmented_control(
            "Kind of removal",
            kinds,
            key=key,
            on_change=_choose_kind,
            args=(key,),
            required=True,
            label_visibility="collapsed",
        )
        st.selectbox(
            "Quantity", list(QUANTITIES), key=_QUANTITY, label_visibility="collapsed", width=150
        )


def _pick(rows: pd.DataFrame, chart_key: str) -> None:
    picked = selected(chart_key, PICK)
    if picked:
        prompt = int(picked[0]["prompt_id"])
        splits = dict(zip(rows["prompt_id"], rows["split"], strict=True))
        selection.choose(prompt=prompt, split=str(splits[prompt]))


def removal(
    store: Store, removed: Removals | None, missing: str, kind: str, prompt: int | None, pair: str
) -> None:
    """The strips; `missing` says (HTML, escaped) why there are none, `pair` names what is shown."""
    if removed is None:
        heading(REMOVAL_TITLE, pd.DataFrame(), key="head-removal", help=removal_help(store))
        frame.empty(missing)
        return
    quantity = QUANTITIES[st.session_state.get(_QUANTITY, next(iter(QUANTITIES)))]
    rows = removed.of(kind, quantity)
    chart_key = f"head-strips-removed-{pair}-{kind}-{quantity.name}"
    draw(
        removal_figure(store, removed, kind, quantity, prompt),
        key="head-removal",
        on_select=partial(_pick, rows, chart_key),
        selection_mode=PICK,
        chart_key=chart_key,
        under=partial(_switches, removed.kinds, kind),
    )
    st.html(f'<p class="nt-small">{beside_removal(removed, kind, quantity)}</p>')
