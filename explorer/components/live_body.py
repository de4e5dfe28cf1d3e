"""How Live is laid out: prompts and their strips, numbers, figures for one prompt or for two."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from explorer import selection
from explorer.charts.token_strip import legend_html, strip_tokens
from explorer.charts.waterfall import named_heads
from explorer.components import live_compare, live_inputs, live_more, live_panels
from explorer.components.live_examples import pushing_menu
from explorer.components.live_numbers import numbers
from explorer.components.live_state import POSITION_OF, SideName, restore_all, scales
from explorer.components.theme import current_palette
from explorer.components.token_strip import token_strip
from explorer.core.store import Store
from explorer.core.types import HeadId
from explorer.resources import models
from explorer.resources.live_sides import Removal, Side
from explorer.resources.live_values import (
    LiveRequest,
    LiveScales,
    StoredPrompt,
    stored_curve,
    to_field,
)

_LABEL = "Prompt: edit it, everything below follows"
_NAMES: tuple[SideName, SideName] = ("A", "B")


@dataclass(frozen=True)
class Inputs:
    """Places beside the inputs that are filled once the numbers are known."""

    strips: tuple[DeltaGenerator, ...]
    status: DeltaGenerator
    legend: DeltaGenerator
    pushing: DeltaGenerator


@dataclass(frozen=True)
class Page:
    """All that one run of Live shows."""

    store: Store
    sides: list[Side]
    removal: Removal
    head: HeadId | None
    stored: StoredPrompt | None
    by_model: bool

    @property
    def named(self) -> list[tuple[str, Side]]:
        """The prompts with the names that figures give them."""
        return (
            [("", self.sides[0])]
            if len(self.sides) == 1
            else list(zip(_NAMES, self.sides, strict=True))
        )


def _strip_row() -> tuple[DeltaGenerator, DeltaGenerator]:
    wide, narrow = st.columns([79, 21], gap="small")
    return wide, narrow


def inputs(
    store: Store, request: LiveRequest, stored: StoredPrompt | None, text2: str | None
) -> Inputs:
    """The fields: prompt and neuron, a second prompt where there is one, and room for the strips."""
    edit = live_inputs.edit_first(None if stored is None else stored.text)
    first, second, third = st.columns([58, 19, 23], gap="small", vertical_alignment="bottom")
    with first:
        label = _LABEL if text2 is None else "Prompt A: edit it, everything below follows"
        live_inputs.prompt_input("A", label, request.text, edit)
    with second:
        live_inputs.neuron_input(store, request.neuron)
    with third, st.container(key="live-beside", horizontal=True, gap="xsmall", wrap=False):
        pushing = st.container(width="content")
        live_inputs.second_prompt_button(request.text, text2 is not None)
    strip, narrow = _strip_row()
    with narrow:
        status, legend = st.empty(), st.empty()
    strips = [strip]
    if text2 is not None:
        left, right = st.columns([62, 38], gap="small", vertical_alignment="bottom")
        with left:
            live_inputs.prompt_input("B", "Prompt B", text2, live_inputs.edit_second)
        with right:
            live_inputs.pair_buttons(request.text, text2)
        strips.append(_strip_row()[0])
    return Inputs(tuple(strips), status, legend, pushing)


def _strip(side: Side, limits: LiveScales, name: SideName) -> None:
    value = side.before
    token_strip(
        strip_tokens(
            value.tokens, value.activations, limit=limits.activation, palette=current_palette()
        ),
        value.position,
        prompt=to_field(value.text),
        label=f"Tokens with the activation of {value.neuron.label}. Choose a position. "
        "Escape switches all heads on.",
        key="live-strip" if name == "A" else "live-strip-b",
        on_pick=lambda index: selection.choose(**{POSITION_OF[name]: index + value.n_cut}),
        on_restore=restore_all,
    )


def _strips(page: Page, places: Inputs, limits: LiveScales) -> None:
    for name, side, place in zip(_NAMES, page.sides, places.strips, strict=False):
        with place:
            _strip(side, limits, name)
    value = page.sides[0].before
    with places.pushing:
        pushing_menu(page.store, value)
    places.legend.html(
        legend_html(limits.activation, current_palette(), value.n_cut, len(value.tokens))
    )


def _curve(page: Page, side: Side, name: str) -> None:
    """The truncation curve, the dearest figure: the caller draws it last."""
    if page.by_model:
        found = models.curve(page.store, side.before)
    elif page.stored is not None:
        found = stored_curve(page.store, page.stored)
    else:
        return
    live_panels.curve(page.store, found, bool(page.removal), name)


def _one(page: Page, limits: LiveScales, named: tuple[HeadId, ...]) -> None:
    store, side = page.store, page.sides[0]
    left, middle, right = st.columns([31, 36, 29], gap="large")
    with left:
        live_panels.heads(store, side, limits, page.head, page.by_model)
        live_panels.heads_note(side, limits)
    with middle:
        live_panels.parts(store, side, named)
        live_panels.prediction(side)
    with right:
        place = st.container()
        live_panels.next_tokens(store, side)
        unseen = st.empty()
    more = st.container()
    with more:
        _more(page)
    with place, live_panels.pending_curve(unseen):
        _curve(page, side, "")


def _two(page: Page, limits: LiveScales, named: tuple[HeadId, ...]) -> None:
    store, (a, b) = page.store, page.sides
    extent, span = live_compare.extent(a, b, named), live_compare.span(store, a, b)
    # Row by row, so that what is compared stands side by side.
    row = st.columns(3, gap="large")
    for column, (name, side) in zip(row, page.named, strict=False):
        with column:
            live_panels.heads(store, side, limits, page.head, page.by_model, name)
    with row[2]:
        live_compare.heads(store, a, b, limits)
    live_panels.heads_note(a, limits)
    row = st.columns(3, gap="large")
    for column, (name, side) in zip(row, page.named, strict=False):
        with column:
            live_panels.parts(store, side, named, name, extent)
            live_panels.prediction(side)
    with row[2]:
        live_compare.parts(store, a, b, named, extent)
    row = st.columns(3, gap="large")
    for column, (name, side) in zip(row, page.named, strict=False):
        with column:
            live_panels.next_tokens(store, side, name, span)
    with row[2]:
        live_compare.next_tokens(store, a, b, span)
    _more(page)
    row = st.columns(2, gap="large")
    with live_panels.pending_curve(st.empty()):
        for column, (name, side) in zip(row, page.named, strict=True):
            with column:
                _curve(page, side, name)


def _more(page: Page) -> None:
    """Below the figures: attention of the selected head, direct against causal."""
    head = live_more.head_shown(page.sides[0], page.head)
    left, right = st.columns([60, 40], gap="large")
    with left:
        if head is not None:
            live_more.attention(page.store, page.named, head)
        live_more.explanations(page.store, page.named)
    with right:
        if page.by_model and live_more.effects_asked(page.removal):
            for name, side in page.named:
                live_more.effects(page.store, side, page.removal.kind, name)


def draw(page: Page, places: Inputs, body: DeltaGenerator) -> None:
    """Fill the page, cheap parts first."""
    limits = scales(page.store, page.sides)
    _strips(page, places, limits)
    values = [value for side in page.sides for value in (side.before, side.now)]
    named = named_heads(
        [value.heads for value in values], values[0].n_reaching_layers, page.removal.heads
    )
    with body:
        numbers(page.store, page.sides, page.removal.heads, page.removal.kind, page.by_model)
        if len(page.sides) == 1:
            _one(page, limits, named)
        else:
            _two(page, limits, named)
