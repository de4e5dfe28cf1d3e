"""What a head adds directly against what is lost when it is removed; and heads removed together
against one by one. On the dashed line both are equal."""

from __future__ import annotations

from typing import Any, cast

import altair as alt
import pandas as pd

from explorer.charts.channels import channels
from explorer.charts.style import Palette

PICK = "pick"
"""Name of the selection: a list of `{prompt_id, neuron, head}`."""
_HEIGHT = 300
_DENSE = 1000
"""Marks from which they are drawn smaller and paler."""


def _limits(values: list[float]) -> tuple[float, float]:
    """A domain that holds all values, with room, and zero."""
    low, high = min(0.0, *values), max(0.0, *values)
    room = 0.04 * ((high - low) or 1.0)
    return (low - room if low < 0 else low, high + room)


def _axes(rows: pd.DataFrame, titles: tuple[str, str], palette: Palette) -> tuple[alt.X, alt.Y]:
    words: dict[str, Any] = {
        "titleFontWeight": "normal", "titleColor": palette.muted, "labelColor": palette.ink,
        "gridColor": palette.border, "labelFontSize": 12, "titleFontSize": 12, "domain": False,
        "ticks": False, "labelFlush": False, "tickCount": 6,
        "labelExpr": "datum.value == 0 ? '0' : format(datum.value, '+~r')",
    }  # fmt: skip
    (x_low, x_high), (y_low, y_high) = _limits(rows["x"].tolist()), _limits(rows["y"].tolist())
    return (
        alt.X("x:Q", title=titles[0], axis=alt.Axis(**words),
              scale=alt.Scale(domain=[x_low, x_high], nice=False)),
        alt.Y("y:Q", title=titles[1], axis=alt.Axis(**words),
              scale=alt.Scale(domain=[y_low, y_high], nice=False)),
    )  # fmt: skip


def _guides(rows: pd.DataFrame, x: alt.X, y: alt.Y, palette: Palette) -> list[alt.Chart]:
    """The two zero lines and the line of equality."""
    (x_low, x_high), (y_low, y_high) = _limits(rows["x"].tolist()), _limits(rows["y"].tolist())
    start, end = max(x_low, y_low), min(x_high, y_high)
    equal = alt.Chart(pd.DataFrame({"x": [start, end], "y": [start, end]}))
    zero = pd.DataFrame({"zero": [0.0]})
    return [
        alt.Chart(zero).mark_rule(color=palette.muted, opacity=0.7).encode(**channels(x="zero:Q")),
        alt.Chart(zero).mark_rule(color=palette.muted, opacity=0.7).encode(**channels(y="zero:Q")),
        equal.mark_line(strokeDash=[5, 4], strokeWidth=1.3, color=palette.ink).encode(
            **channels(x=x, y=y)
        ),
    ]


def effect_scatter(
    rows: pd.DataFrame, *, palette: Palette, prompt_id: int | None = None,
    neuron: str | None = None, head: str | None = None,
) -> alt.LayerChart:  # fmt: skip
    """A mark a prompt and studied head; filled: signs agree, hollow: they differ; large: the head is
    active. `rows` has `x y` (pre-activation units), `agree active prompt_id neuron head name token
    direct lost`; the row of `prompt_id`, `neuron` and `head` is ringed in ink."""
    x, y = _axes(rows, ("direct contribution to the pre-activation",
                        "pre-activation lost when it is removed"), palette)  # fmt: skip
    tooltip = [
        alt.Tooltip("name:N", title="Head on neuron"), alt.Tooltip("token:N", title="Token"),
        alt.Tooltip("direct:N", title="Direct contribution"),
        alt.Tooltip("lost:N", title="Lost when removed"),
        alt.Tooltip("is_active:N", title="Active in this prompt"),
    ]  # fmt: skip
    drawn = rows.assign(is_active=["yes" if a else "no" for a in rows["active"]])
    agree: Any = {"condition": {"test": "datum.agree", "value": palette.teal}}
    dense = len(rows) > _DENSE
    size: Any = {"condition": {"test": "datum.active", "value": 22 if dense else 46}}
    opacity: Any = {"condition": {"test": "datum.active", "value": 0.5 if dense else 0.75}}
    marks = (
        alt.Chart(drawn)
        .mark_point(strokeWidth=0.8 if dense else 1.1, cursor="pointer")
        .encode(**channels(
            x=x, y=y, tooltip=tooltip, stroke=alt.StrokeValue(palette.muted, **agree),
            fill=alt.FillValue(palette.page, **agree), size=alt.SizeValue(8 if dense else 13, **size),
            opacity=alt.OpacityValue(0.35, **opacity),
        ))
        .add_params(
            alt.selection_point(name=PICK, fields=["prompt_id", "neuron", "head"], on="click")
        )
    )  # fmt: skip
    layers = [*_guides(rows, x, y, palette), marks]
    chosen = drawn.loc[
        (drawn["prompt_id"] == prompt_id) & (drawn["neuron"] == neuron) & (drawn["head"] == head)
    ]
    if not chosen.empty:
        ring = alt.Chart(chosen).mark_point(
            size=150, strokeWidth=2.2, opacity=1, fill=None, stroke=palette.ink
        )
        layers.append(ring.encode(**channels(x=x, y=y)))
    n_agree, n_active = (rows[name].tolist().count(True) for name in ("agree", "active"))
    picture = cast(alt.LayerChart, alt.layer(*layers))
    return picture.properties(
        height=_HEIGHT,
        description=f"Scatter of direct contribution against measured effect, {len(rows)} marks: "
        f"signs agree in {n_agree}, the head is active in {n_active}.",
    )


def joint_scatter(rows: pd.DataFrame, *, palette: Palette) -> alt.LayerChart:
    """A mark a prompt whose active heads were removed one by one and all at once. `rows` has `x`
    (lost one by one, summed), `y` (lost together), `n_heads name one all`."""
    x, y = _axes(rows, ("lost one by one, summed", "lost when removed together"), palette)
    tooltip = [
        alt.Tooltip("name:N", title="Neuron"),
        alt.Tooltip("n_heads:Q", title="Active heads"), alt.Tooltip("one:N", title="One by one, summed"),
        alt.Tooltip("all:N", title="Together"),
    ]  # fmt: skip
    marks = alt.Chart(rows).mark_point(
        filled=True, size=42, opacity=0.7, color=palette.teal
    )  # fmt: skip
    layers = [*_guides(rows, x, y, palette), marks.encode(**channels(x=x, y=y, tooltip=tooltip))]
    above = (rows["y"] > rows["x"]).tolist().count(True)
    picture = cast(alt.LayerChart, alt.layer(*layers))
    return picture.properties(
        height=_HEIGHT - 60,
        description=f"Heads removed together against one by one, {len(rows)} prompts; together they "
        f"take more in {above}.",
    )
