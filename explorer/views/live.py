"""Live: edit a prompt against the loaded model, and watch every number of one neuron follow.

All below the frame is one fragment, so that a keystroke reruns this part alone. Every figure is
drawn from one `Side`, which carries its own prompt; the truncation curve, the dearest part, comes
last.
"""

from __future__ import annotations

import html
from dataclasses import replace
from typing import Any

import streamlit as st

from explorer import selection
from explorer.components import frame, live_body, live_examples, live_inputs, live_panels
from explorer.components.chips import token_chip
from explorer.components.live_link import (
    check_link,
    not_its_own,
    note_missing_prompt,
    position_note,
)
from explorer.components.live_state import follow_edit
from explorer.components.model_wait import await_model, is_coming, status_line, trouble
from explorer.core.errors import ExplorerError
from explorer.core.store import Store
from explorer.core.types import ABLATION_KINDS, NeuronId
from explorer.resources import models
from explorer.resources.live_removal import can_remove, get_ready, without_heads
from explorer.resources.live_sides import Removal, Side
from explorer.resources.live_values import (
    LiveRequest,
    LiveValue,
    StoredPrompt,
    first_prompt,
    stored_prompt,
    stored_value,
    token_of,
)
from explorer.resources.models import ModelStatus
from explorer.resources.neuron_tables import default_neuron
from explorer.resources.session_runs import turn
from explorer.selection import Selection

_NAMES = ("token", "neuron", "head", "prompt", "text", "pos", "off", "kind", "text2", "pos2")


def _defaults(store: Store, chosen: Selection) -> dict[str, Any]:
    """A first visit opens on the chosen token's best neuron, and on its first stored prompt; a neuron
    that was not studied on a prompt of one that was."""
    neuron = chosen.neuron or default_neuron(store, chosen.token) or NeuronId(0, 0)
    fixes: dict[str, Any] = {"neuron": neuron}
    if chosen.token is None or chosen.neuron is None:
        fixes["token"] = store.token_texts[token_of(store, neuron)]
    if chosen.text is None:
        note_missing_prompt(store, replace(chosen, neuron=neuron))
        found = stored_prompt(store, neuron, chosen.prompt) or first_prompt(store, neuron, chosen.token)
        fixes["prompt"] = None if found is None else found.prompt_id
    return fixes


def _request(store: Store, chosen: Selection, stored: StoredPrompt | None) -> LiveRequest:
    """What the selection asks for: the typed text, else the stored prompt's own tokens."""
    neuron = chosen.neuron or NeuronId(0, 0)
    unedited = chosen.text is None and stored is not None
    known = None if chosen.token is None else store.token_id(chosen.token)
    return LiveRequest(
        text=stored.text if unedited and stored is not None else chosen.text or "",
        token_ids=stored.token_ids if unedited and stored is not None else None,
        neuron=neuron,
        token_id=token_of(store, neuron) if known is None else known,
        pos=chosen.pos,
    )


def _why_none(status: ModelStatus, request: LiveRequest) -> str:
    """What stands where there are no figures."""
    if not request.text or status.state == "ready":
        return "Type a word."
    if is_coming(status):
        return "The figures of this prompt come with the model."
    return "No values are stored for this prompt and neuron."


def _value(
    store: Store, request: LiveRequest, stored: StoredPrompt | None, ready: bool
) -> tuple[LiveValue | None, float | None]:
    """The model's numbers where it is ready, else the stored ones of an unedited own prompt."""
    if ready:
        ids = models.encode(store, request)
        if not ids:
            return None, None
        pos = follow_edit(request, ids)
        return models.analyse(store, request, ids, pos)
    if stored is None or request.token_ids is None or stored.neuron != request.neuron:
        return None, None
    # The store knows the probability of the neuron's own token alone.
    return stored_value(store, stored, token_of(store, stored.neuron)), None


