"""In what share of a neuron's prompts each head is active, on the heatmap's columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import altair as alt
import pandas as pd

from explorer.charts.channels import channels
from explorer.charts.prompt_heatmap import AXIS_WIDTH
from explorer.charts.style import Palette

STUDIED_LOW, STUDIED_HIGH = 0.25, 0.75
"""A head is studied when active in this share of train prompts, both ends included."""


def studied_band(palette: Palette, channel: str) -> alt.Chart:
    """The shaded band of shares that make a head studied, along `x` or `y`."""
    frame = pd.DataFrame({"low": [STUDIED_LOW], "high": [STUDIED_HIGH]})
    start, end = ("x", "x2") if channel == "x" else ("y", "y2")
    low = alt.X("low:Q", title=None) if start == "x" else alt.Y("low:Q", title=None)
    # The panel colour alone is too faint on a dark page for a band that carries meaning.
    return (
        alt.Chart(frame)
        .mark_rect(color=palette.border, opacity=0.35)
        .encode(**channels(**{start: low, end: "high:Q"}))
    )


def share_bars(
    activity: pd.DataFrame,
    *,
    heads: Sequence[str],
    palette: Palette,
    head: str | None = None,
    height: int = 46,
) -> alt.LayerChart:
    """Bars over the columns of the prompt heatmap; filled: studied. Outline: the chosen `head`.

    `activity` has `head share n_active n_prompts studied`; share from 0 to 1.
    """
    drawn = activity.loc[activity["head"].isin(list(heads))].copy()
    drawn["shown"] = [
        f"{a} of {n} prompts" for a, n in zip(drawn["n_active"], drawn["n_prompts"], strict=True)
    ]
    drawn["is_studied"] = ["yes" if studied else "no" for studied in drawn["studied"]]
    x = alt.X(
        "head:N", sort=None, axis=None, scale=alt.Scale(domain=list(heads), paddingInner=0.05)
    )
    axis = alt.Axis(
        title=None, values=[STUDIED_LOW, STUDIED_HIGH], format=".0%", domain=False, ticks=False,
        grid=False, labelColor=palette.muted, labelFontSize=11, minExtent=AXIS_WIDTH,
        maxExtent=AXIS_WIDTH, labelExpr="round(datum.value * 100) + ' %'", labelPadding=4,
    )  # fmt: skip
    y = alt.Y("share:Q", scale=alt.Scale(domain=[0, 1]), axis=axis)
    tooltip = [
        alt.Tooltip("head:N", title="Head"),
        alt.Tooltip("share:Q", title="Share active", format=".0%"),
        alt.Tooltip("shown:N", title="Active in"),
        alt.Tooltip("is_studied:N", title="Studied (25–75 % of train prompts)"),
    ]
    bars = alt.Chart(drawn).mark_bar(strokeWidth=1.2).encode(**channels(
        x=x, y=y, tooltip=tooltip,
        fill=alt.condition("datum.studied", alt.value(palette.teal), alt.value("transparent")),
        stroke=alt.condition("datum.studied", alt.value(palette.teal), alt.value(palette.muted)),
    ))  # fmt: skip
    layers = [studied_band(palette, "y"), bars]
    if head is not None and head in set(drawn["head"]):
        chosen = alt.Chart(pd.DataFrame({"head": [head]}))
        layers.append(
            chosen.mark_rect(fill=None, stroke=palette.ink, strokeWidth=2, cornerRadius=2).encode(
                **channels(x="head:N", y=alt.value(0), y2=alt.value(height))
            )
        )
    n_studied = sum(map(bool, drawn["studied"]))
    drawn_layers = cast(alt.LayerChart, alt.layer(*layers))
    return drawn_layers.properties(
        height=height,
        description=f"Share of prompts in which each of {len(drawn)} heads is active; "
        f"{n_studied} are studied.",
    )
