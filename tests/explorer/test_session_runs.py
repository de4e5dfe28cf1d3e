"""A run knows that a newer edit of its session waits: told by Streamlit's own run control, not a copy.

`session_runs` reads names that Streamlit does not promise to keep. Where one is renamed, or means
something else, the real run control here gives other answers, and these tests fail.
"""

from __future__ import annotations

from typing import Any

from streamlit.testing.v1 import AppTest

from explorer.resources.session_runs import newer_waits


def _page(seen: list[object], asks_for: str) -> None:
    """A page with a fragment that asks Streamlit, as a browser would, to be run again while it runs."""
    import streamlit as st
    from streamlit.runtime.scriptrunner import RerunData, get_script_run_ctx
    from streamlit.runtime.scriptrunner_utils.script_run_context import ThreadState

    from explorer.resources.session_runs import give_way, newer_waits, session_id

    context = get_script_run_ctx()
    assert context is not None and context.script_requests is not None
    asked = context.script_requests

    def ask(fragment: str) -> None:
        asked.request_rerun(
            RerunData(fragment_id=fragment, page_script_hash=context.page_script_hash)
        )

    @st.fragment
    def poll() -> None:
        seen.append("poll") if context.fragment_ids_this_run else ids.append(_own())

    def _own() -> str:
        return ThreadState.get().fragment_id or ""

    @st.fragment
    def live() -> None:
        if not context.fragment_ids_this_run:  # the whole page: everything is drawn anyway
            ask(_own())
            seen.append(("page", newer_waits()))
            return
        if ("edit", False) in seen:
            seen.append(("again", newer_waits()))
            return
        seen.append(("edit", newer_waits()))
        ask(_own() if asks_for == "edit" else ids[0])
        seen.append(("asked", newer_waits(), session_id() == context.session_id))
        give_way(begun=True)
        give_way()
        seen.append("to the end")

    ids: list[str] = []
    poll()
    live()


def _seen(asks_for: str) -> list[Any]:
    seen: list[Any] = []
    found = AppTest.from_function(_page, args=(seen, asks_for)).run(timeout=20)
    assert not found.exception
    return seen


def test_an_edit_ends_where_a_newer_one_of_its_fragment_waits() -> None:
    page, edit, asked, *then = _seen("edit")
    assert page == ("page", False) and edit == ("edit", False)
    assert asked == ("asked", True, True)
    # It ended there, and the newest edit was drawn, once.
    assert then == [("again", False)]


def test_an_edit_goes_on_where_another_fragment_waits() -> None:
    """Control: a poll of the page does not end an edit."""
    seen = _seen("poll")
    assert ("asked", False, True) in seen and "to the end" in seen and seen[-1] == "poll"


def test_outside_of_a_session_nothing_waits() -> None:
    assert not newer_waits()
