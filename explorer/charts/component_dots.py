"""Whose components a head reads most: one row a component, against the level of chance."""

from __future__ import annotations

from typing import Any, cast

import altair as alt
import pandas as pd

from explorer.charts.channels import channels
from explorer.charts.style import Palette, number

PICK = "pick"
"""Name of the selection: a list of `{src, component}`."""
_ROW = 19
_RIGHT = 60
"""Room for z at the right of the scores."""
_MONO = "Source Code Pro, monospace"


def _line(
    value: float, words: str, align: str, palette: Palette, dash: list[int]
) -> list[alt.Chart]:
    """A vertical line with its name above the rows."""
    data = alt.Chart(pd.DataFrame({"score": [value], "words": [words]}))
    text = data.mark_text(
        align=cast(Any, align), baseline="bottom", dy=-4, dx=3 if align == "left" else -3,
        fontSize=12, color=palette.muted,
    )  # fmt: skip
    return [
        data.mark_rule(color=palette.muted, strokeDash=dash).encode(**channels(x="score:Q")),
        text.encode(**channels(x="score:Q", y=alt.value(0), text="words:N")),
    ]


def _axes(rows: pd.DataFrame, top: float, palette: Palette) -> tuple[alt.X, alt.Y]:
    axis = alt.Axis(
        title=None, domain=False, ticks=False, labelFont=_MONO, labelFontSize=12, labelPadding=8,
        labelColor=palette.ink, labelLimit=140, labelFlush=False, labelOverlap=False,
    )  # fmt: skip
    bold = rows.loc[rows["stands_out"], "label"].tolist()
    axis["labelFontWeight"] = {
        "condition": {"test": {"field": "value", "oneOf": bold}, "value": "bold"},
        "value": "normal",
    }
    scores = alt.Axis(
        title=None, tickCount=5, format=".2~f", domain=False, ticks=False, labelFontSize=12,
        labelColor=palette.muted, gridColor=palette.border, gridOpacity=0.6, labelFlush=False,
    )  # fmt: skip
    scale = alt.Scale(domain=[0, top], nice=False, range=[0, alt.ExprRef(f"width - {_RIGHT}")])
    return (
        alt.X("score:Q", axis=scores, scale=scale),
        alt.Y("label:N", sort=None, axis=axis, scale=alt.Scale(domain=rows["label"].tolist())),
    )


def component_dots(
    rows: pd.DataFrame,
    *,
    level: float,
    z_line: float | None,
    receiver: str,
    palette: Palette,
    src: str | None = None,
    component: int | None = None,
) -> alt.LayerChart:
    """Dots at each component's score, in the order given; filled and bold: it stands out by its z.

    `rows` has `src component label score shown_score shown_z stands_out`. `level` is the random one
    and `z_line` the score at which a component begins to stand out. `src` (URL form) and `component`
    are outlined.
    """
    top = max([level, *rows["score"].tolist()]) * 1.06
    x, y = _axes(rows, top, palette)
    drawn = rows.assign(level=level)
    base = alt.Chart(drawn).encode(**channels(y=y))
    tooltip = [
        alt.Tooltip("label:N", title="Sender · component"),
        alt.Tooltip("shown_score:N", title="Composition"),
        alt.Tooltip("shown_z:N", title="z"),
    ]
    out: dict[str, Any] = {"condition": {"test": "datum.stands_out", "value": palette.teal}}
    # The whole row can be clicked: a rectangle that is not seen.
    targets = (
        base.mark_rect(opacity=0, cursor="pointer")
        .encode(**channels(x=alt.value(0), x2=alt.value("width"), tooltip=tooltip))
        .add_params(alt.selection_point(name=PICK, fields=["src", "component"], on="click"))
    )
    stems = base.mark_rule(strokeWidth=2).encode(
        **channels(x="level:Q", x2="score:Q", color=alt.ColorValue(palette.border, **out))
    )
    dots = base.mark_point(size=80, opacity=1, strokeWidth=1.5, cursor="pointer").encode(**channels(
        x=x, tooltip=tooltip, stroke=alt.StrokeValue(palette.muted, **out),
        fill=alt.FillValue(palette.page, **out),
    ))  # fmt: skip
    words: dict[str, Any] = {"condition": {"test": "datum.stands_out", "value": palette.ink}}
    z = base.mark_text(align="right", dx=-6, fontSize=12).encode(
        **channels(
            x=alt.value("width"), text="shown_z:N", color=alt.ColorValue(palette.muted, **words)
        )
    )
    heading = alt.Chart(pd.DataFrame({"words": ["z"]})).mark_text(
        align="right", baseline="bottom", dx=-6, dy=-4, fontSize=12, color=palette.muted
    )
    layers: list[alt.Chart] = [
        targets, stems, dots, z,
        heading.encode(**channels(x=alt.value("width"), y=alt.value(0), text="words:N")),
        *_line(level, f"random level {number(level, 3)}", "right", palette, [3, 3]),
    ]  # fmt: skip
    if z_line is not None and level < z_line < top:
        layers += _line(z_line, "z = 4", "left", palette, [1, 2])
    own = drawn.loc[(drawn["src"] == src) & (drawn["component"] == component), ["label"]]
    if len(own):
        layers.append(
            alt.Chart(own)
            .mark_rect(fill=None, stroke=palette.ink, strokeWidth=1.5, cornerRadius=3)
            .encode(**channels(x=alt.value(0), x2=alt.value("width"), y="label:N"))
        )
    n_out = rows["stands_out"].tolist().count(True)
    first = rows["label"].tolist()[:1]
    return cast(alt.LayerChart, alt.layer(*layers)).properties(
        height=_ROW * max(1, len(rows)),
        description=f"Components of earlier heads that {receiver} reads most, {len(rows)} of them, "
        f"{n_out} standing out; first {first[0] if first else 'none'}.",
    )
