"""What a dial does: one quantity against the dial's strength, before and now marked.

The specification does not depend on the rows' values, so that a turn of the dial sends rows alone.
"""

from __future__ import annotations

from typing import Any, cast

import altair as alt
import pandas as pd

from explorer.charts.channels import channels
from explorer.charts.style import Palette

_COLUMNS = ["role", "strength", "value", "words"]


def dial_rows(
    curve: pd.DataFrame,
    *,
    before: tuple[float, float, str],
    now: tuple[float, float, str],
    prompt: str,
) -> pd.DataFrame:
    """The marks of the figure, one a row: `role strength value words`.

    `curve` has `strength value shown`. `before` and `now` are a strength, the quantity there and its
    words: the run without an edit, and where the dial stands.
    """
    rows: list[dict[str, Any]] = [
        {"role": "point", "strength": s, "value": v, "words": w}
        for s, v, w in zip(curve["strength"], curve["value"], curve["shown"], strict=True)
    ]
    for role, (strength, value, words) in (("before", before), ("now", now)):
        rows.append({"role": role, "strength": strength, "value": value, "words": words})
    values = [0.0, *(row["value"] for row in rows)]
    room = max(values) + 0.18 * (max(values) - min(values) or 1.0)
    rows.append(
        {"role": "room", "strength": before[0], "value": room,
         "words": f"Shown for the prompt: {prompt}"}
    )  # fmt: skip
    return pd.DataFrame(rows, columns=_COLUMNS)


def dial_figure(
    rows: pd.DataFrame, *, palette: Palette, axis: str, percent: bool = False, height: int = 132
) -> alt.LayerChart:
    """The curve of `dial_rows`; ring: before, dot: now. `axis` names the strength's axis."""
    plain: dict[str, Any] = {
        "domain": False, "ticks": False, "labelColor": palette.muted, "labelFontSize": 12,
        "titleColor": palette.muted, "titleFontSize": 12, "titleFontWeight": "normal",
        "gridColor": palette.border, "gridOpacity": 0.6,
    }  # fmt: skip
    up = {"format": ".0%"} if percent else {"format": "~f"}
    base = alt.Chart(rows).encode(**channels(
        x=alt.X(
            "strength:Q", scale=alt.Scale(nice=False, zero=False),
            axis=alt.Axis(title=axis, tickCount=6, format="~f", labelFlush=False, **plain),
        ),
        y=alt.Y(
            "value:Q", scale=alt.Scale(zero=True, nice=False),
            axis=alt.Axis(title=None, tickCount=4, minExtent=34, **up, **plain),
        ),
    ))  # fmt: skip
    of = {
        role: base.transform_filter(f"datum.role == '{role}'")
        for role in ("point", "before", "now", "room")
    }
    tooltip = [
        alt.Tooltip("strength:Q", title=axis, format=".2~f"),
        alt.Tooltip("words:N", title="Value"),
    ]
    flat = alt.Chart(rows).encode(**channels(x="strength:Q"))
    layers: list[alt.Chart] = [
        flat.transform_filter("datum.role == 'now'").mark_rule(color=palette.muted, strokeDash=[2, 2]),
        of["point"].mark_line(color=palette.teal, strokeWidth=2, clip=True),
        of["point"].mark_point(size=260, opacity=0, filled=True).encode(**channels(tooltip=tooltip)),
        of["before"].mark_point(
            shape="circle", size=90, filled=True, fill=palette.page, stroke=palette.ink,
            strokeWidth=1.5, opacity=1,
        ).encode(**channels(tooltip=tooltip)),
        of["now"].mark_point(
            shape="circle", size=90, filled=True, color=palette.ink, opacity=1
        ).encode(**channels(tooltip=tooltip)),
        of["room"].mark_point(opacity=0, size=1).encode(**channels(description="words:N")),
    ]  # fmt: skip
    drawn = alt.layer(*layers).properties(
        height=height, description="A quantity against the strength of a component's dial."
    )
    return cast(alt.LayerChart, drawn)
