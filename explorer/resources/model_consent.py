"""Whose model may be loaded: the bundled one, one given by hand, and what a person has agreed to.

A store may come from a stranger, and so may the path or hub name in it. Until a person agrees nothing
of a path is touched but to see whether there is a folder, and nothing is asked of the hub. A network
path is not even looked at: on some systems a look sends the user's credentials to its host.
"""

from __future__ import annotations

import os
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import streamlit as st

MODEL_VARIABLE = "EXPLORER_MODEL"
AGREED_VARIABLE = "EXPLORER_LOAD_MODELS"
"""Set to 1 by `python -m explorer --load-models`."""
_ROOT = Path(__file__).resolve().parents[2]
_BUNDLED = (_ROOT / "assets" / "demo" / "model").resolve()
_NETWORK = re.compile(r"[\\/]{2}")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?", re.A)


@dataclass(frozen=True)
class NamedModel:
    """What a run, or the command line, names as the model, before anything of it is opened."""

    kind: Literal["folder", "hub", "network", "missing"]
    source: str
    """The folder, absolute and with links followed; a hub name; else the words of the run."""
    given: bool
    """Whether the command line named it."""


def _folder(path: Path) -> Path | None:
    """The folder there, links followed; None where there is none or its path is no path."""
    try:
        # NUL, half a character, a name too long, a folder that must not be read, a loop of links
        return path.resolve() if path.is_dir() else None
    except (OSError, ValueError, RuntimeError):
        return None


def _home(named: str) -> Path:
    try:
        return Path(named).expanduser()
    except RuntimeError:  # a user that is not there
        return Path(named)


def find_model(named: str, given: bool = False) -> NamedModel:
    """Folder or hub name of a model. A relative folder is looked for where the server runs, then
    beside the program."""
    if _NETWORK.match(named) and not given:
        return NamedModel("network", named, given)
    path = _home(named)
    folder = _folder(path) if named.strip() else None
    if folder is None and named.strip() and not path.is_absolute():
        folder = _folder(_ROOT / path)
    if folder is not None:
        return NamedModel("folder", str(folder), given)
    is_name = _HUB_NAME.fullmatch(named) and ".." not in named and "--" not in named
    return NamedModel("hub" if is_name else "missing", named, given)


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
    if model.kind == "folder" and (model.given or model.source == str(_BUNDLED)):
        return True
    if model.kind not in ("folder", "hub"):
        return False
    return os.environ.get(AGREED_VARIABLE) == "1" or _agreed().has(model)
