"""The frame of every page: notes on a bad link, the trail, run picker, copy link, export, question.

A page calls `page` first. It resolves the run and what the link names, keeps the URL in step, and
returns the open store with a selection whose run, neuron and head exist in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import streamlit as st
from streamlit.navigation.page import Page

from explorer import selection
from explorer.components import chips, export
from explorer.components.copy_link import copy_link
from explorer.components.link_check import check
from explorer.components.new_run import offer_new_run
from explorer.components.theme import apply_style
from explorer.core.errors import StoreError
from explorer.core.runs import RunList
from explorer.core.store import Store
from explorer.resources.models import warm_up
from explorer.resources.stores import current_runs, open_run, store_folder
from explorer.selection import Selection

PAGE_FIELDS: dict[str, tuple[str, ...]] = {
    "tokens": ("run", "token", "neuron"),
    "neuron": ("run", "token", "neuron", "split", "prompt", "head"),
    "head": ("run", "token", "neuron", "head", "split", "prompt", "explainer", "kind"),
    "map": ("run", "measure", "sort", "neuron", "head"),
    "live": ("run", "token", "neuron", "head", "text", "prompt", "pos", "off", "kind", "text2",
             "pos2"),
    "flow": ("run", "token", "neuron", "head", "text", "prompt", "pos", "target", "node", "min_head",
             "min_neuron"),
    "findings": ("run", "others", "token", "neuron", "head", "prompt", "kind", "measure"),
    "about": ("run",),
}  # fmt: skip
"""The fields that a link to a page carries, where they are chosen."""

_PAGES_KEY = "pages"


def register_pages(pages: Mapping[str, Page]) -> None:
    """Tell the frame which page objects there are; the router does this before a page runs."""
    st.session_state[_PAGES_KEY] = dict(pages)


def link(page: str, label: str, **changes: Any) -> None:
    """A link to another page that carries the selection with `changes`; None forgets a field.

    `label` is markdown: `chips.token_code` writes a token in it.
    """
    query = selection.query_of(replace(selection.current(), **changes), PAGE_FIELDS[page])
    pages = st.session_state.get(_PAGES_KEY, {})
    if page in pages:
        st.page_link(pages[page], label=label, query_params=query)
    else:  # a page drawn alone, without the router
        st.markdown(label)


def go(page: str, **changes: Any) -> None:
    """Open another page at once, carrying the selection with `changes`."""
    pages = st.session_state.get(_PAGES_KEY, {})
    chosen = selection.choose(**changes)
    if page in pages:
        query = selection.query_of(chosen, PAGE_FIELDS[page])
        st.switch_page(pages[page], query_params=query)


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


def _choose_run() -> None:
    # Another run may be of another model: what was chosen in this one need not exist there.
    selection.choose(run=st.session_state["nt-run"], neuron=None, head=None, prompt=None, pos=None)


def _run_picker(runs: RunList, run_id: str) -> None:
    titles = {run.run_id: run.title for run in runs.runs}
    repeated = len(set(titles.values())) < len(titles)
    st.session_state["nt-run"] = run_id
    st.selectbox(
        "Run",
        list(titles),
        format_func=lambda run: f"{titles[run]} ({run})" if repeated else titles[run],
        key="nt-run",
        on_change=_choose_run,
        label_visibility="collapsed",
        width=250,
    )


def _export_menu(store: Store) -> None:
    tables = export.begin_page()
    make = {"tables": tables, "manifest": store.manifest, "link": export.page_link_url()}
    name = export.file_stem(store.run_id, "page")
    with st.popover("Export", help="This page's numbers, with the run's manifest"):
        st.download_button("JSON, all figures", partial(export.to_json, **make), f"{name}.json",
                           "application/json", on_click="ignore", type="tertiary")  # fmt: skip
        st.download_button("CSV files (zip)", partial(export.to_zip, **make), f"{name}.zip",
                           "application/zip", on_click="ignore", type="tertiary")  # fmt: skip


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
    names = tuple(dict.fromkeys(("run", *names)))
    runs = current_runs()
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
    fixes, found = check(store, wanted)
    fixes["run"] = run.run_id
    chosen = replace(wanted, **fixes)
    if defaults is not None:
        fixes |= defaults(store, chosen)
        chosen = replace(chosen, **fixes)
    if chosen != wanted:
        selection.choose(**fixes)
    selection.show_in_url(chosen, names)
    with st.container(key="nt-frame", horizontal=True, horizontal_alignment="distribute",
                      vertical_alignment="center"):  # fmt: skip
        _trail(step, chosen)
        with st.container(
            horizontal=True, width="content", gap="small", vertical_alignment="center"
        ):
            _run_picker(runs, run.run_id)
            copy_link()
            _export_menu(store)
    offer_new_run(run)
    for text in (*notes, *found):
        note(chips.emphasised(text))
    return store, chosen
