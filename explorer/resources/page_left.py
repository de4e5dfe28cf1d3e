"""A mend of Streamlit's sessions: what is asked for on a page that is being left is not done.

A click, or a timer, of the page before may reach the server while the next page is drawn. Streamlit
then draws a part of a page that is gone; the browser takes that for a change of page, throws away what
it shows, fails on what comes next, and stays dead until somebody reloads it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from streamlit.runtime.app_session import AppSession

from explorer.resources.session_runs import waiting

_MENDED = "_forgets_pages_that_are_left"


def _next_page(session: Any) -> str:
    """The page that the session draws, or is about to draw."""
    # No public names. Where the runner's was renamed, a test fails, and nothing is found to wait.
    asked = waiting(getattr(session._scriptrunner, "_requests", None))
    if asked is not None and not asked.fragment_id_queue and asked.page_script_hash:
        return asked.page_script_hash
    return session._pages_manager.current_page_script_hash


def _is_of_a_page_left(session: Any, asked: Any) -> bool:
    """Whether a part is to be drawn anew of another page than the session's."""
    if asked is None or not asked.fragment_id or not asked.page_script_hash:
        return False
    now = _next_page(session)
    return bool(now) and now != asked.page_script_hash


def _forgetting(request_rerun: Callable[..., None]) -> Callable[..., None]:
    @wraps(request_rerun)
    def request_and_forget(self: Any, client_state: Any) -> None:
        if not _is_of_a_page_left(self, client_state):
            request_rerun(self, client_state)

    return request_and_forget


def mend_sessions() -> None:
    """Have this process's sessions forget them; once."""
    if not hasattr(AppSession, _MENDED):
        AppSession.request_rerun = _forgetting(AppSession.request_rerun)
        setattr(AppSession, _MENDED, True)
