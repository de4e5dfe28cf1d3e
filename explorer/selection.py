"""What is selected (run, token, neuron, head, prompts, positions, heads off) and how a URL says it.

The URL is the whole view: every field of `Selection` is one query parameter, written in the field's
own words (`neuron=L5N231`, `token=␣come`). `parse` never raises on a bad link: it returns what could
be read and says in `notes` what could not. Session state carries the selection between pages, since
a click on the navigation clears the URL.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import streamlit as st

from explorer.core.types import SPACE_MARK, HeadId, NeuronId

_KEY = "selection"
_MAX_TEXT = 4000
SPLITS = ("train", "test")
_MAX_OFF = 2000
KINDS = ("zero-last", "zero-all", "mean-last", "mean-all")
"""Ways of removing a head, as `ablations.kind` has them."""


@dataclass(frozen=True)
class Selection:
    """One view of the explorer. None means not chosen; each page then takes a sensible default."""

    run: str | None = None
    token: str | None = None
    """The token's text as it stands in a sentence, leading space included."""
    neuron: NeuronId | None = None
    head: HeadId | None = None
    split: str | None = None
    """`train` or `test`."""
    prompt: int | None = None
    """A `prompt_id` of the run."""
    text: str | None = None
    """A prompt typed by a person; None while Live shows a stored prompt."""
    pos: int | None = None
    """Position in the prompt, 0 for its first token (BOS not counted); None is the last one."""
    explainer: str | None = None
    """Whose words are shown, as `explanations.explainer` has it."""
    kind: str | None = None
    """How a head is removed: one of `KINDS`."""
    off: tuple[HeadId, ...] | None = None
    """Heads that are removed in Live, in the order of their removal; never empty."""
    text2: str | None = None
    """The second prompt of Live; None while there is none."""
    pos2: int | None = None
    """Position in the second prompt, as `pos`."""
    measure: str | None = None
    sort: str | None = None

    def to_query(self) -> dict[str, str]:
        """The URL parameters, unset fields left out."""
        query = {f.name: getattr(self, f.name) for f in fields(self)}
        query["token"] = None if self.token is None else self.token.replace(" ", SPACE_MARK)
        query["off"] = None if not self.off else ",".join(str(head) for head in self.off)
        return {name: str(value) for name, value in query.items() if value is not None}


def _whole_number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise ValueError("expected a whole number")
    return int(text)


def _run_id(text: str) -> str:
    # A run is a name in the store folder: no path can be named here.
    if not text or "/" in text or "\\" in text or text.startswith("."):
        raise ValueError("expected the name of a run")
    return text[:200]


def _split(text: str) -> str:
    if text not in SPLITS:
        raise ValueError("expected train or test")
    return text


def _kind(text: str) -> str:
    if text not in KINDS:
        raise ValueError(f"expected one of {', '.join(KINDS)}")
    return text


def _heads(text: str) -> tuple[HeadId, ...]:
    if len(text) > _MAX_OFF:
        raise ValueError("expected fewer heads")
    return tuple(dict.fromkeys(HeadId.parse(part) for part in text.split(",")))


_READERS: dict[str, Any] = {
    "run": _run_id,
    "token": lambda text: text[:200].replace(SPACE_MARK, " "),
    "neuron": NeuronId.parse,
    "head": HeadId.parse,
    "split": _split,
    "prompt": _whole_number,
    "text": lambda text: text[:_MAX_TEXT],
    "pos": _whole_number,
    "off": _heads,
    "text2": lambda text: text[:_MAX_TEXT],
    "pos2": _whole_number,
    "explainer": lambda text: text[:80],
    "kind": _kind,
    "measure": lambda text: text[:40],
    "sort": lambda text: text[:40],
}


def parse(query: Mapping[str, str]) -> tuple[Selection, tuple[str, ...]]:
    """A selection from URL parameters, and a note for each one that cannot be read."""
    values: dict[str, Any] = {}
    notes: list[str] = []
    for name, read in _READERS.items():
        text = query.get(name)
        if text is None:
            continue
        try:
            values[name] = read(text)
        except ValueError as error:
            notes.append(f"The link's {name} could not be read ({error}).")
    return Selection(**values), tuple(notes)


def current() -> Selection:
    """The selection of this browser tab: the URL first, then what the session last chose."""
    stored: Selection = st.session_state.get(_KEY, Selection())
    linked, notes = parse(st.query_params.to_dict())
    chosen = {name: getattr(linked, name) for name in linked.to_query()}
    selection = replace(stored, **chosen)
    st.session_state[_KEY] = selection
    if notes:
        st.session_state["link_notes"] = notes
    return selection


def link_notes() -> tuple[str, ...]:
    """What the last link named that could not be read; shown once by the frame."""
    return st.session_state.pop("link_notes", ())


def show_in_url(selection: Selection, names: tuple[str, ...]) -> None:
    """Write the page's own parameters (`names`) to the URL, so that it can be copied."""
    query = {name: value for name, value in selection.to_query().items() if name in names}
    if st.query_params.to_dict() != query:
        st.query_params.from_dict(query)


def choose(**changes: Any) -> Selection:
    """Change the selection, in session and URL alike. None forgets a field."""
    selection = replace(current(), **changes)
    st.session_state[_KEY] = selection
    for name in changes:
        value = selection.to_query().get(name)
        if value is None:
            st.query_params.pop(name, None)
        else:
            st.query_params[name] = value
    return selection
