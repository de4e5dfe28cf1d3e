"""In which depth of each model the vocabulary's tokens have their best neuron."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import altair as alt
import pandas as pd

from explorer.charts.channels import channels
from explorer.charts.run_marks import run_colour, run_shape
from explorer.charts.style import Palette

_HEIGHT = 220
_GAP = 15
"""Pixels between the names at the ends of lines, at least."""


def spread(places: Sequence[float], gap: float, high: float) -> list[float]:
    """Places moved apart so that none is nearer to another than `gap`, in their order, the largest
    at most `high`; what is already apart stays."""
    order = sorted(range(len(places)), key=lambda i: -places[i])
    moved = list(places)
    limit = high
    for i in order:
        moved[i] = min(places[i], limit)
        limit = moved[i] - gap
    return moved


def _percent_axis(palette: Palette, **more: Any) -> alt.Axis:
    return alt.Axis(
        domain=False, ticks=False, labelExpr="round(datum.value * 100) + ' %'", labelFontSize=12,
        labelColor=palette.ink, titleColor=palette.muted, titleFontWeight="normal", titleFontSize=12,
        gridColor=palette.border, labelFlush=False, **more,
    )  # fmt: skip


def _names(rows: pd.DataFrame, runs: Sequence[str], top: float) -> pd.DataFrame:
    ends = [rows.loc[rows["run"] == run].iloc[-1] for run in runs]
    heights = spread([float(end["share"]) for end in ends], _GAP * top / _HEIGHT, top)
    depths = [float(end["depth"]) for end in ends]
    return pd.DataFrame({"run": list(runs), "depth": depths, "share": heights})


def depth_lines(
    rows: pd.DataFrame,
    *,
    runs: Sequence[str],
    studied: tuple[float, float] | None,
    palette: Palette,
) -> alt.LayerChart:
    """A line a run: the share of tokens whose best neuron lies in a layer, against the layer's depth.
    `rows` has `run layer depth share n` (shares and depths 0 to 1), layers ascending; `studied` is
    shaded: the depths between which the first run's neurons were studied."""
    top = max(0.05, 1.12 * max(rows["share"].tolist()))
    x = alt.X(
        "depth:Q", title="depth of the layer in the model", scale=alt.Scale(domain=[0, 1], nice=False),
        axis=_percent_axis(palette, values=[0, 0.25, 0.5, 0.75, 1], grid=False),
    )  # fmt: skip
    y = alt.Y(
        "share:Q", title=None, scale=alt.Scale(domain=[0, top], nice=False),
        axis=_percent_axis(palette, tickCount=3),
    )  # fmt: skip
    tooltip = [
        alt.Tooltip("run:N", title="Run"), alt.Tooltip("layer:Q", title="Layer"),
        alt.Tooltip("share:Q", title="Share of tokens", format=".1%"),
        alt.Tooltip("n:Q", title="Tokens", format=","),
    ]  # fmt: skip
    colour, shape = run_colour(runs, palette), run_shape(runs)
    base = alt.Chart(rows).encode(**channels(x=x, y=y, color=colour))
    layers: list[alt.Chart] = []
    if studied is not None:
        band = pd.DataFrame({"low": [studied[0]], "high": [studied[1]], "word": ["studied"]})
        layers.append(
            alt.Chart(band).mark_rect(color=palette.border, opacity=0.35).encode(**channels(
                x=alt.X("low:Q", title="depth of the layer in the model"), x2="high:Q"
            ))
        )  # fmt: skip
        layers.append(
            alt.Chart(band.assign(middle=(studied[0] + studied[1]) / 2))
            .mark_text(baseline="top", fontSize=12, color=palette.muted)
            .encode(**channels(x="middle:Q", y=alt.YValue(5), text="word:N"))
        )
    layers += [
        base.mark_line(strokeWidth=2),
        base.mark_point(filled=True, size=52, opacity=1).encode(**channels(shape=shape, tooltip=tooltip)),
        alt.Chart(_names(rows, runs, top))
        .mark_text(align="left", dx=6, fontSize=12, limit=150)
        .encode(**channels(x=alt.XValue("width"), y="share:Q", text="run:N", color=colour)),
    ]  # fmt: skip
    picture = cast(alt.LayerChart, alt.layer(*layers))
    peaks = []
    for run in runs:
        mine = rows.loc[rows["run"] == run]
        best = mine.loc[mine["share"].idxmax()]
        peaks.append(f"{run}: most in layer {int(best['layer'])}, {100 * best['share']:.0f} %")
    return picture.properties(
        height=_HEIGHT,
        description="Share of tokens by depth of their best neuron. " + "; ".join(peaks),
    )
