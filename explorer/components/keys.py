"""Keys of all pages, in one listener, and the help that lists them.

J and K, N and P, H and G step through neurons, prompts and heads; `/` goes to the search, `?` opens the
help. Where a page has a control of its own for a key, the listener presses it; else it asks the server
(`step`). Streamlit's own shortcuts take no punctuation, and would claim C and R.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from streamlit.components.v2 import component

from explorer import selection
from explorer.components.help_overlay import help_html
from explorer.components.link_check import own_token, split_of
from explorer.components.live_state import forget_edits
from explorer.components.reports import reported
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from explorer.resources.head_tables import reaching_heads
from explorer.selection import Selection

_HERE = Path(__file__).parent
_KEY = "nt-keys"


@lru_cache(maxsize=1)
def _texts() -> dict[str, str]:
    return {"css": (_HERE / "keys.css").read_text(encoding="utf-8"),
            "js": (_HERE / "keys.js").read_text(encoding="utf-8")}  # fmt: skip


def _next(options: list[Any], now: Any, by: int) -> Any:
    """The option `by` places on, the first where `now` is none of them; None at an end."""
    if now not in options:
        return options[0] if options else None
    place = options.index(now) + by
    return options[place] if 0 <= place < len(options) else None


def _step_neuron(store: Store, chosen: Selection, by: int) -> dict[str, Any]:
    rows = store.studied_neurons()
    units = [NeuronId(int(a), int(b)) for a, b in zip(rows["layer"], rows["neuron"], strict=True)]
    found = _next(units, chosen.neuron, by)
    if found is None:
        return {}
    changes = dict.fromkeys(("head", "prompt", "text", "pos", "off", "text2", "pos2"))
    return {**changes, "neuron": found, "token": own_token(store, found)}


def _step_prompt(store: Store, chosen: Selection, by: int) -> dict[str, Any]:
    if chosen.neuron is None:
        return {}
    split = chosen.split or split_of(store, chosen.prompt) or "train"
    ids = [int(i) for i in store.prompts(chosen.neuron, split)["prompt_id"]]
    now = chosen.prompt if chosen.prompt is not None else next(iter(ids), None)
    found = _next(ids, now, by)
    return {} if found is None else {"prompt": found, "text": None, "pos": None}


def _step_head(store: Store, chosen: Selection, by: int) -> dict[str, Any]:
    """Through the heads that reach the neuron, in the order in which the pages list them."""
    if chosen.neuron is None:
        return {}
    rows = store.head_activity(chosen.neuron, "train")
    heads = [HeadId(int(a), int(b)) for a, b in zip(rows["head_layer"], rows["head"], strict=True)]
    found = _next(heads or reaching_heads(store, chosen.neuron), chosen.head, by)
    return {} if found is None else {"head": found}


_STEPS: dict[str, Callable[[Store, Selection, int], dict[str, Any]]] = {
    "neuron": _step_neuron, "prompt": _step_prompt, "head": _step_head,
}  # fmt: skip


def step(store: Store, what: str, by: int) -> None:
    """Select the next (`by` 1) or the previous (-1) neuron, prompt or head; at an end nothing."""
    changes = _STEPS[what](store, selection.current(), 1 if by > 0 else -1)
    if not changes:
        return
    forget_edits()
    selection.choose(**changes)


def _asked(store: Store) -> None:
    wanted = reported(_KEY).get("step") or {}
    if isinstance(wanted, dict) and wanted.get("what") in _STEPS:
        step(store, str(wanted["what"]), -1 if wanted.get("by") == -1 else 1)


def _view() -> None:
    """What the help switches: the guide, and presentation."""
    wanted, chosen = reported(_KEY).get("view"), selection.current()
    if wanted == "guide":
        selection.choose(guide=None if chosen.guide == 0 else 0)
    elif wanted == "big":
        selection.choose(big=None if chosen.big == 1 else 1)


def page_keys(store: Store, page: str, chosen: Selection) -> None:
    """The button `?` and the listener of the page."""
    draw = component(_KEY, html=help_html(), isolate_styles=True, **_texts())
    draw(
        key=_KEY,
        data={"page": page, "guide": chosen.guide != 0, "big": chosen.big == 1},
        on_step_change=partial(_asked, store),
        on_view_change=_view,
        width="content",
        height="content",
    )
