"""The Laundry List tab of Channels: what the model does of two tasks, and what its components do there.

Accuracy comes from the store. What follows needs the model: runs with components dialled, scores of
components, grids, steering. Where the model is not better than chance, the page says so and shows none.
"""

from __future__ import annotations

import html
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from explorer import selection
from explorer.charts.accuracy_text import verdict, whole_percent
from explorer.charts.task_charts import accuracy_lines
from explorer.components import frame, laundry_live, model_wait
from explorer.components.figure import figure
from explorer.core.plain_text import one_line
from explorer.core.store import Store
from explorer.core.tasks import LAUNDRY_LIST, LONGEST_LIST, NAME_INHIBITION, SHORTEST_LIST
from explorer.resources import models
from explorer.resources.missing_stages import job_command
from explorer.resources.task_tables import accuracy, by_length, by_position, groups, is_known

_TASK, _ITEMS = "laundry-task", "laundry-items"
TASK_NAMES = {LAUNDRY_LIST: "Laundry List", NAME_INHIBITION: "Name inhibition"}
_ASKS = {
    LAUNDRY_LIST: "A list, then all of it but one item: does the model name the item that is left?",
    NAME_INHIBITION: "Two names, one of them acts: does the model name the other?",
}
_RULE = (
    "Right: the answer outscores the other items (or the other name), so that guessing gets 1/n, drawn "
    "dashed. Bars: 95 % Wilson intervals, for independent prompts: ours share words and templates, so that "
    "they are somewhat narrow. The tasks are those of Merullo, Eickhoff and Pavlick 2024; the "
    "sentences and this rule are ours."
)


def _task_input() -> str:
    st.session_state.setdefault(_TASK, LAUNDRY_LIST)
    st.segmented_control(
        "Task", list(TASK_NAMES), key=_TASK, required=True, label_visibility="collapsed",
        format_func=lambda name: TASK_NAMES[name],
    )  # fmt: skip
    return str(st.session_state[_TASK])


def _items_input(longest: int) -> int:
    shown = min(longest, max(SHORTEST_LIST, selection.current().items or 5))

    def moved() -> None:
        selection.choose(items=int(st.session_state[_ITEMS]))

    st.session_state[_ITEMS] = shown
    if longest > SHORTEST_LIST:
        st.slider("Items in the list", SHORTEST_LIST, longest, key=_ITEMS, on_change=moved)
    return shown


def _answer(rows: pd.DataFrame, task: str, n: int) -> str:
    """The accuracy of each line in words."""
    length = n if task == LAUNDRY_LIST else None
    parts = []
    for group in groups(rows):
        found = accuracy(rows, group, length)
        if found is not None:
            parts.append(f"{html.escape(group)}: {verdict(found)}")
    if not parts:
        return f"Lists of {n} were not tried by the job; run it below."
    start = f"Lists of {n}. " if task == LAUNDRY_LIST else ""
    text = "; ".join(parts)
    return f"{start}{text[:1].upper()}{text[1:]}."


def _table(rows: pd.DataFrame, x: str) -> pd.DataFrame:
    names = {
        "condition": "condition", "x": x, "share": "share right", "low": "95 % low",
        "high": "95 % high", "chance": "chance", "n_right": "right", "n_top1": "top-1",
        "n_prompts": "prompts",
    }  # fmt: skip
    return rows.loc[:, list(names)].rename(columns=names)


def _named(rows: pd.DataFrame, x: str) -> pd.DataFrame:
    """The columns that the charts take; places count from 1 on screen."""
    return rows.assign(line=rows["group"], x=rows[x] + (1 if x == "position" else 0))


def _length_figure(rows: pd.DataFrame, n: int) -> None:
    data = _named(rows, "n")
    seen = [int(a) for a, yes in zip(rows["n"], rows["length_seen"], strict=True) if yes is True]
    limits = (
        f" Lists go to {max(data['x'])} items, as far as the context holds." if len(data) else ""
    )
    figure(
        "Accuracy by length of the list",
        partial(accuracy_lines, data, lines=groups(rows), x_title="items in the list", chosen=n,
                seen=(min(seen), max(seen)) if seen else None),
        _table(data, "items"),
        key="laundry-lengths",
        help=_RULE,
        caption=f"Generated prompts, each place of the answer equally often.{limits}",
    )  # fmt: skip


