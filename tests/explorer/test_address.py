"""The address: what a late message says of it undoes nothing; what a person goes to is followed."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from explorer import address

_PAGE = """
import streamlit as st
from explorer import address, selection
from explorer.core.types import HeadId

def off(head):
    chosen = selection.current().off or ()
    selection.choose(off=(*chosen, HeadId.parse(head)))

for head in ("L0H1", "L0H2"):
    st.button(head, on_click=off, args=(head,), key=head)
st.button("on", on_click=selection.choose, kwargs={"off": None}, key="on")
address.at_page(st.session_state.get("page", "live"))
chosen = selection.current()
st.json({"off": str(chosen.to_query().get("off")), "text": chosen.text, "address": address.query()})
"""


def opened(**query: str) -> AppTest:
    app = AppTest.from_string(_PAGE)
    for name, value in query.items():
        app.query_params[name] = value
    return app.run()


def seen(app: AppTest) -> dict:
    assert not app.exception
    return json.loads(app.json[0].value)


def late(app: AppTest, **query: str) -> AppTest:
    """Have the next message of this browser carry the address as it was."""
    app.query_params.clear()
    for name, value in query.items():
        app.query_params[name] = value
    return app


@pytest.fixture()
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: every address is taken for somebody's wish."""
    monkeypatch.setattr(address, "_LATE_SECONDS", 0.0)


def quick_clicks() -> dict:
    app = opened(text="a")
    app.button(key="L0H1").click().run()
    assert app.query_params["off"] == "L0H1"
    app.button(key="L0H2").click().run()
    late(app, text="a", off="L0H1").button(key="on").click().run()
    late(app, text="a", off="L0H1,L0H2").button(key="L0H2").click()
    return seen(app.run())


def test_late_messages_undo_nothing() -> None:
    found = quick_clicks()
    assert found["off"] == "L0H2"
    assert found["address"] == {"text": ["a"], "off": ["L0H2"]}


def test_the_control_undoes_it(forgetful: None) -> None:
    assert quick_clicks()["off"] == "L0H1,L0H2"


def test_a_run_without_a_click_changes_nothing_either() -> None:
    app = opened(text="a")
    app.button(key="L0H1").click().run()
    found = seen(late(app, text="a").run())
    assert found["off"] == "L0H1" and found["address"]["off"] == ["L0H1"]


def test_an_address_never_shown_before_is_followed() -> None:
    app = opened(text="a")
    app.button(key="L0H1").click().run()
    found = seen(late(app, text="b", off="L1H1").run())
    assert (found["text"], found["off"]) == ("b", "L1H1")
    # What was replaced before somebody went elsewhere is a place to go to like any other.
    assert seen(late(app, text="a", off="L0H1").run())["text"] == "a"


def test_another_page_is_followed_at_once() -> None:
    app = opened(text="a", off="L1H1")
    app.button(key="L0H1").click().run()
    app.session_state["page"] = "head"
    found = seen(late(app, text="a", off="L1H1").run())
    assert found["off"] == "L1H1"


def test_going_back_is_followed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    app = opened(text="a", off="L1H1")
    app.button(key="L0H1").click().run()
    back: list[Callable[[], bool]] = [lambda: True]
    monkeypatch.setattr(address, "_went_back", lambda: back[0]())
    assert seen(late(app, text="a", off="L1H1").run())["off"] == "L1H1"
