"""About: every number defined, what they mean and do not mean, and the run's manifest verbatim."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import pandas as pd
import streamlit as st

from explorer.charts.about_text import LICENCE, LIMITS, MEANING, PAPERS
from explorer.charts.glossary import GLOSSARY, define
from explorer.components import frame
from explorer.components.chips import plain_markdown
from explorer.components.figure import heading
from explorer.components.store_checks import store_section
from explorer.core.plain_text import one_line
from explorer.core.store import Store
from explorer.resources.stores import current_runs


def _table(
    columns: tuple[str, ...], rows: list[tuple[str, ...]], numeric: int | None = None
) -> None:
    """An HTML table of texts; `numeric` names a column of figures."""
    marks = ["" if place != numeric else ' class="nt-num"' for place in range(len(columns))]
    head = "".join(
        f'<th scope="col"{mark}>{html.escape(name)}</th>'
        for name, mark in zip(columns, marks, strict=True)
    )
    body = "".join(
        "<tr>" + "".join(f"<td{mark}>{html.escape(one_line(text))}</td>"
                         for text, mark in zip(row, marks, strict=True)) + "</tr>"
        for row in rows
    )  # fmt: skip
    st.html(f'<table class="nt-table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>')


def _paragraphs(texts: tuple[str, ...]) -> None:
    st.html("".join(f'<p class="nt-text nt-gap">{text}</p>' for text in texts))


def _definitions(manifest: Mapping[str, Any]) -> None:
    rows = [(name, define(name, manifest)) for name in GLOSSARY]
    heading("Every number", pd.DataFrame(rows, columns=["number", "definition"]), key="about-numbers",
            caption="The same texts stand behind the question marks. Thresholds are this run's.")  # fmt: skip
    _table(("Number", "Definition"), rows)


def _warnings(manifest: Mapping[str, Any]) -> None:
    counted = manifest.get("warnings") or {}
    if not isinstance(counted, Mapping):
        counted = {str(text): 1 for text in counted}
    rows = [
        (str(name), f"{count:,}" if isinstance(count, int) else str(count))
        for name, count in counted.items()
    ]
    heading("Counted warnings", pd.DataFrame(rows, columns=["warning", "count"]), key="about-warnings",
            caption="What the job passed over or could not do, counted.")  # fmt: skip
    if rows:
        _table(("Warning", "Count"), rows, numeric=1)
    else:
        frame.empty("None.")


def _failures(store: Store) -> None:
    failures = store.failures()
    if failures.empty:
        return
    heading("What failed", failures, key="about-failures",
            caption="Asked for and not had; stored nowhere else. The first 50 of "
            f"{len(failures):,}; all are in the CSV." if len(failures) > 50 else
            "Asked for and not had; stored nowhere else.")  # fmt: skip
    shown = failures.head(50).itertuples(index=False, name=None)
    _table(("Stage", "Subject", "Reason"), [tuple(map(str, row)) for row in shown])


@lru_cache(maxsize=8)
def _counts(store: Store) -> list[tuple[str, ...]]:
    return [(name, f"{count:,}") for name, count in store.row_counts().items() if count]


def _row_counts(store: Store) -> None:
    rows = _counts(store)
    heading("Rows stored", pd.DataFrame(rows, columns=["table", "rows"]), key="about-rows",
            caption="Tables of stages that this run left out are empty, and not listed.")  # fmt: skip
    _table(("Table", "Rows"), rows, numeric=1)


def _manifest(store: Store) -> None:
    facts = {
        one_line(name): one_line(json.dumps(store.manifest[name], ensure_ascii=False))
        for name in sorted(store.manifest)
    }
    heading(
        "The run's manifest, verbatim",
        pd.DataFrame(facts.items(), columns=["key", "value"]),
        key="about-manifest",
        caption=f"Table manifest of {plain_markdown(store.path.name)}, values as JSON.",
    )
    width = max(map(len, facts))
    st.code("\n".join(f"{name:<{width}}  {value}" for name, value in facts.items()),
            language=None, wrap_lines=True)  # fmt: skip


def _unreadable() -> None:
    files = list(current_runs().unreadable)
    if files:
        heading(
            "Files that are no runs",
            pd.DataFrame(files, columns=["file", "reason"]),
            key="about-unreadable",
            caption="They lie in the folder of runs, and cannot be opened.",
        )
        _table(("File", "Why, and what repairs it"), files)


def render() -> None:
    store, _ = frame.page("about", ("run",))
    frame.question("What the numbers mean",
                   "Definitions, limits, and all that is known of how this run was made.")  # fmt: skip
    left, right = st.columns([58, 42], gap="large")
    with left:
        st.html('<h2 class="nt-heading">What they say, and what they do not</h2>')
        _paragraphs(MEANING)
        _definitions(store.manifest)
        st.html('<h2 class="nt-heading">Limits</h2>')
        _paragraphs(LIMITS)
    with right:
        _warnings(store.manifest)
        _failures(store)
        _row_counts(store)
        _unreadable()
        st.html('<h2 class="nt-heading">The papers, and the licence</h2>')
        _paragraphs((*PAPERS, LICENCE))
    checks = st.container()
    _manifest(store)
    with checks:  # last, so that nothing waits for them
        store_section(store)