def _position_figure(store: Store, task: str, rows: pd.DataFrame, n: int) -> None:
    tried = sorted(set(rows["n"].tolist()))
    nearest = min(tried, key=lambda other: (abs(other - n), other))
    found = _named(by_position(store, task, nearest), "position")
    is_list = task == LAUNDRY_LIST
    title = "Accuracy by place of the missing item" if is_list else "Accuracy by order of the names"
    note = f"Lists of {nearest}." if is_list else "Place 1: the answer is the name mentioned first."
    if nearest != n:
        note = f"Lists of {nearest}, the nearest length that the job tried."
    figure(
        title,
        partial(accuracy_lines, found, lines=groups(found), x_title="place of the answer"),
        _table(found, "place"),
        key="laundry-places",
        help=_RULE,
        caption=note,
    )


def _stored(store: Store, task: str, rows: pd.DataFrame, n: int) -> None:
    frame.empty(_answer(rows, task, n))
    if not is_known(rows):
        frame.empty("What this model saw in training is not known: nothing is called new.")
    if task == LAUNDRY_LIST:
        left, right = st.columns([58, 42], gap="large")
        with left:
            _length_figure(rows, n)
    else:
        right, _ = st.columns([58, 42], gap="large")
    with right:
        _position_figure(store, task, rows, n)


def _nothing(store: Store, task: str) -> None:
    warned = [name for name in store.manifest.get("warnings", {}) if str(name).startswith("task")]
    why = html.escape(one_line("; ".join(map(str, warned))))
    if why:
        frame.empty(f"This run holds no answers: {why}.")
        return
    command = html.escape(job_command(store.manifest, ["--tasks", task]))
    frame.empty(
        f'This run was made without this task. A new run has it: <code class="nt-command">{command}</code>'
    )


def _longest(status: models.ModelStatus, sentences: tuple[Any, ...], rows: pd.DataFrame) -> int:
    if status.state == "ready" and sentences:
        return max(s.longest for s in sentences)
    return max(rows["n"].tolist(), default=LONGEST_LIST)


def answer(store: Store) -> str:
    """How well the run's model does both tasks, over all lengths tried: HTML for the page's answer."""
    parts = []
    for task, name in ((NAME_INHIBITION, "Of two names"), (LAUNDRY_LIST, "Of a list")):
        rows = by_length(store, task)
        shares = [(group, accuracy(rows, group)) for group in groups(rows)]
        told = [
            f"<b>{whole_percent(found.share or 0)}</b>"
            + (f" ({html.escape(group)})" if is_known(rows) else "")
            for group, found in shares
            if found is not None
        ]
        chances = [found.chance for _, found in shares if found is not None]
        if told:
            parts.append(f"{name}, right in {', '.join(told)}; chance {whole_percent(chances[0])}.")
    return " ".join(parts) or "This run tried no tasks."


@st.fragment
def _body(store: Store) -> None:
    status = models.model_status(store)
    with st.container(horizontal=True, gap="large", vertical_alignment="center"):
        task = _task_input()
        frame.empty(_ASKS[task])
    rows = by_length(store, task)
    ready = status.state == "ready"
    sentences = laundry_live.sentences_for(store, task) if ready else ()
    n = SHORTEST_LIST
    if task == LAUNDRY_LIST:
        narrow, _ = st.columns([40, 60])
        with narrow:
            n = _items_input(_longest(status, sentences, rows))
    if rows.empty:
        _nothing(store, task)
    else:
        _stored(store, task, rows, n)
    with st.container(key="laundry-live"):
        model_wait.trouble(store, status, "Running tasks")
        if ready:
            laundry_live.live(store, task, sentences, n)
        elif model_wait.is_coming(status):
            frame.empty(f"Runs come with the model. {model_wait.status_line(status)}")


def laundry_tab(store: Store) -> None:
    """The whole tab: task, accuracy against chance, and live runs once the model is at hand."""
    _body(store)
    if model_wait.is_coming(models.model_status(store)):
        model_wait.await_model(store)
