"""Checks of the run's store: what holds, what does not, and numbers recomputed from the model."""

from __future__ import annotations

import html

import pandas as pd
import streamlit as st

from explorer.components import frame
from explorer.components.chips import plain_markdown
from explorer.components.figure import heading
from explorer.core.plain_text import one_line
from explorer.core.store import Store
from explorer.core.verify_report import Check, summary
from explorer.resources import store_checks
from explorer.resources.store_checks import Checking

_PATIENCE_S = 1.0
"""The page waits this long for checks; then they go on beside it."""
_COLUMNS = ("check", "meaning", "state", "reason", "seconds")


def _plain(text: str) -> str:
    return html.escape(one_line(text))


def _rows(checks: tuple[Check, ...]) -> str:
    rows = "".join(
        f"<tr><td>{_plain(check.meaning)}</td>"
        f"<td>{'<b>failed</b>' if check.state == 'failed' else check.state}</td>"
        f"<td>{_plain(check.reason)}</td></tr>"
        for check in checks
    )
    head = "".join(
        f'<th scope="col">{name}</th>'
        for name in ("What must hold", "Found", "On what, or why not")
    )
    return f'<table class="nt-table"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def _data(checks: tuple[Check, ...]) -> pd.DataFrame:
    rows = [(c.name, c.meaning, c.state, c.reason, round(c.seconds, 3)) for c in checks]
    return pd.DataFrame(rows, columns=list(_COLUMNS))


@st.fragment(run_every=1.0)
def _progress(store: Store, of_model: bool) -> None:
    """How far checks are; has the page drawn anew once they are over."""
    find = store_checks.model_checks if of_model else store_checks.own_checks
    checking = find(store)
    if checking is None or checking.is_over:
        st.rerun()
    what = "Prompts recomputed" if of_model else "Checks done"
    st.progress(min(1.0, checking.done / max(1, checking.total)),
                f"{what}: {checking.done} of {checking.total}")  # fmt: skip


def _raise_or_say(checking: Checking, key: str, store: Store) -> None:
    """Why checks could not be done. An error that nobody foresaw is raised, not hidden."""
    if checking.error is not None:
        raise checking.error
    if checking.trouble is not None:
        frame.note(f"Not done: {_plain(checking.trouble)}")
        start = store_checks.start_model_checks if key == "model" else store_checks.start_own_checks
        st.button("Try again", key=f"about-checks-{key}-again", on_click=start, args=(store,))


def _of_model(store: Store, checking: Checking | None) -> None:
    """The part that needs the model: a button, progress, or nothing more."""
    if checking is not None and not checking.is_over:
        _progress(store, of_model=True)
    elif checking is not None and not checking.checks:
        _raise_or_say(checking, "model", store)
    elif checking is None and store_checks.model_is_ready(store):
        st.button(
            f"Recompute {store_checks.N_SAMPLES} prompts with the model",
            key="about-checks-model",
            on_click=store_checks.start_model_checks,
            args=(store,),
        )
    elif checking is None:
        frame.empty(
            "Once Live has loaded the run's model, sampled prompts can be recomputed here as well."
        )


def _found(store: Store, own: Checking) -> None:
    again = store_checks.model_checks(store)
    checks = own.checks + (again.checks if again is not None and again.is_over else ())
    seconds = sum(check.seconds for check in checks)
    heading(
        "Checks of this store",
        _data(checks),
        key="about-checks",
        caption=f"{summary(checks)}; every row, in {seconds:.1f} s. From a shell: "
        f"python -m precompute verify {plain_markdown(store.path.name)}",
    )
    st.html(_rows(checks))
    _of_model(store, again)


def store_section(store: Store) -> None:
    """The section of the About page. A small store is checked without being asked."""
    own = store_checks.own_checks(store)
    if own is None and store_checks.is_small(store):
        store_checks.start_own_checks(store)
        own = store_checks.own_checks(store)
    if own is not None:
        own.wait(_PATIENCE_S)
    if own is None or not own.is_over or own.error is not None or own.trouble is not None:
        heading("Checks of this store", _data(()), key="about-checks",
                caption="Its tables, checksums and arithmetic, on every row.")  # fmt: skip
    if own is None:
        st.button("Check this store", key="about-checks-own", on_click=store_checks.start_own_checks,
                  args=(store,))  # fmt: skip
    elif not own.is_over:
        _progress(store, of_model=False)
    elif own.error is not None or own.trouble is not None:
        _raise_or_say(own, "own", store)
    else:
        _found(store, own)
