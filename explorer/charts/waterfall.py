"""All parts of one pre-activation, adding up: embedding, MLPs, largest heads, the rest, bias.

Pure bookkeeping over exact contributions: nothing is dropped, so that the last part ends at the
total. Where heads are switched off, thin bars show what was before. The
specification does not depend on the rows' values (see `truncation`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, cast

import altair as alt
import numpy as np
import pandas as pd

from explorer.charts.channels import channels
from explorer.charts.style import Palette, number, signed
from explorer.core.types import HeadId

N_LARGEST_HEADS = 7
ROW_HEIGHT = 27
_LABEL_WIDTH = 118
_VALUE_WIDTH = 52
_OLD_WIDTH = 48
_COLUMNS = ("role", "order", "below", "part", "start", "end", "words", "start_old", "end_old",
            "sign_old", "words_old")  # fmt: skip
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


def named_heads(
    heads: Sequence[np.ndarray], n_reaching_layers: int, always: Collection[HeadId] = ()
) -> tuple[HeadId, ...]:
    """The heads that a waterfall names, largest first (ties to the lower index).

    Size is the largest over all of `heads` (each layer x head), so that figures side by side name the
    same ones. `always` are named whatever their size; there are `N_LARGEST_HEADS` in all, or more
    where `always` holds more.
    """
    sizes = np.max([np.abs(each[:n_reaching_layers].astype(np.float64)) for each in heads], axis=0)
    n_heads, flat = heads[0].shape[1], sizes.ravel()
    order = [HeadId.from_flat(int(i), n_heads) for i in np.argsort(-flat, kind="stable")]
    must = {head for head in order if head in always}
    free = [head for head in order if head not in must][: max(0, N_LARGEST_HEADS - len(must))]
    return tuple(head for head in order if head in must or head in free)


def _head_parts(heads: np.ndarray, n_reaching_layers: int, named: Sequence[HeadId]) -> list[Part]:
    """These heads in this order, and the sum of the others."""
    values = heads[:n_reaching_layers].astype(np.float64)
    parts = [Part(head.label, float(values[head.layer, head.index])) for head in named]
    others = np.ones(values.shape, dtype=bool)
    for head in named:
        others[head.layer, head.index] = False
    if n_others := int(others.sum()):
        unit = "head" if n_others == 1 else "heads"
        parts.append(Part(f"{n_others} other {unit}", float(values[others].sum())))
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
    named: Sequence[HeadId] | None = None,
) -> tuple[Part, ...]:
    """Every contribution exactly once: the values sum to the pre-activation.

    `mlps` has one entry a layer (0 from the neuron's layer on), `heads` is layer x head. `named` are
    the heads with a bar of their own, by default the largest.
    """
    if named is None:
        named = named_heads([heads], n_reaching_layers)
    return (
        Part("Embedding", embedding),
        *_mlp_parts(mlps, neuron_layer, mlps_by_layer),
        *_head_parts(heads, n_reaching_layers, named),
        Part("Bias", bias),
    )


def _steps(parts: Sequence[Part], total: float) -> list[tuple[float, float]]:
    """Start and end of each bar, the total's last."""
    ends = np.cumsum([part.value for part in parts]).tolist()
    return [*zip([0.0, *ends[:-1]], ends, strict=True), (0.0, total)]


def extent_of(parts: Sequence[Sequence[Part]]) -> tuple[float, float]:
    """The least and the most that these waterfalls reach, 0 included."""
    places = [0.0, *(end for each in parts for _, end in _steps(each, 0.0))]
    return min(places), max(places)


def waterfall_rows(
    parts: Sequence[Part],
    pre_activation: float,
    prompt: str,
    *,
    before: Sequence[Part] | None = None,
    pre_before: float = 0.0,
    off: Collection[str] = (),
    is_change: bool = False,
    extent: tuple[float, float] | None = None,
) -> pd.DataFrame:
    """One bar a row: `role order below part start end words start_old end_old words_old`.

    Bar i starts where bar i - 1 ended; its row and the row below are `order` and `below`; the last
    bar is the total, from 0. `before` are the same parts, `pre_before` their total, before the heads
    named in `off` were switched off: the thin bars. `is_change` writes the total with its sign.
    `extent` widens the axis, so that figures side by side have one scale.
    """
    total = Part(TOTAL, pre_activation)
    old: list[dict[str, Any]] = [{} for _ in range(len(parts) + 1)]
    if before is not None:
        pairs = zip([*before, Part(TOTAL, pre_before)], _steps(before, pre_before), strict=True)
        old = [
            {"start_old": start, "end_old": end, "sign_old": "lowers" if part.value < 0 else "raises",
             "words_old": number(part.value) if part.label == TOTAL else signed(part.value)}
            for part, (start, end) in pairs
        ]  # fmt: skip
    rows: list[dict[str, Any]] = []
    for order, (part, (start, end)) in enumerate(
        zip([*parts, total], _steps(parts, pre_activation), strict=True)
    ):
        is_total = order == len(parts)
        role = "total" if is_total else "raises" if part.value >= 0 else "lowers"
        words = signed(part.value) if is_change or not is_total else number(part.value)
        if part.label in off:
            words = "off" if part.value == 0 else f"off {words}"
        rows.append(
            {"role": role, "order": order, "below": None if is_total else order + 1,
             "part": part.label, "start": start, "end": end, "words": words, **old[order]}
        )  # fmt: skip
    low, high = extent or (0.0, 0.0)
    rows.append(
        {"role": "shown", "order": 0, "start": low, "end": high,
         "words": f"Shown for the prompt: {prompt}"}
    )  # fmt: skip
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def _x_axis(palette: Palette) -> alt.Axis:
    at_zero = "datum.value == 0"
    return alt.Axis(
        title=None, orient="bottom", ticks=False, domain=False, tickCount=4, labelFontSize=12,
        labelColor=palette.muted, labelPadding=4, zindex=0,
        gridColor={"condition": {"test": at_zero, "value": palette.muted}, "value": palette.border},
        gridOpacity={"condition": {"test": at_zero, "value": 1}, "value": 0.6},
    )  # fmt: skip


def _texts(base: alt.Chart, palette: Palette, compared: bool) -> list[alt.Chart]:
    """Names at the left, values at the right (old ones before new ones); heads in the code face, the
    total bold."""
    is_head = "test(/^L[0-9]/, datum.part)"
    is_off = "test(/^off/, datum.words)"
    looks: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
        (f"datum.role != 'total' && {is_head} && !{is_off}", {"font": "Source Code Pro, monospace"}, {}),
        (f"datum.role != 'total' && {is_head} && {is_off}", {"font": "Source Code Pro, monospace"},
         {"fontWeight": 700}),
        (f"datum.role != 'total' && datum.role != 'shown' && !{is_head}", {}, {}),
        ("datum.role == 'total'", {"fontWeight": 600}, {"fontWeight": 600}),
    )  # fmt: skip
    right = _VALUE_WIDTH + (_OLD_WIDTH if compared else 0)
    layers: list[alt.Chart] = []
    for which, name_style, value_style in looks:
        of = base.transform_filter(which)
        name: dict[str, Any] = {"fontSize": 13, "color": palette.ink, **name_style}
        value: dict[str, Any] = {"fontSize": 13, "color": palette.ink, **value_style}
        layers += [
            of.mark_text(align="left", dx=-_LABEL_WIDTH, limit=_LABEL_WIDTH - 6, **name).encode(
                **channels(x=alt.value(0), text="part:N")
            ),
            of.mark_text(align="right", dx=right, **value).encode(
                **channels(x=alt.value("width"), text="words:N")
            ),
        ]
    if compared:
        old = base.transform_filter("datum.role != 'shown'").mark_text(
            align="right", dx=_OLD_WIDTH - 4, fontSize=11.5, color=palette.muted
        )
        layers.append(old.encode(**channels(x=alt.value("width"), text="words_old:N")))
    return layers


