"""The frame of every page: notes on a bad link, the trail, run picker, copy link, export, question.

A page calls `page` first. It resolves the run and what the link names, keeps the URL in step, and
returns the open store with a selection whose run, neuron and head exist in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import streamlit as st

from explorer import address, selection
from explorer.components import chips, export
from explorer.components.copy_link import copy_link
from explorer.components.copy_python import copy_python
from explorer.components.guide import guide_strip
from explorer.components.keys import page_keys
from explorer.components.link_check import check
from explorer.components.new_run import offer_new_run
from explorer.components.notes import notes_menu
from explorer.components.page_file import offer_page_file
from explorer.components.page_links import PAGE_FIELDS, go, link, register_pages
from explorer.components.shown_key import shown_key
from explorer.components.theme import apply_style
from explorer.core.errors import StoreError
from explorer.core.runs import RunInfo, RunList
from explorer.core.store import Store
from explorer.resources.models import warm_up
from explorer.resources.stores import current_runs, open_run, store_folder
from explorer.selection import VIEW_FIELDS, Selection

__all__ = ("PAGE_FIELDS", "empty", "go", "link", "note", "page", "question", "register_pages")


_PRESENTATION = """<style>
.stMainBlockContainer, [data-testid="stHeader"] { zoom: 1.3; }
.stElementContainer:has([data-testid="stVegaLiteChart"], [data-testid="stDataFrame"]) {
  width: calc(100% / 1.3) !important;
}
</style>"""
"""Type x 1.3, and all that is drawn with it. A chart or table takes the width that its place has
on the screen as its own, which is then enlarged: its place is made that much narrower."""


def question(text: str, answer: str = "") -> None:
    """The page's one question and the sentence that answers it, both HTML with texts escaped."""
    st.html(
        f'<h1 class="nt-question">{text}</h1>'
        + (f'<p class="nt-answer">{answer}</p>' if answer else "")
    )


def note(text: str) -> None:
    """A remark on what was asked for, HTML with texts escaped."""
    st.html(f'<p class="nt-note" role="status">{text}</p>')


def empty(text: str) -> None:
    """What stands where a figure has nothing to show, HTML with texts escaped."""
    st.html(f'<p class="nt-small">{text}</p>')


def _step(number: int, page: str, name: str, value: str | None, now: bool, dimmed: bool) -> None:
    state = "now" if now else "unset" if dimmed else "set"
    with st.container(key=f"nt-step-{state}-{number}", width="content"):
        link(page, f"{number} {name}" + (f"  {value}" if value else ""))


def _trail(step: str, chosen: Selection) -> None:
    token = None if chosen.token is None else chips.token_code(chosen.token)
    neuron = None if chosen.neuron is None else f"**{chosen.neuron.label}**"
    head = None if chosen.head is None else f"**{chosen.head.label}**"
    steps = (("tokens", "Token", token), ("neuron", "Neuron", neuron), ("head", "Head", head),
             ("live", "Try it live", None))  # fmt: skip
    with st.container(key="nt-trail", horizontal=True, gap="xsmall", vertical_alignment="center",
                      width="content"):  # fmt: skip
        for number, (page, name, value) in enumerate(steps, start=1):
            if number > 1:
                st.html('<p class="nt-arrow" aria-hidden="true">→</p>', width="content")
            dimmed = value is None and (page != "live" or chosen.neuron is None)
            _step(number, page, name, value, now=page == step, dimmed=dimmed)


def _choose_run(key: str) -> None:
    # Another run may be of another model: what was chosen in this one need not exist there.
    selection.choose(
        run=st.session_state[key],
        neuron=None,
        head=None,
        prompt=None,
        pos=None,
        pos2=None,
        off=None,
    )


def run_labels(runs: tuple[RunInfo, ...]) -> dict[str, str]:
    """What the run picker calls each run: its title; where several share one, the last part of the
    run's id before it, or the whole id where even that is shared."""
    titles, ends = Counter(run.title for run in runs), Counter(_end(run) for run in runs)
    return {
        run.run_id: run.title
        if titles[run.title] == 1
        else f"{run.run_id.rsplit('-', 1)[-1] if ends[_end(run)] == 1 else run.run_id} · {run.title}"
        for run in runs
    }


