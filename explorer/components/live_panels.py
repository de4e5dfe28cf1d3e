"""The figures of one prompt on Live, each drawn from one `Side` that carries its own prompt.

`name` is empty for a prompt that stands alone, `A` or `B` for one of two.
"""

from __future__ import annotations

import html
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from explorer.charts import live_heads, truncation, waterfall
from explorer.charts import next_tokens as next_chart
from explorer.charts.glossary import define, percent
from explorer.charts.style import number
from explorer.components.chips import token_code
from explorer.components.live_figure import live_figure
from explorer.components.live_state import toggle_drawn, turn
from explorer.components.theme import current_palette
from explorer.core.store import Store
from explorer.core.types import HeadId, visible
from explorer.resources.live_sides import N_NEXT, Side, parts_of
from explorer.resources.live_values import LiveCurve, LiveScales, to_field

_STYLE_SHEET = Path(__file__).with_name("live.css")
_CURVE_HEIGHT = 128
_PLACE = (
    '<span hidden class="nt-curve-state">{}</span>'
    '<style>[class*="st-key-nt-figure-live-curve"] .stVegaLiteChart{{opacity:{}}}</style>'
)


def apply_style() -> None:
    """Put the style sheet of Live on the page."""
    st.html(f"<style>{_STYLE_SHEET.read_text(encoding='utf-8')}</style>")


def titled(title: str, name: str) -> str:
    """A figure's heading, with the prompt that it is of."""
    return f"{name} · {title}" if name else title


def keyed(key: str, name: str) -> str:
    """A figure's key: the first prompt keeps that of a prompt alone."""
    return key if name in ("", "A") else f"{key}-{name.lower()}"


def _clicked(mark: dict[str, Any]) -> None:
    toggle_drawn(HeadId.parse(str(mark["name"])), int(mark.get("turn", -1)))


def heads_table(side: Side) -> pd.DataFrame:
    """The heads that reach the neuron, as a person may want them in a table."""
    before, now = side.before, side.now
    n_heads = now.heads.shape[1]
    ids = [HeadId.from_flat(i, n_heads) for i in range(now.n_reaching_layers * n_heads)]
    table: dict[str, list[Any]] = {
        "head": [head.label for head in ids],
        "contribution": [float(now.heads[head.layer, head.index]) for head in ids],
        "active": [head in before.active for head in ids],
    }
    if side.removal:
        table["before"] = [float(before.heads[head.layer, head.index]) for head in ids]
        table["off"] = [head in side.off for head in ids]
    return pd.DataFrame(table)


def heads(
    store: Store,
    side: Side,
    limits: LiveScales,
    chosen: HeadId | None,
    clickable: bool,
    name: str = "",
) -> None:
    """Layer x head contributions at the position studied; a click switches a head off or on."""
    before, now = side.before, side.now
    n_layers, n_heads = now.heads.shape
    rows = live_heads.heads_rows(
        now.heads, n_reaching_layers=now.n_reaching_layers, active=before.active,
        limit=limits.heads, palette=current_palette(), prompt=to_field(now.text), off=side.off,
        before=before.heads if side.removal else None, chosen=chosen, turn=turn(),
    )  # fmt: skip
    caption = f"Contribution at {token_code(now.token_here)}. "
    caption += "Click a head to switch it off." if clickable else "Dot: active."
    live_figure(
        titled("Heads", name), live_heads.heads_figure, rows, heads_table(side),
        key=keyed("live-heads", name),
        help=define("Contribution", store.manifest) + " " + define("Active", store.manifest)
        + " A head that is off (✕) keeps the colour it had.",
        caption=caption,
        alt_text="What each head adds to the pre-activation, layer down, head across.",
        pick=(live_heads.PICK, _clicked) if clickable else None,
        on_screen=(("legend", False),), n_layers=n_layers,
        n_heads=n_heads, limit=limits.heads, clickable=clickable,
    )  # fmt: skip


def heads_note(side: Side, limits: LiveScales) -> None:
    """The scale, what the marks mean, and why the last layers are dots."""
    n_layers = side.now.heads.shape[0]
    marks = "● active" + (" &ensp; ✕ off" if side.removal else "")
    note = live_heads.unreachable_note(n_layers, side.now.n_reaching_layers)
    scale = live_heads.legend_html(limits.heads, current_palette())
    st.html(f'<p class="nt-small nt-marks">{scale} &ensp; {marks} &ensp; {html.escape(note)}</p>')


