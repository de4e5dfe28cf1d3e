"""What removing a head does where it is active against where it is not: two cumulative shares, and
the largest distance between them, which is the Kolmogorov-Smirnov statistic."""

from __future__ import annotations

import math
from typing import Any, cast

import altair as alt
import pandas as pd

from explorer.charts.channels import channels
from explorer.charts.style import Palette

_HEIGHT = 240
_NAMES = {"active": "active", "inactive": "inactive"}


def removal_curves(
    curves: pd.DataFrame,
    *,
    gap: tuple[float, float, float] | None,
    title: str,
    digits: str,
    fine: float | None = None,
    palette: Palette,
) -> alt.LayerChart:
    """`curves` has `group` (`active` or `inactive`), `x` (ablated minus clean) and `share` (of the
    group's rows at or below `x`, 0 to 1). `gap` is the place of the largest distance and the two
    shares there. `digits` is how x is written. With `fine` the scale is linear up to that size and
    logarithmic beyond, both ways."""
    words: dict[str, Any] = {
        "domain": False, "ticks": False, "labelColor": palette.ink, "titleColor": palette.muted,
        "titleFontWeight": "normal", "labelFontSize": 12, "titleFontSize": 12,
        "gridColor": palette.border, "labelFlush": False,
    }  # fmt: skip
    ticks: dict[str, Any] = {"tickCount": 6}
    scale = alt.Scale(nice=False, zero=False)
    if fine is not None:
        sizes = [10.0**power for power in range(round(math.log10(fine)), 1)]
        ticks = {
            "values": [*(-size for size in reversed(sizes)), 0.0, *sizes],
            "labelOverlap": True,
        }
        scale = alt.Scale(type="symlog", constant=fine, nice=False)
        title += f", log scale beyond ±{fine:g}"
    x = alt.X(
        "x:Q", title=title, scale=scale,
        axis=alt.Axis(labelExpr="datum.value == 0 ? '0' : format(datum.value, '+~r')", **ticks, **words),
    )  # fmt: skip
    y = alt.Y(
        "share:Q", title="share of rows at or below", scale=alt.Scale(domain=[0, 1]),
        axis=alt.Axis(values=[0, 0.25, 0.5, 0.75, 1], labelExpr="round(datum.value * 100) + ' %'", **words),
    )  # fmt: skip
    tooltip = [
        alt.Tooltip("group:N", title="Head is"), alt.Tooltip("x:Q", title="Change", format=digits),
        alt.Tooltip("share:Q", title="Rows at or below", format=".0%"),
    ]  # fmt: skip
    groups = list(_NAMES)
    colour = alt.Color(
        "group:N", scale=alt.Scale(domain=groups, range=[palette.teal, palette.muted]),
        legend=alt.Legend(title=None, orient="top-left", symbolType="stroke", labelFontSize=12,
                          labelColor=palette.ink, symbolStrokeWidth=2.4, fillColor=palette.page),
    )  # fmt: skip
    dashes = alt.StrokeDash(
        "group:N", scale=alt.Scale(domain=groups, range=[[1, 0], [5, 3]]), legend=None
    )
    base = alt.Chart(curves).encode(**channels(x=x, y=y, color=colour))
    zero = alt.Chart(pd.DataFrame({"x": [0.0]})).mark_rule(color=palette.muted, opacity=0.7)
    layers: list[alt.Chart] = [
        zero.encode(**channels(x="x:Q")),
        base.mark_line(interpolate="step-after", strokeWidth=2.2).encode(
            **channels(strokeDash=dashes)
        ),
        base.mark_point(size=60, opacity=0).encode(**channels(tooltip=tooltip)),
    ]
    words_of_gap = ""
    if gap is not None:
        at, first, second = gap
        distance = abs(first - second)
        marked = pd.DataFrame(
            {"x": [at], "low": [min(first, second)], "high": [max(first, second)],
             "middle": [(first + second) / 2], "word": [f"D = {distance:.2f}"]}
        )  # fmt: skip
        word = alt.Chart(marked).encode(**channels(x="x:Q", y="middle:Q", text="word:N"))
        placed: dict[str, Any] = {"align": "left", "dx": 7, "fontSize": 12, "fontWeight": 600}
        layers += [
            alt.Chart(marked)
            .mark_rule(strokeWidth=2, color=palette.ink)
            .encode(**channels(x="x:Q", y="low:Q", y2="high:Q")),
            # A rim of the page's colour keeps the word legible over a curve.
            word.mark_text(stroke=palette.page, strokeWidth=5, **placed),
            word.mark_text(color=palette.ink, **placed),
        ]
        words_of_gap = f" Largest distance {distance:.2f}."
    picture = cast(alt.LayerChart, alt.layer(*layers))
    return picture.properties(
        height=_HEIGHT,
        description=f"Cumulative shares of {title}, head active and inactive.{words_of_gap}",
    )
