"""What is selected (run, token, neuron, head, prompts, positions, heads off) and how a URL says it.

The URL is the whole view: every field of `Selection` is one query parameter, written in the field's
own words (`neuron=L5N231`, `token=␣come`). `parse` never raises on a bad link: it returns what could
be read and says in `notes` what could not. Session state carries the selection between pages, since
a click on the navigation clears the URL.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import streamlit as st

from explorer import address
from explorer.core.types import ABLATION_KINDS, SPACE_MARK, HeadId, NeuronId

_KEY = "selection"
_MAX_TEXT = 4000
SPLITS = ("train", "test")
MAX_RUNS = 4
"""Runs that Findings compares at once."""
_MAX_OFF = 2000
TABS = ("heads", "components", "laundry")
"""Parts of Channels."""
EDITS = ("scale-last", "set-last", "scale-all", "set-all")
"""What a dial of Channels does to a component's activation, and where."""


@dataclass(frozen=True)
class Selection:
    """One view of the explorer. None means not chosen; each page then takes a sensible default."""

    run: str | None = None
    others: tuple[str, ...] | None = None
    """Runs that Findings compares with `run`; a URL says them by repeating `run`. Never empty."""
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
    """How a head is removed: one of `ABLATION_KINDS`."""
    off: tuple[HeadId, ...] | None = None
    """Heads that are removed in Live, in the order of their removal; never empty."""
    text2: str | None = None
    """The second prompt of Live; None while there is none."""
    pos2: int | None = None
    """Position in the second prompt, as `pos`."""
    target: int | None = None
    """Id of the next token that Flow ends in (two tokens may read the same); None is the likeliest."""
    node: HeadId | NeuronId | None = None
    """Whose paths Flow shows alone; None is the whole graph."""
    min_head: float | None = None
    """Least size of a head's contribution that Flow draws; None leaves it to the page."""
    min_neuron: float | None = None
    """Least size of a neuron's direct effect that Flow draws; None leaves it to the page."""
    tab: str | None = None
    """Part of Channels that is shown: `heads`, `components` or `laundry`."""
    mode: str | None = None
    """Through what a head reads another: `Q`, `K` or `V`."""
    src: HeadId | None = None
    """The head that writes, whose components are shown."""
    dst: HeadId | None = None
    """The head that reads."""
    matrix: str | None = None
    """`OV` or `QK`."""
    comp: int | None = None
    """Component of `src`, from 0."""
    edit: str | None = None
    """What the dial does to a component and where: `scale` or `set`, then `-last` or `-all`."""
    strength: float | None = None
    """Where the dial stands: a factor, or the activation that is set."""
    items: int | None = None
    """Items in a laundry list."""
    measure: str | None = None
    sort: str | None = None
    guide: int | None = None
    """0 where the guide of the first minute is hidden; None while it is shown."""
    big: int | None = None
    """1 in presentation: type x 1.3, no guide; None otherwise."""

    def to_query(self) -> dict[str, str]:
        """The URL parameters of one run, unset fields left out."""
        query = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "others"}
        query["token"] = None if self.token is None else self.token.replace(" ", SPACE_MARK)
        for name in ("min_head", "min_neuron", "strength"):
            if query[name] is not None:
                query[name] = f"{query[name]:.6f}".rstrip("0").rstrip(".")
        query["off"] = None if not self.off else ",".join(str(head) for head in self.off)
        return {name: str(value) for name, value in query.items() if value is not None}


def _whole_number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise ValueError("expected a whole number")
    return int(text)


def _size(text: str) -> float:
    if not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", text, re.A):
        raise ValueError("expected a number from 0, such as 0.25")
    return float(text)


def _signed(text: str) -> float:
    if not re.fullmatch(r"-?\d{1,6}(\.\d{1,6})?", text, re.A):
        raise ValueError("expected a number, such as -1.5")
    return float(text) + 0.0  # a negative zero is none


