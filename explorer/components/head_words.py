"""A pair's explanation, who gave it, what was asked, and whether it holds on new prompts."""

from __future__ import annotations

import html
from functools import partial

import pandas as pd
import streamlit as st

from explorer import selection
from explorer.charts.confusion_dots import CELLS, PICK
from explorer.charts.explanation_text import clauses_html, explanation_html, raw_text
from explorer.charts.glossary import define
from explorer.components import frame
from explorer.components.figure import draw, heading
from explorer.components.reports import selected
from explorer.components.shown_key import shown_key
from explorer.core.plain_text import named_controls
from explorer.core.store import Store
from explorer.resources.head_figures import ONE_CLASS, dots_figure
from explorer.resources.head_words import Explained

_EXPLAINER = "head-explainer"
_TALL = 500
"""Characters from which a request or reply scrolls within its own height."""
_CELL_NAMES = {
    "hit": "hit",
    "missed": "missed",
    "false alarm": "false alarm",
    "left out": "correctly left out",
}


def _choose_explainer(key: str) -> None:
    selection.choose(explainer=st.session_state[key])


def _explainer_picker(told: Explained) -> None:
    if len(told.explainers) == 1:
        st.html(
            f'<p class="nt-small">explainer: {html.escape(told.explainer)}</p>', width="content"
        )
        return
    key = shown_key(_EXPLAINER, told.explainer)
    st.selectbox(
        "Explainer",
        told.explainers,
        key=key,
        on_change=_choose_explainer,
        args=(key,),
        format_func=lambda name: f"explainer: {name}",
        label_visibility="collapsed",
        width=190,
    )


def explanation(store: Store, told: Explained | None, missing: str, failures: str) -> None:
    """The words; `missing` says why there are none, `failures` which other explainers failed; both
    are HTML, escaped."""
    data = pd.DataFrame() if told is None else told.data
    heading(
        "When is it active?",
        data,
        key="head-words",
        help="Written from the train prompts in which the head is active and those in which it is "
        "not. " + define("Active", store.manifest),
        controls=None if told is None else partial(_explainer_picker, told),
    )
    if told is None:
        frame.empty(missing)
        return
    st.html(explanation_html(told.text))
    label = "Show evidence, request and reply" if told.evidence else "Show request and reply"
    with st.container(key="nt-raw"), st.expander(label):
        if told.evidence:
            st.html(clauses_html(told.evidence))
        for name, text in (("Request", told.request), ("Reply", told.reply)):
            st.caption(name)
            height = 200 if len(text) > _TALL else "content"
            st.code(named_controls(raw_text(text)), language=None, wrap_lines=True, height=height)
    if failures:
        frame.empty(failures)


# --- the test ---------------------------------------------------------------------------------


def _cell_key(pair: str) -> str:
    return f"head-cell-{pair}"


def chosen_cell(told: Explained | None, pair: str) -> str | None:
    """The cell of the confusion table whose prompts are to be shown, if one is chosen."""
    cell = st.session_state.get(_cell_key(pair))
    return cell if told is not None and cell in CELLS else None


def _pick_dot(chart_key: str) -> None:
    picked = selected(chart_key, PICK)
    if picked:
        selection.choose(prompt=int(picked[0]["prompt_id"]), split="test")


def _on_cell() -> None:
    selection.choose(split="test", prompt=None)


def _cells(told: Explained, pair: str) -> None:
    """The four counts; one chosen shows its prompts alone."""
    assert told.score is not None
    counts = told.score.cells
    st.pills(
        "Prompts of one cell",
        list(counts),
        key=_cell_key(pair),
        on_change=_on_cell,
        format_func=lambda cell: f"{counts[cell]} {_CELL_NAMES[cell]}",
        label_visibility="collapsed",
    )


def holds(store: Store, told: Explained, prompt: int | None, pair: str) -> None:
    """The test of the words on prompts that nobody learned from; `pair` names what is shown."""
    if told.score is None or told.verdicts.empty:
        frame.empty("This explanation has not been held against test prompts.")
        return
    chart_key = f"head-dots-{pair}"
    draw(
        dots_figure(store, told, told.score, prompt),
        key="head-dots",
        on_select=partial(_pick_dot, chart_key),
        selection_mode=PICK,
        chart_key=chart_key,
    )
    if told.score.score is None:
        frame.empty(ONE_CLASS)
    _cells(told, pair)
