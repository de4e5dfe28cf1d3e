"""The figures of Live, each drawn from one value that carries its own prompt."""

from __future__ import annotations

import html
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from explorer.charts import live_heads, truncation, waterfall
from explorer.charts import next_tokens as next_chart
from explorer.charts.glossary import define, percent
from explorer.charts.style import number
from explorer.components.chips import token_chip, token_code
from explorer.components.live_figure import live_figure
from explorer.components.theme import current_palette
from explorer.core.store import Store
from explorer.core.types import HeadId, visible
from explorer.resources.live_values import LiveCurve, LiveScales, LiveValue, to_field

_STYLE_SHEET = Path(__file__).with_name("live.css")
_PLACE = (
    '<span hidden class="nt-curve-state">{}</span>'
    "<style>.st-key-nt-figure-live-curve .stVegaLiteChart{{opacity:{}}}</style>"
)


def apply_style() -> None:
    """Put the style sheet of Live on the page."""
    st.html(f"<style>{_STYLE_SHEET.read_text(encoding='utf-8')}</style>")


def _number(name: str, value: str, of: str, definition: str) -> str:
    """One number as HTML: `name` is HTML, the rest text."""
    tip = html.escape(definition, quote=True)
    small = f"<span>{html.escape(of)}</span>" if of else ""
    return (
        f'<div><p class="nt-small">{name} <span class="nt-tip" tabindex="0" role="note" '
        f'aria-label="{tip}" data-tip="{tip}">?</span></p>'
        f'<p class="nt-live-value">{html.escape(value)}{small}</p></div>'
    )


def numbers(store: Store, value: LiveValue) -> None:
    """Pre-activation, activation, and what the model makes of the neuron's token."""
    facts, target = store.manifest, value.target
    probability = next_chart.percent(target.probability)
    pieces = (
        _number("Pre-activation", number(value.pre_activation), "",
                define("Pre-activation", facts)),
        _number("Activation", number(value.activation), "", define("Activation", facts)),
        _number(f"P({token_chip(target.text)}) next", probability, f"rank {target.rank:,}",
                define("P(token)", facts)),
    )  # fmt: skip
    st.html(f'<div class="nt-live-numbers">{"".join(pieces)}</div>')


def heads(store: Store, value: LiveValue, limits: LiveScales) -> None:
    """Layer x head contributions at the position studied."""
    n_layers, n_heads = value.heads.shape
    rows = live_heads.heads_rows(
        value.heads, n_reaching_layers=value.n_reaching_layers, active=value.active,
        limit=limits.heads, palette=current_palette(), prompt=to_field(value.text),
    )  # fmt: skip
    reach = range(value.n_reaching_layers * n_heads)
    ids = [HeadId.from_flat(flat, n_heads) for flat in reach]
    table = pd.DataFrame(
        {
            "head": [head.label for head in ids],
            "contribution": [float(value.heads[head.layer, head.index]) for head in ids],
            "active": [head in value.active for head in ids],
        }
    )
    live_figure(
        "Heads", live_heads.heads_figure, rows, table,
        key="live-heads",
        help=define("Contribution", store.manifest) + " " + define("Active", store.manifest),
        caption=f"Contribution at {token_code(value.token_here)}. Dot: active.",
        alt_text="What each head adds to the pre-activation, layer down, head across.",
        n_layers=n_layers, n_heads=n_heads, limit=limits.heads,
    )  # fmt: skip
    note = live_heads.unreachable_note(n_layers, value.n_reaching_layers)
    if note:
        st.caption(note)


def parts(store: Store, value: LiveValue) -> None:
    """Everything that the pre-activation is made of, summing to it."""

    def controls() -> None:
        if value.neuron.layer > 1:
            st.toggle("MLPs by layer", key="live-mlps")

    by_layer = bool(st.session_state.get("live-mlps")) and value.neuron.layer > 1
    bars = waterfall.waterfall_parts(
        embedding=value.embedding, mlps=value.mlps, heads=value.heads, bias=value.bias,
        neuron_layer=value.neuron.layer, n_reaching_layers=value.n_reaching_layers,
        mlps_by_layer=by_layer,
    )  # fmt: skip
    table = pd.DataFrame(
        [(bar.label, bar.value) for bar in bars] + [(waterfall.TOTAL, value.pre_activation)],
        columns=["part", "contribution"],
    )
    live_figure(
        "All parts, adding up",
        waterfall.waterfall_figure,
        waterfall.waterfall_rows(bars, value.pre_activation, to_field(value.text)),
        table,
        key="live-parts",
        help=define("Contribution", store.manifest),
        caption="From nothing to the pre-activation. Orange raises it, blue lowers it.",
        alt_text="A waterfall: every part of the pre-activation, adding up from zero.",
        controls=controls,
        n_bars=len(bars) + 1,
    )


def instead_of_figures(words: str) -> None:
    """What is said where there are no figures; nothing is left of older ones, not for a moment."""
    text = f'<p class="nt-small">{html.escape(words)}</p>' if words else "<span hidden></span>"
    shown = "none" if words else "flex"
    st.html(f"{text}<style>.st-key-live-body{{display:{shown}}}</style>")


@contextmanager
def pending_curve(place: DeltaGenerator) -> Iterator[None]:
    """While the curve is computed, the last one stands back: it belongs to another prompt.

    `place` takes an element that is not seen.
    """
    place.html(_PLACE.format("pending", "0.25"))
    yield
    place.html(_PLACE.format("done", "1"))


def curve(store: Store, value: LiveValue, found: LiveCurve) -> None:
    """Activation at the position studied against the number of tokens kept."""
    keep = percent(found.keep_ratio)
    unit = "token suffices" if found.kept == 1 else "tokens suffice"
    rows = truncation.truncation_rows(
        found.points, kept=found.kept, whole_activation=found.whole_activation,
        keep_ratio=found.keep_ratio, line_label=f"{keep} line, ", prompt=to_field(found.text),
        ring_label=f"{found.kept} {unit}",
    )  # fmt: skip
    caption = "Activation against tokens kept."
    if found.whole_activation <= 0:
        caption += " The neuron is off here: there is nothing to keep."
    live_figure(
        "How much of the prompt is needed",
        truncation.truncation_figure,
        rows,
        found.points,
        key="live-curve",
        help=define("Tokens kept", store.manifest),
        caption=caption,
        alt_text="Activation against tokens kept, the whole prompt at the left.",
        long=truncation.is_long(found.points),
    )


def next_tokens(store: Store, value: LiveValue) -> None:
    """The most probable next tokens, the neuron's own one marked."""
    best, target = value.next_tokens, value.target
    shown = [*best, *([] if target in best else [target])]
    table = pd.DataFrame(
        [(visible(row.text), row.probability, row.rank) for row in shown],
        columns=["token", "probability", "rank"],
    )
    live_figure(
        "What comes next",
        next_chart.next_token_figure,
        next_chart.next_token_rows(best, target, to_field(value.text)),
        table,
        key="live-next",
        help=define("P(token)", store.manifest),
        caption="Probability after the chosen token. Bold: the neuron's token."
        if best
        else "Probability of the neuron's token. The others come with the model.",
        alt_text="The most probable next tokens and their probabilities.",
        n_rows=9,
    )
