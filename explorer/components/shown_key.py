"""A key for a widget that says what the widget shows.

A page asks the server now and then whether a newer run is there, and such a request carries what every
widget showed in the browser at that moment. Where the page has meanwhile set a widget to something
else, that older value would look like a person's choice and undo it. Under a key of its own for each
value shown, an older report is of a widget that is gone, and changes nothing.
"""

from __future__ import annotations

from typing import Any

import streamlit as st


def shown_key(name: str, value: Any) -> str:
    """The key of the widget `name` while it shows `value`, which it is set to."""
    key = f"{name}-{value}"
    st.session_state[key] = value
    return key
