"""Whose model may be loaded: the bundled one, one given by hand, and what a person has agreed to.

A store may come from a stranger, and so may the path or hub name in it. Until a person agrees nothing
of a path is touched but to see whether there is a folder, and nothing is asked of the hub.
"""

from __future__ import annotations

import os
import threading

import streamlit as st

from explorer.core.named_model import BUNDLED_MODEL, NamedModel

MODEL_VARIABLE = "EXPLORER_MODEL"
AGREED_VARIABLE = "EXPLORER_LOAD_MODELS"
"""Set to 1 by `python -m explorer --load-models`."""


class _Agreed:
    """The sources that people have agreed to, for all sessions and as long as the server runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sources: set[tuple[str, str]] = set()

    def add(self, model: NamedModel) -> None:
        with self._lock:
            self._sources.add((model.kind, model.source))

    def has(self, model: NamedModel) -> bool:
        with self._lock:
            return (model.kind, model.source) in self._sources


@st.cache_resource(show_spinner=False)
def _agreed() -> _Agreed:
    return _Agreed()


def agree(model: NamedModel) -> None:
    """A person has agreed that this source be loaded."""
    _agreed().add(model)


def may_load(model: NamedModel) -> bool:
    """Whether the model may be loaded now, without asking."""
    if model.kind == "folder" and (model.given or model.source == str(BUNDLED_MODEL)):
        return True
    if model.kind not in ("folder", "hub"):
        return False
    return os.environ.get(AGREED_VARIABLE) == "1" or _agreed().has(model)
