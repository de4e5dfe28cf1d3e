"""The guide of the first minute: one grey strip a page, four steps, names and numbers of the run.

It can be hidden (`guide=0`, in the URL and for the session) and shown again from the help.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from explorer import selection
from explorer.components.chips import token_chip
from explorer.components.link_check import own_token
from explorer.components.page_links import go
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from explorer.resources.first_minute import clearest_prompt, words_to_swap
from explorer.resources.neuron_tables import default_neuron, studied_row, top_head
from explorer.resources.token_tables import best_neuron
from explorer.selection import Selection


@dataclass(frozen=True)
class Step:
    """What the strip says on a page, and where its button leads; without a page it ends the guide."""

    number: int
    text: str
    """HTML, texts escaped."""
    label: str
    page: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)


def _other_neuron(store: Store, chosen: Selection, number: int) -> Step | None:
    """For a neuron without prompts: the way to one that has some."""
    better = default_neuron(store, chosen.token)
    if better is None or chosen.neuron is None:
        return None
    token = own_token(store, better)
    named = f", the {token_chip(token)} neuron," if token else ""
    text = f"No prompts are stored for {chosen.neuron.label}. {better.label}{named} has some."
    changes = {"neuron": better, "token": token, "head": None, "prompt": None}
    return Step(number, text, f"Open {better.label} →", "neuron", changes)


def _tokens(store: Store, chosen: Selection) -> Step | None:
    neuron, token = chosen.neuron, chosen.token
    if neuron is None or token is None:
        return None
    if studied_row(store, neuron) is None:
        return _other_neuron(store, chosen, 1)
    which = f"The strongest neuron for {token_chip(token)} is selected."
    if neuron != best_neuron(store, token):
        which = f"{neuron.label} is selected, one of the strongest for {token_chip(token)}."
    changes = {"neuron": neuron, "head": None, "prompt": None}
    return Step(
        1, f"{which} See which prompts make it fire.", f"Open {neuron.label} →", "neuron", changes
    )


def _neuron(store: Store, chosen: Selection) -> Step | None:
    neuron = chosen.neuron
    row = None if neuron is None else studied_row(store, neuron)
    if neuron is None or row is None:
        return _other_neuron(store, chosen, 2)
    split = chosen.split or "train"
    ranks = store.prompts(neuron, split)["token_rank"].tolist()
    head = chosen.head or top_head(store, neuron)
    if not ranks or head is None:
        return None
    chip = token_chip(store.token_texts[int(row["token_id"])])
    text = f"All these prompts end where {chip} fits."
    if ranks.count(1) < len(ranks):
        text = f"{ranks.count(1)} of these {len(ranks)} prompts end where {chip} is the model’s first choice."
    activity = store.head_activity(neuron, split)
    mine = activity.loc[(activity["head_layer"] == head.layer) & (activity["head"] == head.index)]
    if mine.empty:
        return None
    pushed = (
        f"One head pushes in {int(mine['n_active'].iloc[0])} of {int(mine['n_prompts'].iloc[0])}."
    )
    return Step(2, f"{text} {pushed}", f"Meet head {head.label} →", "head", {"head": head})


def _head(store: Store, chosen: Selection) -> Step | None:
    neuron, head = chosen.neuron, chosen.head
    if neuron is None or head is None:
        return None
    scores = store.head_scores(neuron, head)
    if any(scores["score"].notna().tolist()):
        text = "This text guesses when it is active; the dots show how often it is right."
    elif not scores.empty:
        text = "This text guesses when it is active. Its test prompts held one class, so it has no score."
    else:
        text = "These prompts show where it looks when it is active, and when it is not."
    changes = dict.fromkeys(("text", "pos", "off", "text2", "pos2"))
    changes |= {"prompt": clearest_prompt(store, neuron, head)}
    return Step(3, text, "Try it live →", "live", changes)


def _live(store: Store, chosen: Selection) -> Step | None:
    neuron = chosen.neuron
    head = None if neuron is None else _reaching(store, neuron, chosen.head)
    if neuron is None or head is None:
        return None
    pair = words_to_swap(store, neuron, head, chosen.prompt, chosen.text)
    text = f"Switch {head.label} off."
    if pair is not None:
        old, new = (f"<em>{html.escape(word)}</em>" for word in pair)
        text += f" Then change {old} to {new}."
    else:
        text += " Then change a word of the prompt."
    return Step(4, text, "Done")


def _reaching(store: Store, neuron: NeuronId, head: HeadId | None) -> HeadId | None:
    """The chosen head, where it can reach the neuron; else the neuron's first one."""
    if head is not None and head.layer < store.shape.n_reaching_layers(neuron.layer):
        return head
    return top_head(store, neuron)


_STEPS: dict[str, Callable[[Store, Selection], Step | None]] = {
    "tokens": _tokens, "neuron": _neuron, "head": _head, "live": _live,
}  # fmt: skip


def step_of(store: Store, page: str, chosen: Selection) -> Step | None:
    """The step of a page; None where the guide has nothing to say there, or is hidden."""
    if page not in _STEPS or chosen.guide == 0 or chosen.big == 1:
        return None
    return _STEPS[page](store, chosen)


def _hide() -> None:
    selection.choose(guide=0)


def guide_strip(store: Store, page: str, chosen: Selection) -> None:
    """Draw the strip of a page, if there is one."""
    found = step_of(store, page, chosen)
    if found is None:
        return
    with st.container(key="nt-guide", horizontal=True, vertical_alignment="center", gap="small"):
        st.html(
            f'<p class="nt-guide-text"><b>First minute, {found.number} of 4.</b> {found.text}</p>',
            width="stretch",
        )
        with st.container(horizontal=True, width="content", gap="small"):
            if found.page is None:
                st.button(found.label, key="nt-guide-go", type="primary", on_click=_hide)
                return
            st.button("Hide guide", key="nt-guide-hide", on_click=_hide)
            if st.button(found.label, key="nt-guide-go", type="primary"):
                go(found.page, **found.changes)
