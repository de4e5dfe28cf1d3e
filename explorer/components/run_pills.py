"""The runs that Findings compares: a pill each, with the run's own colour and marker."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from explorer import selection
from explorer.charts.run_marks import GLYPHS
from explorer.charts.style import DARK, LIGHT
from explorer.components.chips import plain_markdown
from explorer.core.runs import RunList
from explorer.selection import MAX_RUNS

_STYLE_SHEET = Path(__file__).with_name("findings.css")
_ADD = "nt-add-run"


def apply_style() -> None:
    """Put the style sheet of Findings on the page."""
    markers = "\n".join(
        f'.st-key-nt-runs .st-key-nt-run-{i} button::before {{ content: "{glyph}"; '
        f"color: light-dark({LIGHT.runs[i]}, {DARK.runs[i]}); }}"
        for i, glyph in enumerate(GLYPHS)
    )
    st.html(f"<style>{_STYLE_SHEET.read_text(encoding='utf-8')}\n{markers}</style>")


def _compare(run_ids: Sequence[str]) -> None:
    """Compare these runs, the first leading. A prompt or neuron of another run means nothing."""
    first, *others = run_ids
    changes = (
        {} if selection.current().run == first else {"neuron": None, "head": None, "prompt": None}
    )
    selection.choose(run=first, others=tuple(others) or None, **changes)


def _add(run_ids: Sequence[str]) -> None:
    added = st.session_state[_ADD]
    if added is not None:
        _compare([*run_ids, added])


def run_pills(runs: RunList, shown: dict[str, str]) -> None:
    """The title with a pill for each run of `shown` (run id and name, the first leads); a click takes
    a run out, *Add run* offers the rest."""
    ids = list(shown)
    titles = {run.run_id: run.title for run in runs.runs if run.run_id not in shown}
    full = len(ids) >= MAX_RUNS
    with st.container(key="nt-runs", horizontal=True, vertical_alignment="center", gap="small"):
        st.html('<h1 class="nt-question">Findings</h1>', width="content")
        st.html('<p class="nt-small">Runs</p>', width="content")
        for place, run_id in enumerate(ids):
            rest = [other for other in ids if other != run_id]
            st.button(
                plain_markdown(shown[run_id]), key=f"nt-run-{place}", disabled=not rest,
                help="Take this run out of the comparison" if rest else "The run shown",
                on_click=_compare, args=(rest,),
            )  # fmt: skip
        why = "Compare with another run of the folder"
        if full:
            why = f"At most {MAX_RUNS} runs are compared"
        elif not titles:
            why = "There is no other run in the folder"
        with st.popover("Add run", icon=":material/add:", disabled=full or not titles, help=why):
            st.session_state[_ADD] = None
            st.selectbox(
                "Run to compare", list(titles), index=None, key=_ADD, on_change=_add, args=(ids,),
                placeholder="Choose a run", format_func=lambda run: f"{titles[run]} ({run})",
            )  # fmt: skip
