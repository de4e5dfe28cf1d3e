"""Numbers in a row beside a page's question, each with its definition."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import NamedTuple

import streamlit as st


class Metric(NamedTuple):
    """A name, a formatted value, what it is of (small), and its definition."""

    name: str
    value: str
    of: str
    help: str


_VALUE = (
    "margin:0;font-size:23px;font-weight:600;line-height:1.3;white-space:nowrap;color:var(--nt-ink)"
)
_OF = "margin-left:2px;font-size:13.5px;font-weight:400;color:var(--nt-muted)"


def metrics(numbers: Sequence[Metric]) -> None:
    """Draw the numbers in one row, at the right of the question."""
    with st.container(horizontal=True, horizontal_alignment="distribute", wrap=False):
        for number in numbers:
            with st.container(gap=None, width="content"):
                st.caption(number.name, help=number.help, width="content")
                of = f' <span style="{_OF}">{html.escape(number.of)}</span>' if number.of else ""
                st.html(f'<p style="{_VALUE}">{html.escape(number.value)}{of}</p>')
