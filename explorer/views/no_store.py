"""What is shown while there is no run: how to make one, and why files that are there are none."""

from __future__ import annotations

import html
from pathlib import Path

import streamlit as st

from explorer.components import frame
from explorer.components.theme import apply_style
from explorer.resources.stores import current_runs, store_folder

_COMMAND = "python -m precompute --model MODEL --corpus CORPUS"
_MAKEFILE = Path(__file__).resolve().parents[2] / "Makefile"
_EVERY_SECONDS = 2


@st.fragment(run_every=_EVERY_SECONDS)
def _wait_for_a_run() -> None:
    if current_runs().runs:
        st.rerun()


def _unreadable(files: tuple[tuple[str, str], ...]) -> None:
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{html.escape(reason)}</td></tr>"
        for name, reason in files
    )
    st.html(
        '<h2 class="nt-heading">Files that are here but cannot be opened</h2>'
        '<table class="nt-table"><thead><tr><th scope="col">File</th><th scope="col">Why, and what '
        f"repairs it</th></tr></thead><tbody>{rows}</tbody></table>"
    )


def render() -> None:
    apply_style()
    folder = store_folder().absolute()
    frame.question(
        "There is no run to explore yet",
        f"No finished run lies in <b>{html.escape(str(folder))}</b>. "
        "This page opens the first one as soon as it is published.",
    )
    if _MAKEFILE.is_file():
        st.html('<p class="nt-text">The demo, with a small model, in about two minutes:</p>')
        st.code("make demo", language=None)
    st.html(
        '<p class="nt-text">From a model (a Hugging Face folder or hub name) and a corpus '
        "(<code>.txt</code>, <code>.jsonl</code> or <code>.parquet</code>):</p>"
    )
    out = "" if folder == Path("runs").absolute() else f" --out '{folder}'"
    st.code(_COMMAND + out, language=None)
    st.html('<p class="nt-text">Runs in another folder:</p>')
    st.code("python -m explorer --store DIR", language=None)
    unreadable = current_runs().unreadable
    if unreadable:
        _unreadable(unreadable)
    _wait_for_a_run()
