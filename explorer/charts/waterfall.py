"""All parts of one pre-activation, adding up: embedding, MLPs, largest heads, the rest, bias.

Pure bookkeeping over exact contributions: nothing is dropped, so that the last part ends at the
total. The specification does not depend on the rows' values (see `truncation`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import altair as alt
import numpy as np
import pandas as pd

from explorer.charts.style import Palette, number, signed
from explorer.core.types import HeadId

N_LARGEST_HEADS = 7
ROW_HEIGHT = 27
_LABEL_WIDTH = 118
_VALUE_WIDTH = 52
TOTAL = "Pre-activation"


@dataclass(frozen=True)
class Part:
    """One bar: what it is called and what it adds, in pre-activation units."""

    label: str
    value: float


def _mlp_parts(mlps: np.ndarray, neuron_layer: int, by_layer: bool) -> list[Part]:
    below = mlps[:neuron_layer]
    if len(below) == 0:
        return []
    if by_layer or len(below) == 1:
        return [Part(f"MLP, layer {n}", float(value)) for n, value in enumerate(below)]
    return [Part(f"MLPs, layers 0–{neuron_layer - 1}", float(below.sum(dtype=np.float64)))]


def _head_parts(heads: np.ndarray, n_reaching_layers: int) -> list[Part]:
    """The largest heads by size, largest first (ties to the lower index), and the sum of others."""
    flat = heads[:n_reaching_layers].astype(np.float64).ravel()
    n_heads = heads.shape[1]
    order = np.argsort(-np.abs(flat), kind="stable")
    parts = [
        Part(HeadId.from_flat(int(i), n_heads).label, float(flat[i]))
        for i in order[:N_LARGEST_HEADS]
    ]
    others = order[N_LARGEST_HEADS:]
    if len(others):
        unit = "head" if len(others) == 1 else "heads"
        parts.append(Part(f"{len(others)} other {unit}", float(flat[others].sum())))
    return parts


def waterfall_parts(
    *,
    embedding: float,
    mlps: np.ndarray,
    heads: np.ndarray,
    bias: float,
    neuron_layer: int,
    n_reaching_layers: int,
    mlps_by_layer: bool = False,
) -> tuple[Part, ...]:
    """Every contribution exactly once: the values sum to the pre-activation.

    `mlps` has one entry a layer (0 from the neuron's layer on), `heads` is layer x head.
    """
    return (
        Part("Embedding", embedding),
        *_mlp_parts(mlps, neuron_layer, mlps_by_layer),
        *_head_parts(heads, n_reaching_layers),
        Part("Bias", bias),
    )


def waterfall_rows(parts: tuple[Part, ...], pre_activation: float, prompt: str) -> pd.DataFrame:
    """One bar a row: `role order part start end words`; the last bar is the total, from 0.

    Bar i starts where bar i - 1 ended; its row and the row below are `order` and `below`.
    """
    rows: list[dict[str, Any]] = []
    at = 0.0
    for order, part in enumerate(parts):
        rows.append(
            {"role": "raises" if part.value >= 0 else "lowers", "order": order, "below": order + 1,
             "part": part.label, "start": at, "end": at + part.value, "words": signed(part.value)}
        )  # fmt: skip
        at += part.value
    rows.append(
        {"role": "total", "order": len(parts), "part": TOTAL, "start": 0.0, "end": pre_activation,
         "words": number(pre_activation)}
    )  # fmt: skip
    rows.append(
        {"role": "shown", "order": 0, "start": 0.0, "words": f"Shown for the prompt: {prompt}"}
    )
    columns = ["role", "order", "below", "part", "start", "end", "words"]
    return pd.DataFrame(rows, columns=columns)


def _x_axis(palette: Palette) -> alt.Axis:
    at_zero = "datum.value == 0"
    return alt.Axis(
        title=None, orient="bottom", ticks=False, domain=False, tickCount=4, labelFontSize=12,
        labelColor=palette.muted, labelPadding=4, zindex=0,
        gridColor={"condition": {"test": at_zero, "value": palette.muted}, "value": palette.border},
        gridOpacity={"condition": {"test": at_zero, "value": 1}, "value": 0.6},
    )  # fmt: skip


def _texts(base: alt.Chart, palette: Palette) -> list[alt.Chart]:
    """Names at the left, values at the right; heads in the code face, the total bold."""
    is_head = "test(/^L[0-9]/, datum.part)"
    looks: tuple[tuple[str, dict[str, Any]], ...] = (
        (f"datum.role != 'total' && {is_head}", {"font": "Source Code Pro, monospace"}),
        (f"datum.role != 'total' && datum.role != 'shown' && !{is_head}", {}),
        ("datum.role == 'total'", {"fontWeight": 600}),
    )
    layers: list[alt.Chart] = []
    for which, style in looks:
        of = base.transform_filter(which)
        name: dict[str, Any] = {"fontSize": 13, "color": palette.ink, **style}
        value: dict[str, Any] = {**name, "font": "Source Sans, sans-serif"}
        layers += [
            of.mark_text(align="left", dx=-_LABEL_WIDTH, limit=_LABEL_WIDTH - 6, **name).encode(
                x=alt.value(0), text="part:N"
            ),
            of.mark_text(align="right", dx=_VALUE_WIDTH, **value).encode(
                x=alt.value("width"), text="words:N"
            ),
        ]
    return layers


def waterfall_figure(
    rows: pd.DataFrame,
    *,
    palette: Palette,
    n_bars: int,
    description: str = "Every part of the pre-activation, adding up from zero.",
) -> alt.LayerChart:
    """The waterfall of `waterfall_rows`: orange raises, blue lowers, ink is the total.

    `n_bars` counts the total; the figure's height follows it.
    """
    band = alt.Scale(domain=list(range(n_bars)), paddingInner=0.42, paddingOuter=0.2)
    base = alt.Chart(rows).encode(y=alt.Y("order:O", axis=None, scale=band))
    x = alt.X("start:Q", axis=_x_axis(palette), scale=alt.Scale(zero=True, nice=False))
    links = base.transform_filter("datum.role == 'raises' || datum.role == 'lowers'")
    tooltip = [alt.Tooltip("part:N", title="Part"), alt.Tooltip("words:N", title="Adds")]
    layers = [
        links.mark_rule(strokeDash=[1, 2], color=palette.muted).encode(x="end:Q", y2="below:O"),
    ]
    for role, colour in (
        ("raises", palette.raises),
        ("lowers", palette.lowers),
        ("total", palette.ink),
    ):
        bars = base.transform_filter(f"datum.role == '{role}'").mark_bar(
            cornerRadius=1, color=colour
        )
        layers.append(bars.encode(x=x, x2="end:Q", tooltip=tooltip))
    layers += _texts(base, palette)
    shown = base.transform_filter("datum.role == 'shown'")
    # Invisible, as wide as names and values may be: without it every new name would move the plot.
    layers += [
        shown.mark_rule(opacity=0).encode(
            x=alt.value(-_LABEL_WIDTH), x2=alt.value(0), description="words:N"
        ),
        shown.mark_text(align="right", dx=_VALUE_WIDTH, opacity=0, text=".").encode(
            x=alt.value("width")
        ),
    ]
    sized = alt.layer(*layers).properties(height=n_bars * ROW_HEIGHT, description=description)
    return cast(alt.LayerChart, sized)
