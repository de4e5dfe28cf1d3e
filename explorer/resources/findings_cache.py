"""What Findings shows of a published run, computed once and shared by all sessions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import streamlit as st

from explorer.core.store import Store
from explorer.resources.findings_tables import RunFindings, run_findings
from explorer.resources.removal_tables import (
    Pick,
    Removals,
    removal_data,
    removals_of,
    scatter_rows,
)


@st.cache_resource(max_entries=64, show_spinner=False)
def _remembered(key: tuple[str, ...], _make: Callable[[], Any]) -> Any:
    """A value of a published run, whose file never changes under its stamp."""
    return _make()


def _stamp(store: Store) -> tuple[str, ...]:
    return str(store.path), str(store.manifest.get("end", "")), str(store.path.stat().st_mtime_ns)


def cached_findings(store: Store, model: str, corpus: str) -> RunFindings:
    """`run_findings`, computed once for a run."""
    return _remembered((*_stamp(store), "findings"), lambda: run_findings(store, model, corpus))


def cached_removals(store: Store, kind: str) -> Removals:
    """`removals_of`, computed once for a run and kind."""
    return _remembered((*_stamp(store), "removals", kind), lambda: removals_of(store, kind))


def cached_removal_data(store: Store, kind: str) -> pd.DataFrame:
    """`removal_data` of a run, computed once: a run may hold a hundred thousand removals."""
    return _remembered(
        (*_stamp(store), "removal data", kind),
        lambda: removal_data(cached_removals(store, kind), store.token_texts),
    )


def cached_scatter_rows(store: Store, kind: str, pick: Pick) -> pd.DataFrame:
    """`scatter_rows` of a run with this mark chosen."""
    return _remembered(
        (*_stamp(store), "scatter", kind, *map(str, pick)),
        lambda: scatter_rows(cached_removals(store, kind), store.token_texts, pick),
    )
