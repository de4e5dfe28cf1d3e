"""Clicks on heads that come before the drawing has followed the last one."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

_PAGE = """
import streamlit as st
from explorer import selection
from explorer.components.live_state import restore_all, toggle_drawn, turn, undo
from explorer.core.types import HeadId

for head, at in st.session_state.pop("clicks", []):
    if head == "all":
        restore_all()
    elif head == "undo":
        undo()
    else:
        toggle_drawn(HeadId.parse(head), turn() if at is None else at)
st.text(str(selection.current().to_query().get("off")))
"""


@pytest.mark.parametrize(
    ("clicks", "off"),
    [
        # All three on the first drawing: each means what it says.
        ([("L0H1", 0), ("L0H2", 0), ("L1H0", 0)], "L0H1,L0H2,L1H0"),
        # The same click told twice, and a double click, are one.
        ([("L0H1", 0), ("L0H1", 0)], "L0H1"),
        ([("L0H1", 0), ("L0H2", 1), ("L0H1", 0)], "L0H1,L0H2"),
        # Once drawn anew it switches back.
        ([("L0H1", 0), ("L0H1", 1)], "None"),
        # All on again: a click on what was off then is late; one on another head is not.
        ([("L0H1", 0), ("all", None), ("L0H1", 1), ("L0H2", 1)], "L0H2"),
        ([("L0H1", 0), ("undo", None), ("L0H1", 1)], "None"),
        ([("L0H1", 0), ("undo", None), ("L0H1", 2)], "L0H1"),
        # No drawing of this session has such a number.
        ([("L0H1", 7)], "None"),
        ([("L0H1", -1)], "None"),
    ],
)
def test_a_click_means_what_it_was_made_on(clicks: list, off: str) -> None:
    app = AppTest.from_string(_PAGE)
    app.session_state["clicks"] = clicks
    app.run()
    assert not app.exception
    assert app.text[0].value == off
