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
_SANS, _MONO = "Source Sans, sans-serif", "Source Code Pro, Source Code, monospace"
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
        Part(HeadId.from_flat(int(i), n_heads).label, float(flat[i])) for i in order[:N_LARGEST_HEADS]
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
    """One bar a row: `role part start end next kind words`; the last one is the total, from 0.

    Bar i starts where bar i - 1 ended; `next` names the bar below it, for the linking line.
    """
    rows: list[dict[str, Any]] = []
    at = 0.0
    names = [part.label for part in parts] + [TOTAL]
    for order, part in enumerate(parts):
        kind = "raises" if part.value >= 0 else "lowers"
        rows.append(
            {"role": "part", "part": part.label, "start": at, "end": at + part.value,
             "next": names[order + 1], "kind": kind, "words": signed(part.value)}
        )  # fmt: skip
        at += part.value
    rows.append(
        {"role": "total", "part": TOTAL, "start": 0.0, "end": pre_activation, "kind": "total",
         "words": number(pre_activation)}
    )  # fmt: skip
    shown = {"role": "shown", "part": TOTAL, "start": 0.0, "words": f"Shown for the prompt: {prompt}"}
    rows.append(shown)
    return pd.DataFrame(rows, columns=["role", "part", "start", "end", "next", "kind", "words"])


def _y_axis(palette: Palette) -> alt.Axis:
    is_total = f"datum.label == '{TOTAL}'"
    return alt.Axis(
        title=None, ticks=False, domain=False, grid=False, labelAlign="left", labelFontSize=13,
        labelColor=palette.ink, labelPadding=_LABEL_WIDTH, minExtent=_LABEL_WIDTH,
        maxExtent=_LABEL_WIDTH, labelLimit=_LABEL_WIDTH,
        labelFontWeight={"condition": {"test": is_total, "value": 600}, "value": 400},
        labelFont={"condition": {"test": "test(/^L[0-9]/, datum.label)", "value": _MONO}, "value": _SANS},
    )  # fmt: skip


def _x_axis(palette: Palette) -> alt.Axis:
    at_zero = "datum.value == 0"
    return alt.Axis(
        title=None, orient="bottom", ticks=False, domain=False, tickCount=4, labelFontSize=12,
        labelColor=palette.muted, zindex=0,
        gridColor={"condition": {"test": at_zero, "value": palette.muted}, "value": palette.border},
        gridOpacity={"condition": {"test": at_zero, "value": 1}, "value": 0.6},
    )  # fmt: skip


def waterfall_figure(
    rows: pd.DataFrame,
    *,
    palette: Palette,
    description: str = "Every part of the pre-activation, adding up from zero.",
) -> alt.LayerChart:
    """The waterfall of `waterfall_rows`: orange raises, blue lowers, ink is the total."""
    y = alt.Y(
        "part:N", sort=None, axis=_y_axis(palette), scale=alt.Scale(paddingInner=0.42, paddingOuter=0.2)
    )
    x = alt.X("start:Q", axis=_x_axis(palette), scale=alt.Scale(zero=True, nice=False))
    base = alt.Chart(rows).encode(y=y)
    bars = base.transform_filter("datum.role != 'shown'")
    colour = alt.Color(
        "kind:N", legend=None,
        scale=alt.Scale(domain=["raises", "lowers", "total"],
                        range=[palette.raises, palette.lowers, palette.ink]),
    )  # fmt: skip
    tooltip = [alt.Tooltip("part:N", title="Part"), alt.Tooltip("words:N", title="Adds")]
    parts = base.transform_filter("datum.role == 'part'")
    words: dict[str, Any] = {"align": "right", "dx": _VALUE_WIDTH, "fontSize": 13, "color": palette.ink}
    drawn = alt.layer(
        parts.mark_rule(strokeDash=[1, 2], color=palette.muted).encode(x="end:Q", y2="next:N"),
        bars.mark_bar(cornerRadius=1).encode(x=x, x2="end:Q", color=colour, tooltip=tooltip),
        parts.mark_text(**words).encode(x=alt.value("width"), text="words:N"),
        base.transform_filter("datum.role == 'total'")
        .mark_text(**words, fontWeight=600)
        .encode(x=alt.value("width"), text="words:N"),
        base.transform_filter("datum.role == 'shown'")
        .mark_point(opacity=0, size=1)
        .encode(x=x, description="words:N"),
    )
    sized = drawn.properties(
        height=alt.Step(ROW_HEIGHT), description=description,
        padding={"right": _VALUE_WIDTH + 6, "left": 4, "top": 4, "bottom": 4},
    )  # fmt: skip
    return cast(alt.LayerChart, sized)