def _one_of(*known: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in known:
            raise ValueError(f"expected one of {', '.join(known)}")
        return text

    return read


def _flag(text: str) -> int:
    if text not in ("0", "1"):
        raise ValueError("expected 0 or 1")
    return int(text)


def _node(text: str) -> HeadId | NeuronId:
    try:
        return HeadId.parse(text)
    except ValueError:
        return NeuronId.parse(text)


def _run_id(text: str) -> str:
    # A run is a name in the store folder: no path can be named here.
    if not text or "/" in text or "\\" in text or text.startswith("."):
        raise ValueError("expected the name of a run")
    return text[:200]


def _others(texts: tuple[str, ...]) -> tuple[str, ...]:
    if isinstance(texts, str):
        raise ValueError("runs to compare are said by repeating run")
    if len(texts) >= MAX_RUNS:
        raise ValueError(f"expected at most {MAX_RUNS} runs")
    return tuple(dict.fromkeys(map(_run_id, texts)))


def _split(text: str) -> str:
    if text not in SPLITS:
        raise ValueError("expected train or test")
    return text


def _kind(text: str) -> str:
    if text not in ABLATION_KINDS:
        raise ValueError(f"expected one of {', '.join(ABLATION_KINDS)}")
    return text


def _heads(text: str) -> tuple[HeadId, ...]:
    if len(text) > _MAX_OFF:
        raise ValueError("expected fewer heads")
    return tuple(dict.fromkeys(HeadId.parse(part) for part in text.split(",")))


_READERS: dict[str, Any] = {
    "run": _run_id,
    "others": _others,
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
    "target": _whole_number,
    "node": _node,
    "min_head": _size,
    "min_neuron": _size,
    "tab": _one_of(*TABS),
    "mode": _one_of("Q", "K", "V"),
    "src": HeadId.parse,
    "dst": HeadId.parse,
    "matrix": _one_of("OV", "QK"),
    "comp": _whole_number,
    "edit": _one_of(*EDITS),
    "strength": _signed,
    "items": _whole_number,
    "measure": lambda text: text[:40],
    "sort": lambda text: text[:40],
    "guide": _flag,
    "big": _flag,
}
VIEW_FIELDS = ("guide", "big")
"""How pages are shown, not what: every page carries them in its URL and its links, and a link that
leaves them out leaves them as they are in the session."""


def parse(query: Mapping[str, Any]) -> tuple[Selection, tuple[str, ...]]:
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


def linked() -> dict[str, Any]:
    """The URL's parameters as `parse` takes them: of a repeated `run` the first, the rest `others`."""
    shown = address.query()
    query: dict[str, Any] = {name: values[-1] for name, values in shown.items() if values}
    runs = shown.get("run", [])
    if len(runs) > 1:
        query |= {"run": runs[0], "others": tuple(runs[1:])}
    return query


def current() -> Selection:
    """The selection of this browser tab: the URL first, then what the session last chose."""
    stored: Selection = st.session_state.get(_KEY, Selection())
    named, notes = parse(linked())
    chosen = {f.name: getattr(named, f.name) for f in fields(named)}
    selection = replace(stored, **{name: v for name, v in chosen.items() if v is not None})
    st.session_state[_KEY] = selection
    if notes:
        st.session_state["link_notes"] = notes
    return selection


def is_new() -> bool:
    """Whether this browser tab has chosen nothing yet: it has just arrived, perhaps by a link."""
    return _KEY not in st.session_state


def link_notes() -> tuple[str, ...]:
    """What the last link named that could not be read; shown once by the frame."""
    return st.session_state.pop("link_notes", ())


def query_of(selection: Selection, names: tuple[str, ...]) -> dict[str, str | list[str]]:
    """A page's own URL parameters (`names`); with `others` among them `run` may be repeated."""
    query: dict[str, str | list[str]] = {
        name: value for name, value in selection.to_query().items() if name in names
    }
    if "others" in names and selection.run and selection.others:
        query["run"] = [selection.run, *selection.others]
    return query


def show_in_url(selection: Selection, names: tuple[str, ...]) -> None:
    """Write the page's own parameters (`names`) to the URL, so that it can be copied."""
    address.write(_listed(query_of(selection, names)))


def _listed(query: Mapping[str, str | list[str]]) -> address.Query:
    return {name: [value] if isinstance(value, str) else value for name, value in query.items()}


def choose(**changes: Any) -> Selection:
    """Change the selection, in session and URL alike. None forgets a field.

    A run that was compared with the chosen one changes places with it.
    """
    before = current()
    selection = replace(before, **changes)
    if "others" not in changes and selection.run in (selection.others or ()):
        swapped = [before.run if run == selection.run else run for run in selection.others or ()]
        others = tuple(run for run in swapped if run is not None and run != selection.run)
        selection = replace(selection, others=others or None)
    st.session_state[_KEY] = selection
    shown = address.query()
    compares = "others" in changes or len(shown.get("run", [])) > 1
    names = (*changes, "run", "others") if compares else tuple(changes)
    kept = {name: values for name, values in shown.items() if name not in names}
    address.write(kept | _listed(query_of(selection, names)))
    return selection
