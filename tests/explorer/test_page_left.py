"""A part of a page that is being left is not drawn: neither beside the next page nor in its place."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

import pytest
from streamlit.runtime.app_session import AppSession
from streamlit.runtime.pages_manager import PagesManager
from streamlit.runtime.scriptrunner.script_runner import ScriptRunner
from streamlit.runtime.scriptrunner_utils.script_requests import RerunData, ScriptRequests

from explorer.resources import page_left


class Session:
    """What a session has of those that run scripts; it keeps what it was asked for."""

    def __init__(self, page: str, *asked: RerunData) -> None:
        self._pages_manager = SimpleNamespace(current_page_script_hash=page)
        self._scriptrunner = SimpleNamespace(_requests=ScriptRequests())
        for one in asked:
            self._scriptrunner._requests.request_rerun(one)
        self.done: list[Any] = []


def ask(session: Session, page: str, fragment: str) -> int:
    """How many requests get through, after this one."""
    keep = page_left._forgetting(lambda found, state: found.done.append(state))
    keep(session, SimpleNamespace(page_script_hash=page, fragment_id=fragment))
    return len(session.done)


WHOLE_MAP = RerunData(page_script_hash="map")
PART_OF_LIVE = RerunData(page_script_hash="live", fragment_id="edit")


@pytest.mark.parametrize(
    ("session", "page", "fragment", "n"),
    [
        (Session("live"), "live", "edit", 1),
        (Session("map"), "live", "edit", 0),  # the next page is drawn
        (Session("live", WHOLE_MAP), "live", "edit", 0),  # it is asked for
        (Session("live", WHOLE_MAP), "map", "watch", 1),
        (Session("live", PART_OF_LIVE), "live", "edit", 1),
        (Session("live", PART_OF_LIVE, WHOLE_MAP), "live", "edit", 0),
        (Session("map"), "live", "", 1),  # whoever asks for a whole page gets it
        (Session("map"), "", "edit", 1),  # nobody says of which page
        (Session(""), "live", "edit", 1),  # no page was drawn yet
    ],
)
def test_parts_are_drawn_of_the_page_that_is_shown(
    session: Session, page: str, fragment: str, n: int
) -> None:
    assert ask(session, page, fragment) == n


def test_what_streamlit_itself_asks_for_is_done() -> None:
    session = Session("map")
    page_left._forgetting(lambda found, state: found.done.append(state))(session, None)
    assert session.done == [None]


def test_the_names_it_looks_at_are_there() -> None:
    """Renamed ones would be no error, and no page would be found left."""
    assert hasattr(PagesManager, "current_page_script_hash")
    requests = ScriptRequests()
    requests.request_rerun(WHOLE_MAP)
    assert requests._state.name == "RERUN" and requests._rerun_data == WHOLE_MAP
    for owner, names in (
        (AppSession, ("_scriptrunner", "_pages_manager")),
        (ScriptRunner, ("_requests",)),
    ):
        begins = inspect.getsource(owner.__init__)
        assert all(f"self.{name}" in begins for name in names)


def test_it_is_put_in_once(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = getattr(AppSession.request_rerun, "__wrapped__", AppSession.request_rerun)
    monkeypatch.setattr(AppSession, "request_rerun", plain)
    monkeypatch.delattr(AppSession, page_left._MENDED, raising=False)
    page_left.mend_sessions()
    mended = AppSession.request_rerun
    assert mended is not plain
    page_left.mend_sessions()
    assert AppSession.request_rerun is mended