def _bars(base: alt.Chart, palette: Palette, compared: bool) -> list[alt.Chart]:
    """A bar for each part, and under it a thin one for what it was before."""
    x = alt.X("start:Q", axis=_x_axis(palette), scale=alt.Scale(zero=True, nice=False))
    tooltip = [alt.Tooltip("part:N", title="Part"), alt.Tooltip("words:N", title="Adds")]
    colours = {"raises": palette.raises, "lowers": palette.lowers, "total": palette.ink}
    layers: list[alt.Chart] = []
    if compared:
        tooltip.append(alt.Tooltip("words_old:N", title="Before"))
        drop = ROW_HEIGHT * 0.36
        for role, colour in (*colours.items(), ("total", palette.muted)):
            test = "datum.role == 'total'" if role == "total" else (
                f"datum.role != 'total' && datum.sign_old == '{role}'")  # fmt: skip
            thin = base.transform_filter(test).mark_rule(
                strokeWidth=3.5, opacity=0.5, color=colour, yOffset=drop
            )
            layers.append(thin.encode(**channels(x="start_old:Q", x2="end_old:Q", tooltip=tooltip)))
    for role, colour in colours.items():
        bars = base.transform_filter(f"datum.role == '{role}'").mark_bar(
            cornerRadius=1, color=colour, minBandSize=2
        )
        layers.append(bars.encode(**channels(x=x, x2="end:Q", tooltip=tooltip)))
    off = base.transform_filter("test(/^off/, datum.words)")
    layers.append(
        off.mark_tick(color=palette.ink, thickness=2, size=14).encode(**channels(x="end:Q"))
    )
    return layers


def waterfall_figure(
    rows: pd.DataFrame,
    *,
    palette: Palette,
    n_bars: int,
    compared: bool = False,
    description: str = "Every part of the pre-activation, adding up from zero.",
) -> alt.LayerChart:
    """The waterfall of `waterfall_rows`: orange raises, blue lowers, ink is the total.

    `n_bars` counts the total; the figure's height follows it. `compared` draws what was before.
    """
    band = alt.Scale(domain=list(range(n_bars)), paddingInner=0.42, paddingOuter=0.2)
    base = alt.Chart(rows).encode(**channels(y=alt.Y("order:O", axis=None, scale=band)))
    links = base.transform_filter("datum.role == 'raises' || datum.role == 'lowers'")
    layers = [
        links.mark_rule(strokeDash=[1, 2], color=palette.muted).encode(
            **channels(x="end:Q", y2="below:O")
        ),
        *_bars(base, palette, compared),
        *_texts(base, palette, compared),
    ]
    shown = base.transform_filter("datum.role == 'shown'")
    right = _VALUE_WIDTH + (_OLD_WIDTH if compared else 0)
    # Invisible, as wide as names and values may be: without it every new name would move the plot.
    layers += [
        shown.mark_rule(opacity=0).encode(
            **channels(x=alt.value(-_LABEL_WIDTH), x2=alt.value(0), description="words:N")
        ),
        shown.mark_rule(opacity=0).encode(**channels(x="start:Q", x2="end:Q")),
        shown.mark_text(align="right", dx=right, opacity=0, text=".").encode(
            **channels(x=alt.value("width"))
        ),
    ]
    sized = alt.layer(*layers).properties(height=n_bars * ROW_HEIGHT, description=description)
    return cast(alt.LayerChart, sized)
