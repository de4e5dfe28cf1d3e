"""The figures of a token: in which layers its neurons sit, and which heads switch them on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import altair as alt
import pandas as pd

from explorer.charts.share_bars import studied_band
from explorer.charts.style import Palette, signed

PICK = "pick"
"""Name of the lollipops' selection: a list of `{neuron_id, head_id}`."""
_ROW = 25
_MONO = "Source Code Pro, monospace"


def layer_bars(
    layers: pd.DataFrame, *, studied: Iterable[int], palette: Palette, height: int = 120
) -> alt.LayerChart:
    """Bars: how many of the token's best neurons sit in each layer; dashed: the same count averaged
    over all tokens; shaded: the layers in which neurons were studied. `layers` has `layer n mean_n`."""
    data = layers.assign(studied=layers["layer"].isin(list(studied)))
    top = max(1.0, *data["n"].tolist(), *data["mean_n"].tolist())
    x = alt.X("layer:O", title="layer", axis=alt.Axis(labelAngle=0, ticks=False, domain=False,
              labelOverlap=True, titleFontSize=12, titleFontWeight="normal",
              titleColor=palette.muted, titlePadding=4, labelPadding=6), scale=alt.Scale(paddingInner=0.28, paddingOuter=0.14))  # fmt: skip
    y = alt.Y("n:Q", title=None, scale=alt.Scale(domain=[0, top * 1.12], nice=False),
              axis=alt.Axis(tickCount=3, tickMinStep=1, format="d", ticks=False, domain=False,
                            labelFlush=False, gridColor=palette.border))  # fmt: skip
    tooltip = [
        alt.Tooltip("layer:O", title="Layer"),
        alt.Tooltip("n:Q", title="Neurons here"),
        alt.Tooltip("mean_n:Q", title="Average token", format=".1f"),
    ]
    base = alt.Chart(data).encode(x=x)
    shade = base.transform_filter("datum.studied")
    shaded = shade.mark_bar(color=palette.panel, width=alt.RelativeBandSize(1.4)).encode(
        y=alt.YValue(0), y2=alt.Y2Value("height")
    )
    bars = base.mark_bar(color=palette.teal, cornerRadiusTopLeft=1, cornerRadiusTopRight=1).encode(
        y=y, tooltip=tooltip
    )
    line = base.mark_line(color=palette.ink, strokeDash=[4, 3], strokeWidth=1.5).encode(
        y="mean_n:Q"
    )
    points = base.mark_point(color=palette.ink, filled=True, size=16, opacity=1).encode(
        y="mean_n:Q", tooltip=tooltip
    )
    most = data.loc[data["n"].idxmax()] if len(data) else {"layer": "–"}
    drawn = alt.layer(shaded, bars, line, points).properties(
        height=height,
        description=f"Neurons per layer among the token's best; most in layer {most['layer']}. "
        "A dashed line gives the average token.",
    )
    return cast(alt.LayerChart, drawn)


def head_lollipops(
    pairs: pd.DataFrame, *, palette: Palette, neuron: str | None = None
) -> alt.LayerChart:
    """One row a pair of head and neuron, in the order given: the share of the neuron's prompts in
    which the head is active. Filled: studied; hollow: not. `pairs` as in `TokenTables.pairs`;
    the rows of `neuron` (`L5N231`) are drawn in bold."""
    data = pairs.assign(
        zero=0.0,
        label=pairs["head"] + " → " + pairs["neuron"],
        chosen=pairs["neuron_id"] == neuron,
        shown=[f"{a} of {n}" for a, n in zip(pairs["n_active"], pairs["n_prompts"], strict=True)],
        contribution=[signed(value) for value in pairs["mean_attribution"]],
        status=["" if studied else "not studied" for studied in pairs["studied"]],
    )
    labels = data["label"].tolist()
    bold = data.loc[data["chosen"], "label"].tolist()
    y_axis = alt.Axis(title=None, domain=False, ticks=False, labelFont=_MONO, labelFontSize=12,
                      labelColor=palette.ink, labelLimit=200, labelPadding=10,
                      labelFlush=False)  # fmt: skip
    y_axis["labelFontWeight"] = {
        "condition": {"test": {"field": "value", "oneOf": bold}, "value": "bold"},
        "value": "normal",
    }
    y = alt.Y("label:N", sort=None, scale=alt.Scale(domain=labels), axis=y_axis)
    x = alt.X(
        "share:Q", scale=alt.Scale(domain=[0, 1]),
        axis=alt.Axis(title=None, values=[0, 0.25, 0.5, 0.75, 1], domain=False, ticks=False,
                      labelExpr="round(datum.value * 100) + ' %'", gridColor=palette.border,
                      labelColor=palette.muted, labelFontSize=12, labelFlush=False),
    )  # fmt: skip
    tooltip = [
        alt.Tooltip("label:N", title="Head → neuron"),
        alt.Tooltip("shown:N", title="Active in train prompts"),
        alt.Tooltip("share:Q", title="Share active", format=".0%"),
        alt.Tooltip("contribution:N", title="Mean contribution, all prompts"),
        alt.Tooltip("status:N", title="25–75 % is studied"),
    ]
    base = alt.Chart(data)
    colour = {"condition": {"test": "datum.studied", "value": palette.teal}}
    rows = (
        base.mark_rect(opacity=0, cursor="pointer")
        .encode(x=alt.XValue(0), x2=alt.X2Value("width"), y=y, tooltip=tooltip)
        .add_params(alt.selection_point(name=PICK, fields=["neuron_id", "head_id"], on="click"))
    )
    stems = base.mark_rule(strokeWidth=2).encode(
        x="zero:Q", x2="share:Q", y=y, color=alt.ColorValue(palette.muted, **colour)
    )
    dots = base.mark_point(size=110, opacity=1, strokeWidth=1.5, cursor="pointer").encode(
        x=x, y=y, tooltip=tooltip,
        stroke=alt.StrokeValue(palette.muted, **colour), fill=alt.FillValue(palette.page, **colour),
    )  # fmt: skip
    words = base.mark_text(align="left", dx=8, fontSize=12, color=palette.muted).encode(
        x=alt.XValue("width"), y=y, text="status:N"
    )
    n_studied = sum(data["studied"].tolist())
    drawn = alt.layer(studied_band(palette, "x"), rows, stems, dots, words).properties(
        height=_ROW * max(1, len(data)),
        description=f"Share of prompts in which a head is active, for {len(data)} pairs of head and "
        f"neuron, {n_studied} of them studied; the first is {labels[0] if labels else 'none'}.",
    )
    return cast(alt.LayerChart, drawn)
