"""The offer of a newer run: a store published while the page is open is noticed and offered."""

from __future__ import annotations

import html

import streamlit as st

from explorer import selection
from explorer.core.runs import RunInfo
from explorer.resources.stores import current_runs, folder_changes

_EVERY_SECONDS = 2
_SEEN = "newest_run_seen"
_OFFERED = "newest_run_offered"


def _newer(runs: tuple[RunInfo, ...], seen: str) -> RunInfo | None:
    """The newest run, if it was finished after everything that this session knew of."""
    return runs[0] if runs and runs[0].end > seen else None


def _open(run: RunInfo) -> None:
    st.session_state[_SEEN] = run.end
    selection.choose(run=run.run_id, neuron=None, head=None, prompt=None, pos=None)


@st.fragment(run_every=_EVERY_SECONDS)
def _poll() -> None:
    changes = folder_changes()
    if changes != st.session_state.get("folder_changes"):
        st.session_state["folder_changes"] = changes
        st.session_state[_OFFERED] = _newer(current_runs().runs, st.session_state[_SEEN])
    offered: RunInfo | None = st.session_state.get(_OFFERED)
    if offered is None:
        return
    with st.container(key="nt-new-run", horizontal=True, vertical_alignment="center", gap="small"):
        st.html(
            '<p class="nt-note" role="status">A newer run is ready: '
            f"<b>{html.escape(offered.title)}</b>.</p>",
            width="content",
        )
        if st.button("Open it", key="nt-open-new-run", on_click=_open, args=(offered,)):
            st.session_state[_OFFERED] = None
            st.rerun()


def offer_new_run(shown: RunInfo) -> None:
    """Watch the folder of stores for this session, and offer what is published from now on."""
    if _SEEN not in st.session_state:
        newest = current_runs().runs
        st.session_state[_SEEN] = newest[0].end if newest else shown.end
        st.session_state["folder_changes"] = folder_changes()
    _poll()
