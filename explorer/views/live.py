"""Live: edit a prompt against the loaded model, and watch every number of one neuron follow.

All below the frame is one fragment, so that a keystroke reruns this part alone. Every figure is
drawn from one `LiveValue`, which carries its own prompt; the truncation curve, the dearest part,
comes last.
"""

from __future__ import annotations

import html
from typing import Any

import streamlit as st

from explorer import selection
from explorer.charts.token_strip import legend_html, strip_tokens
from explorer.components import frame, live_panels
from explorer.components.chips import token_chip
from explorer.components.live_inputs import (
    neuron_changed,
    neuron_input,
    neuron_note,
    prompt_input,
)
from explorer.components.live_state import follow_edit, scales
from explorer.components.theme import current_palette
from explorer.components.token_strip import token_strip
from explorer.core.store import Store
from explorer.core.types import NeuronId
from explorer.resources import models
from explorer.resources.live_values import (
    LiveRequest,
    LiveScales,
    LiveValue,
    StoredPrompt,
    stored_curve,
    stored_prompt,
    stored_value,
    to_field,
    token_of,
)
from explorer.resources.models import ModelStatus
from explorer.resources.neuron_tables import default_neuron
from explorer.selection import Selection

_NAMES = ("neuron", "prompt", "text", "pos")


def _defaults(store: Store, chosen: Selection) -> dict[str, Any]:
    """A first visit opens on the chosen token's best neuron, and on its first stored prompt."""
    neuron = chosen.neuron or default_neuron(store, chosen.token) or NeuronId(0, 0)
    fixes: dict[str, Any] = {"neuron": neuron}
    if chosen.token is None or chosen.neuron is None:
        fixes["token"] = store.token_texts[token_of(store, neuron)]
    if chosen.text is None:
        found = stored_prompt(store, neuron, chosen.prompt) or stored_prompt(store, neuron, None)
        fixes["prompt"] = None if found is None else found.prompt_id
    return fixes


def _request(store: Store, chosen: Selection, stored: StoredPrompt | None) -> LiveRequest:
    """What the selection asks for: the typed text, else the stored prompt's own tokens."""
    neuron = chosen.neuron or NeuronId(0, 0)
    token_id, unedited = token_of(store, neuron), chosen.text is None and stored is not None
    return LiveRequest(
        text=stored.text if unedited and stored is not None else chosen.text or "",
        token_ids=stored.token_ids if unedited and stored is not None else None,
        neuron=neuron,
        token_id=token_id,
        pos=chosen.pos,
    )


def _why_none(status: ModelStatus, request: LiveRequest) -> str:
    """What stands where there are no figures."""
    if not request.text or status.state == "ready":
        return "Type a word."
    if status.state in ("loading", "waiting"):
        return "The figures of this prompt come with the model."
    return "No values are stored for this prompt and neuron."


def _status_line(status: ModelStatus, seconds: float | None, stored_shown: bool) -> str:
    name = html.escape(status.name)
    if status.state == "ready":
        last = f" · last run {seconds:.2f} s" if seconds is not None else ""
        return f'<span class="nt-light ready">●</span>{name} ready{last}'
    if status.state in ("loading", "waiting"):
        meanwhile = " Stored values shown meanwhile." if stored_shown else ""
        return f'<span class="nt-light">○</span>Loading {name}, once.{meanwhile}'
    return f'<span class="nt-light">○</span>{name} is not loaded'


def _trouble(store: Store, status: ModelStatus) -> None:
    """What keeps the model away, and the way out of it."""
    if status.state == "asks":
        frame.note(
            f"Live needs the model. The run names <b>{html.escape(status.message)}</b>, which is no "
            "folder here. It may be a model of the Hugging Face hub; loading it may download it."
        )
        st.button("Load it", key="live-fetch", on_click=models.fetch, args=(store,))
        return
    frame.note(f"Live needs the model: {html.escape(status.message)}")
    if status.state == "failed":
        st.button("Try again", key="live-retry", on_click=models.fetch, args=(store,))


@st.fragment(run_every=1.0)
def _await_model(store: Store) -> None:
    """Draws nothing; has the page drawn anew once the model has come or failed."""
    if models.model_status(store).state not in ("loading", "waiting"):
        st.rerun()


def _strip(value: LiveValue, limits: LiveScales) -> None:
    colours = current_palette()
    wide, narrow = st.columns([79, 21], gap="small")
    with wide:
        token_strip(
            strip_tokens(value.tokens, value.activations, limit=limits.activation, palette=colours),
            value.position,
            prompt=to_field(value.text),
            label=f"Tokens with the activation of {value.neuron.label}. Choose a position.",
            key="live-strip",
            on_pick=lambda index: selection.choose(pos=index + value.n_cut),
        )
    with narrow:
        st.html(legend_html(limits.activation, colours, value.n_cut, len(value.tokens)))


def _figures(store: Store, value: LiveValue, stored: StoredPrompt | None, by_model: bool) -> None:
    limits = scales(store, value)
    _strip(value, limits)
    live_panels.numbers(store, value)
    left, middle, right = st.columns([31, 36, 29], gap="large")
    with left:
        live_panels.heads(store, value, limits)
    with middle:
        live_panels.parts(store, value)
    with right:
        place = st.container()
        live_panels.next_tokens(store, value)
        unseen = st.empty()
    with place:
        if by_model:
            with live_panels.pending_curve(unseen):
                curve = models.curve(store, value)
            live_panels.curve(store, value, curve)
        elif stored is not None:
            live_panels.curve(store, value, stored_curve(store, stored))


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
    return stored_value(store, stored, request.token_id), None


@st.fragment
def _live(store: Store) -> None:
    if neuron_changed():
        st.rerun()
    chosen = selection.current()
    neuron = chosen.neuron or NeuronId(0, 0)
    stored = None if chosen.prompt is None else stored_prompt(store, neuron, chosen.prompt)
    request = _request(store, chosen, stored)
    wide, narrow = st.columns([7, 4], vertical_alignment="bottom")
    with wide:
        token = token_chip(store.token_texts[request.token_id])
        frame.question(f"What switches on the {token} neuron?")
    wide, side = st.columns([79, 21], gap="small")
    with wide:
        prompt_input(request.text, None if stored is None else stored.text)
    with side:
        neuron_input(store, neuron)
    # Every piece keeps its place whatever is shown, so that the browser redraws none from nothing.
    remarks, body = st.container(), st.container(key="live-body")
    if (said := neuron_note()) is not None:
        with remarks:
            frame.note(html.escape(said))
    status = models.model_status(store)
    by_model = status.state == "ready"
    value, seconds = _value(store, request, stored, by_model) if request.text else (None, None)
    line = _status_line(status, seconds, value is not None and not by_model)
    narrow.html(f'<p class="nt-status" role="status">{line}</p>')
    if status.state in ("failed", "missing", "asks"):
        with remarks:
            _trouble(store, status)
    if value is not None:
        with body:
            _figures(store, value, stored, by_model)
    live_panels.instead_of_figures("" if value is not None else _why_none(status, request))
    if value is None and request.text and status.state in ("loading", "waiting"):
        st.skeleton(height=420)


def render() -> None:
    store, _ = frame.page("live", _NAMES, defaults=_defaults)
    live_panels.apply_style()
    _live(store)
    if models.model_status(store).state in ("loading", "waiting"):
        _await_model(store)
