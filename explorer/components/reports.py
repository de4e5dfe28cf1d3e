"""What a component or a chart of the page reports to its callback.

A report may come when its page has just been left; Streamlit has forgotten the component by then, and
there is nothing to answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st


def reported(key: str) -> Mapping[str, Any]:
    """What the component of this key says now; nothing where it is gone."""
    return st.session_state.get(key) or {}


def selected(key: str, name: str) -> Sequence[Any]:
    """What is selected in the chart or table of this key, under the selection's name."""
    return (reported(key).get("selection") or {}).get(name) or ()
