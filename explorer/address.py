"""What the browser's address says, as far as it is known: the one place that reads and writes it.

A message of the browser carries the address as the browser has it. Messages that were on their way
when the address was changed from here still carry the one before; taken for somebody's wish, they
would undo the change. So an address that this session has just replaced is not read again, unless
somebody went back to it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TypeAlias

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

Query: TypeAlias = dict[str, list[str]]

_KEY = "address"
_LATE_SECONDS = 30.0
"""How old a message may be: a busy server has them wait."""


@dataclass
class _Address:
    page: str | None
    query: Query
    replaced: list[tuple[float, Query]] = field(default_factory=list)
    """What stood there before, and when it was replaced."""


def _went_back() -> bool:
    """Whether this run draws what the browser's Back or Forward has chosen."""
    context = get_script_run_ctx(suppress_warning=True)
    # No public name says it. Where it were renamed, a browser test fails.
    return bool(getattr(context, "is_history_navigation", False))


def _said() -> Query:
    return {name: st.query_params.get_all(name) for name in st.query_params}


def query() -> Query:
    """The address's parameters: those of the browser, or what has just been written over them."""
    said = _said()
    known: _Address | None = st.session_state.get(_KEY)
    if known is None:
        st.session_state[_KEY] = _Address(None, said)
        return said
    if said == known.query:
        return said
    since = time.monotonic() - _LATE_SECONDS
    if not _went_back() and any(q == said for t, q in known.replaced if t > since):
        return known.query
    st.session_state[_KEY] = _Address(known.page, said)
    return said


def write(new: Query) -> None:
    """Show these parameters in the address."""
    before = query()
    if new == before:
        if _went_back():  # the address of a page that was drawn in passing may stand there
            st.query_params.from_dict(new)
        return
    known: _Address = st.session_state[_KEY]
    now = time.monotonic()
    known.replaced = [(t, q) for t, q in known.replaced if t > now - _LATE_SECONDS]
    known.replaced.append((now, before))
    known.query = {name: list(values) for name, values in new.items()}
    st.query_params.from_dict(known.query)


def at_page(page: str) -> None:
    """Say which page is drawn: whoever comes from another one went to what the address says."""
    known: _Address | None = st.session_state.get(_KEY)
    if known is None or known.page != page:
        st.session_state[_KEY] = _Address(page, _said())
