"""A report of a component that is gone says nothing, and harms nothing."""

from __future__ import annotations

import json

import pytest
from streamlit.testing.v1 import AppTest

_PAGE = """
import streamlit as st
from explorer.components.reports import reported, selected

st.json({"said": dict(reported("chart")), "marks": list(selected("chart", "pick"))})
"""


@pytest.mark.parametrize(
    ("report", "said", "marks"),
    [
        (None, {}, []),
        ({}, {}, []),
        ({"selection": {}}, {"selection": {}}, []),
        ({"selection": {"pick": [{"a": 1}]}}, {"selection": {"pick": [{"a": 1}]}}, [{"a": 1}]),
        ({"selection": {"other": [1]}}, {"selection": {"other": [1]}}, []),
    ],
)
def test_what_is_there_is_told_and_else_nothing(
    report: dict | None, said: dict, marks: list
) -> None:
    app = AppTest.from_string(_PAGE)
    if report is not None:
        app.session_state["chart"] = report
    app.run()
    assert not app.exception
    assert json.loads(app.json[0].value) == {"said": said, "marks": marks}


_LATE = """
from explorer.components import copy_python, keys

keys._asked(None)
keys._view()
copy_python._wanted()
"""


def test_a_key_that_was_pressed_on_the_page_before_does_nothing() -> None:
    app = AppTest.from_string(_LATE).run()
    assert not app.exception