def _end(run: RunInfo) -> tuple[str, str]:
    return run.title, run.run_id.rsplit("-", 1)[-1]


def _run_picker(runs: RunList, run_id: str) -> None:
    labels = run_labels(runs.runs)
    key = shown_key("nt-run", run_id)
    st.selectbox(
        "Run",
        list(labels),
        format_func=labels.__getitem__,
        key=key,
        on_change=_choose_run,
        args=(key,),
        label_visibility="collapsed",
        width=232,
    )


def _export_menu(step: str, store: Store, chosen: Selection) -> None:
    tables = export.begin_page()
    make = {"tables": tables, "manifest": store.manifest, "link": export.page_link_url()}
    name = export.file_stem(store.run_id, "page")
    with st.popover("Export", help="This page's numbers, with the run's manifest"):
        st.download_button("JSON, all figures", partial(export.to_json, **make), f"{name}.json",
                           "application/json", on_click="ignore", type="tertiary")  # fmt: skip
        st.download_button("CSV files (zip)", partial(export.to_zip, **make), f"{name}.zip",
                           "application/zip", on_click="ignore", type="tertiary")  # fmt: skip
        offer_page_file(step, store, chosen)


def _arrive(names: tuple[str, ...]) -> Selection:
    """A link is the whole view of its page: what it leaves out is not taken from the session."""
    linked = selection.linked()
    chosen = selection.current()
    unnamed = [name for name in names if name not in linked and getattr(chosen, name) is not None]
    if linked and unnamed:
        return selection.choose(**dict.fromkeys(unnamed))
    return chosen


Defaults = Callable[[Store, Selection], Mapping[str, Any]]


def page(
    step: str, names: tuple[str, ...], defaults: Defaults | None = None
) -> tuple[Store, Selection]:
    """Draw the frame of the page `step`, whose own URL parameters are `names`.

    `defaults` gives fields that the page chooses itself where a visitor has not; the trail and the
    URL then show them. Returns the store of the chosen run (the newest by default) and the
    selection; stops the page where there is no run at all.
    """
    apply_style()
    address.at_page(step)
    names = tuple(dict.fromkeys(("run", *names)))
    runs, arrived = current_runs(), selection.is_new()
    if not runs.runs:
        st.info(f"There is no run in {store_folder()} yet. Reload the page once there is one.")
        st.stop()
    wanted = _arrive(names)
    notes = list(selection.link_notes())
    run = runs.find(wanted.run) if wanted.run else runs.runs[0]
    if run is None:
        notes.append(f"There is no run *{wanted.run}* here. Shown: *{runs.runs[0].run_id}*.")
        run = runs.runs[0]
    try:
        store = open_run(run.run_id)
    except StoreError as error:
        st.error(chips.plain_markdown(str(error)))
        st.stop()
    warm_up(store)
    st.session_state["run_title"] = run.title
    fixes, found = check(store, wanted, step, arrived)
    fixes["run"] = run.run_id
    chosen = replace(wanted, **fixes)
    if defaults is not None:
        fixes |= defaults(store, chosen)
        chosen = replace(chosen, **fixes)
    if chosen != wanted:
        selection.choose(**fixes)
    selection.show_in_url(chosen, (*names, *VIEW_FIELDS))
    with st.container(key="nt-frame", horizontal=True, horizontal_alignment="distribute",
                      vertical_alignment="center"):  # fmt: skip
        _trail(step, chosen)
        with st.container(key="nt-tools", horizontal=True, width="content", gap="xsmall",
                          vertical_alignment="center"):  # fmt: skip
            _run_picker(runs, run.run_id)
            copy_link()
            copy_python(store, step)
            _export_menu(step, store, chosen)
            notes_menu(store, step, chosen)
            page_keys(store, step, chosen)
    if chosen.big == 1:
        st.html(_PRESENTATION)
    offer_new_run(run)
    if notes or found:
        note("<br>".join(map(chips.emphasised, (*notes, *found))))
    if step != "tokens":  # there the strip stands under the search
        guide_strip(store, step, chosen)
    return store, chosen