def mlps_by_layer(side: Side) -> bool:
    """Whether the waterfall shows each MLP."""
    return bool(st.session_state.get("live-mlps")) and side.now.neuron.layer > 1


def _mlps_switch(side: Side) -> None:
    if side.now.neuron.layer > 1:
        st.toggle("MLPs by layer", key="live-mlps")


def parts(
    store: Store,
    side: Side,
    named: tuple[HeadId, ...],
    name: str = "",
    extent: tuple[float, float] | None = None,
) -> None:
    """Everything that the pre-activation is made of, summing to it; thin: before heads were off."""
    before, now, by_layer = side.before, side.now, mlps_by_layer(side)
    bars = parts_of(now, named, by_layer)
    old = parts_of(before, named, by_layer) if side.removal else None
    names, values = [bar.label for bar in bars], [bar.value for bar in bars]
    table = pd.DataFrame(
        {"part": [*names, waterfall.TOTAL], "contribution": [*values, now.pre_activation]}
    )
    if old is not None:
        table["before"] = [*(bar.value for bar in old), before.pre_activation]
    live_figure(
        titled("All parts, adding up", name), waterfall.waterfall_figure,
        waterfall.waterfall_rows(
            bars, now.pre_activation, to_field(now.text), before=old,
            pre_before=before.pre_activation,
            extent=extent, off=[head.label for head in side.off],
        ),
        table,
        key=keyed("live-parts", name),
        help=define("Contribution", store.manifest),
        caption="Thick: now. Thin: before the heads were off." if side.removal
        else "From nothing to the pre-activation. Orange raises it, blue lowers it.",
        alt_text="A waterfall: every part of the pre-activation, adding up from zero.",
        controls=(lambda: _mlps_switch(side)) if name in ("", "A") else None,
        n_bars=len(bars) + 1, compared=old is not None,
    )  # fmt: skip


def prediction(side: Side) -> None:
    """What the contributions alone say of the removal, against the model's own re-run."""
    if not side.removal:
        return
    predicted, measured = number(side.predicted), number(side.now.pre_activation)
    moved = "" if predicted == measured else ": later parts moved too"
    st.html(
        '<p class="nt-predicted">Contributions alone predict '
        f"<b>{predicted}</b>. Measured <b>{measured}</b>{moved}.</p>"
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


def curve(store: Store, found: LiveCurve, removed: bool, name: str = "") -> None:
    """Activation at the position studied against the number of tokens kept."""
    keep = percent(found.keep_ratio)
    unit = "token suffices" if found.kept == 1 else "tokens suffice"
    rows = truncation.truncation_rows(
        found.points, kept=found.kept, whole_activation=found.whole_activation,
        keep_ratio=found.keep_ratio, line_label=f"{keep} line, ", prompt=to_field(found.text),
        ring_label=f"{found.kept} {unit}",
    )  # fmt: skip
    caption = "Activation against tokens kept" + (", all heads on." if removed else ".")
    if found.whole_activation <= 0:
        caption += " The neuron is off here: there is nothing to keep."
    live_figure(
        titled("How much of the prompt is needed", name),
        truncation.truncation_figure,
        rows,
        found.points,
        key=keyed("live-curve", name),
        help=define("Tokens kept", store.manifest),
        caption=caption,
        alt_text="Activation against tokens kept, the whole prompt at the left.",
        long=truncation.is_long(found.points),
        height=_CURVE_HEIGHT,
    )


def next_tokens(store: Store, side: Side, name: str = "", span: float | None = None) -> None:
    """The most probable next tokens, the neuron's own one marked; a tick where it was before."""
    best, target = side.next_now()
    shown = [*best, *([] if any(row.rank == target.rank for row in best) else [target])]
    table = pd.DataFrame(
        {
            "token": [visible(row.text) for row in shown],
            "probability": [row.probability for row in shown],
            "rank": [row.rank for row in shown],
        }
    )
    if side.removal:
        table["before"] = [row.before for row in shown]
    caption = "Probability. Bar: now. Line: before." if side.removal else (
        "Probability after the chosen token. Bold: the neuron's token.")  # fmt: skip
    live_figure(
        titled("What comes next", name),
        next_chart.next_token_figure,
        next_chart.next_token_rows(best, target, to_field(side.now.text), span=span),
        table,
        key=keyed("live-next", name),
        help=define("P(token)", store.manifest),
        caption=caption
        if best
        else "Probability of the neuron's token. The others come with the model.",
        alt_text="The most probable next tokens and their probabilities.",
        n_rows=N_NEXT + 1,
        compared=bool(side.removal),
    )