def _second_value(store: Store, chosen: Selection, request: LiveRequest) -> LiveValue | None:
    """The second prompt's numbers: same neuron, its own text and position."""
    if not chosen.text2:
        return None
    second = LiveRequest(chosen.text2, None, request.neuron, request.token_id, chosen.pos2)
    ids = models.encode(store, second)
    if not ids:
        return None
    return models.analyse(store, second, ids, follow_edit(second, ids, "B"))[0]


def _sides(store: Store, values: list[LiveValue], removal: Removal) -> tuple[list[Side], str]:
    """The prompts with the removed heads off, and what keeps heads from being removed."""
    if not can_remove(store, values[0].neuron, removal.kind):
        return [Side(v, v) for v in values], (
            "No other neuron of this run has prompts, so there is no mean: choose zero instead."
        )
    try:
        return [without_heads(store, value, removal) for value in values], ""
    except ExplorerError as error:
        return [Side(v, v) for v in values], str(error)


def _position_notes(page: live_body.Page) -> list[str]:
    chosen = selection.current()
    wanted = (chosen.pos, chosen.pos2)
    return [
        position_note(side, pos, name)
        for pos, (name, side) in zip(wanted, page.named, strict=False)
    ]


def _title(store: Store, chosen: Selection) -> None:
    """The page's question and where to begin: nothing here follows a keystroke."""
    request = _request(store, chosen, None)
    wide, narrow = st.columns([8, 4], vertical_alignment="bottom")
    with wide:
        is_own = request.token_id == token_of(store, request.neuron)
        token = token_chip(store.token_texts[request.token_id])
        name = f"the {token} neuron" if is_own else request.neuron.label
        frame.question(f"What switches on {name}?")
    with narrow, st.container(key="live-begin", horizontal=True, horizontal_alignment="right"):
        live_examples.examples(store)


@st.fragment
def _live(store: Store) -> None:
    with turn("edit"):
        _draw(store)


def _draw(store: Store) -> None:
    if live_inputs.frame_is_stale():
        st.rerun()
    chosen = selection.current()
    neuron = chosen.neuron or NeuronId(0, 0)
    stored = None if chosen.prompt is None else stored_prompt(store, neuron, chosen.prompt)
    request = _request(store, chosen, stored)
    status = models.model_status(store)
    by_model = status.state == "ready"
    inputs = live_body.inputs(store, request, stored, chosen.text2)
    # Every piece keeps its place whatever is shown, so that the browser redraws none from nothing.
    remarks, body = st.container(), st.container(key="live-body")
    value, seconds = _value(store, request, stored, by_model) if request.text else (None, None)
    line = status_line(status, seconds, stored_shown=value is not None and not by_model)
    inputs.status.html(f'<p class="nt-status" role="status">{line}</p>')
    with remarks:
        if see := live_examples.what_to_see(chosen):
            frame.note(f"<b>Look:</b> {html.escape(see)}")
        if (words := live_inputs.neuron_note()) is not None:
            frame.note(html.escape(words))
        if (words := not_its_own(store, request, stored)) is not None:
            frame.note(html.escape(words))
        trouble(store, status, "Live")
    if value is not None:
        second = _second_value(store, chosen, request) if by_model else None
        values = [value] if second is None else [value, second]
        removal = Removal(chosen.off or (), chosen.kind or ABLATION_KINDS[0])
        sides, why = _sides(store, values, removal)
        page = live_body.Page(store, sides, removal, chosen.head, stored, by_model)
        with remarks:
            for words in filter(None, (why, *_position_notes(page))):
                frame.note(html.escape(words))
        live_body.draw(page, inputs, body)
        if by_model:
            get_ready(store)
    live_panels.instead_of_figures("" if value is not None else _why_none(status, request))
    if value is None and request.text and is_coming(status):
        st.skeleton(height=420)


def render() -> None:
    store, chosen = frame.page("live", _NAMES, defaults=_defaults)
    live_panels.apply_style()
    check_link(store, chosen)
    _title(store, chosen)
    _live(store)
    if is_coming(models.model_status(store)):
        await_model(store)
