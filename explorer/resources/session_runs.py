"""What Streamlit knows of the run that goes on: whose it is, and whether a newer one waits.

All that looks at what waits to be run asks here. An edit does not end the run of the edit
before it: Streamlit has it wait, and merges what waits. A run that still waits itself asks here, and
begins anew with the newest edit.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.scriptrunner_utils.script_run_context import ThreadState

from explorer.resources.turns import Lane, runs


def session_id() -> str:
    """The session whose page this thread runs; outside of one, a name of the thread."""
    context = get_script_run_ctx(suppress_warning=True)
    return f"thread {threading.get_ident()}" if context is None else context.session_id


def waiting(requests: Any) -> Any:
    """What waits in a session's requests to be run next; None where nothing does."""
    # No public name says it. Where these were renamed, tests fail, and nothing is found to wait.
    if getattr(getattr(requests, "_state", None), "name", "") != "RERUN":
        return None
    return getattr(requests, "_rerun_data", None)


def newer_waits() -> bool:
    """Whether the fragment that this run draws is to be run again already."""
    context = get_script_run_ctx(suppress_warning=True)
    if context is None or not context.fragment_ids_this_run or context.script_requests is None:
        return False
    asked = waiting(context.script_requests)
    return ThreadState.get().fragment_id in getattr(asked, "fragment_id_queue", ())


def give_way(begun: bool = False) -> None:
    """End this run where its session has ended, is to draw another page, or has a newer edit.

    `begun`: what the run waited for is being done, and is not thrown away for a newer edit.
    """
    # Any access to session state lets Streamlit end this run when a newer one of the session waits.
    st.session_state.get("live-text")
    if not begun and newer_waits():
        st.rerun(scope="fragment")


@contextmanager
def turn(lane: Lane) -> Iterator[None]:
    """Wait until it is this session's turn, and hold it; what is stale by then ends here."""
    with runs().turn(session_id(), lane):
        if newer_waits():
            runs().come_again(session_id())
        give_way()
        yield
