"""Links from page to page, each carrying the selection in its URL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import streamlit as st
from streamlit.navigation.page import Page

from explorer import selection
from explorer.selection import VIEW_FIELDS

PAGE_FIELDS: dict[str, tuple[str, ...]] = {
    "tokens": ("run", "token", "neuron"),
    "neuron": ("run", "token", "neuron", "split", "prompt", "head"),
    "head": ("run", "token", "neuron", "head", "split", "prompt", "explainer", "kind"),
    "map": ("run", "measure", "sort", "neuron", "head"),
    "live": ("run", "token", "neuron", "head", "text", "prompt", "pos", "off", "kind", "text2",
             "pos2"),
    "channels": ("run", "tab", "mode", "src", "dst", "matrix", "comp", "token", "neuron", "text",
                 "prompt", "edit", "strength", "items"),
    "flow": ("run", "token", "neuron", "head", "text", "prompt", "pos", "target", "node", "min_head",
             "min_neuron"),
    "findings": ("run", "others", "token", "neuron", "head", "prompt", "kind", "measure"),
    "about": ("run",),
}  # fmt: skip
"""The fields that a link to a page carries, where they are chosen; beside them `VIEW_FIELDS`."""

_PAGES_KEY = "pages"


def register_pages(pages: Mapping[str, Page]) -> None:
    """Tell the frame which page objects there are; the router does this before a page runs."""
    st.session_state[_PAGES_KEY] = dict(pages)


def _query(page: str, chosen: selection.Selection) -> dict[str, str | list[str]]:
    return selection.query_of(chosen, (*PAGE_FIELDS[page], *VIEW_FIELDS))


def link(page: str, label: str, **changes: Any) -> None:
    """A link to another page that carries the selection with `changes`; None forgets a field.

    `label` is markdown: `chips.token_code` writes a token in it.
    """
    query = _query(page, replace(selection.current(), **changes))
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
        st.switch_page(pages[page], query_params=_query(page, chosen))
