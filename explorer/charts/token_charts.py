"""The figures of a token: in which layers its neurons sit, and which heads switch them on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import altair as alt
import pandas as pd

from explorer.charts.channels import channels
from explorer.charts.share_bars import studied_band
from explorer.charts.style import Palette, number, signed

PICK = "pick"
"""Name of the lollipops' selection: a list of `{neuron_id, head_id}`."""
_ROW = 25
_MONO = "Source Code Pro, monospace"


def _layer_axes(palette: Palette, top: float) -> tuple[alt.X, alt.Y]:
    words: dict[str, Any] = {"titleFontSize": 12, "titleFontWeight": "normal"}
    layer_axis = alt.Axis(
        labelAngle=0, ticks=False, domain=False, labelOverlap=True, titleColor=palette.muted,
        titlePadding=4, labelPadding=6, **words,
    )  # fmt: skip
    count_axis = alt.Axis(
        tickCount=3, tickMinStep=1, format="d", ticks=False, domain=False, labelFlush=False,
        gridColor=palette.border,
    )  # fmt: skip
    bands = alt.Scale(paddingInner=0.28, paddingOuter=0.14)
    counts = alt.Scale(domain=[0, top * 1.12], nice=False)
    return (
        alt.X("layer:O", title="layer", axis=layer_axis, scale=bands),
        alt.Y("n:Q", title=None, axis=count_axis, scale=counts),
    )


def layer_bars(
    layers: pd.DataFrame, *, studied: Iterable[int], palette: Palette, height: int = 120
) -> alt.LayerChart:
    """Bars: how many of the token's best neurons sit in each layer; dashed: the same count averaged
    over all tokens; shaded: the layers in which neurons were studied. `layers` has `layer n mean_n`."""
    data = layers.assign(studied=layers["layer"].isin(list(studied)))
    counts = dict(zip(data["layer"].tolist(), data["n"].tolist(), strict=True))
    x, y = _layer_axes(palette, max(1.0, *counts.values(), *data["mean_n"].tolist()))
    tooltip = [
        alt.Tooltip("layer:O", title="Layer"),
        alt.Tooltip("n:Q", title="Neurons here"),
        alt.Tooltip("mean_n:Q", title="Average token", format=".1f"),
    ]
    base = alt.Chart(data).encode(**channels(x=x))
    average = base.encode(**channels(y="mean_n:Q"))
    dark: dict[str, Any] = {"color": palette.ink}
    shaded = base.transform_filter("datum.studied").mark_bar(
        color=palette.panel, width=alt.RelativeBandSize(1.4)
    )
    layered = alt.layer(
        shaded.encode(**channels(y=alt.YValue(0), y2=alt.Y2Value("height"))),
        base.mark_bar(color=palette.teal).encode(**channels(y=y, tooltip=tooltip)),
        average.mark_line(strokeDash=[4, 3], strokeWidth=1.5, **dark),
        average.mark_point(filled=True, size=16, opacity=1, **dark).encode(
            **channels(tooltip=tooltip)
        ),
    )
    most = max(counts, key=lambda layer: counts[layer], default="–")
    words = (
        f"Neurons per layer among the token's best, most in layer {most}; dashed: average token."
    )
    return cast(alt.LayerChart, layered.properties(height=height, description=words))


def _pair_rows(pairs: pd.DataFrame, neuron: str | None) -> pd.DataFrame:
    scored = any(pairs["score"].notna().tolist())
    return pairs.assign(
        zero=0.0,
        label=pairs["head"] + " → " + pairs["neuron"],
        chosen=pairs["neuron_id"] == neuron,
        shown=[f"{a} of {n}" for a, n in zip(pairs["n_active"], pairs["n_prompts"], strict=True)],
        contribution=[signed(value) for value in pairs["mean_attribution"]],
        status=[
            "not studied" if not studied else number(score) if scored else ""
            for studied, score in zip(pairs["studied"], pairs["score"], strict=True)
        ],
        score_word=[number(score) for score in pairs["score"]],
    )


def _pair_axes(rows: pd.DataFrame, palette: Palette) -> tuple[alt.X, alt.Y]:
    labels = alt.Axis(
        title=None, domain=False, ticks=False, labelFont=_MONO, labelFontSize=12, labelLimit=200,
        labelColor=palette.ink, labelPadding=10, labelFlush=False,
    )  # fmt: skip
    bold = rows.loc[rows["chosen"], "label"].tolist()
    labels["labelFontWeight"] = {
        "condition": {"test": {"field": "value", "oneOf": bold}, "value": "bold"},
        "value": "normal",
    }
    shares = alt.Axis(
        title=None, values=[0, 0.25, 0.5, 0.75, 1], domain=False, ticks=False, labelFlush=False,
        labelExpr="round(datum.value * 100) + ' %'", gridColor=palette.border,
        labelColor=palette.muted, labelFontSize=12,
    )  # fmt: skip
    return (
        alt.X("share:Q", scale=alt.Scale(domain=[0, 1]), axis=shares),
        alt.Y("label:N", sort=None, axis=labels, scale=alt.Scale(domain=rows["label"].tolist())),
    )


def head_lollipops(
    pairs: pd.DataFrame, *, palette: Palette, neuron: str | None = None
) -> alt.LayerChart:
    """One row a pair of head and neuron, in the order given: the share of the neuron's prompts in
    which the head is active; at the right its score. Filled: studied; hollow: not. `pairs` as in
    `TokenTables.pairs`;
    the rows of `neuron` (`L5N231`) are drawn in bold."""
    rows = _pair_rows(pairs, neuron)
    x, y = _pair_axes(rows, palette)
    tooltip = [
        alt.Tooltip("label:N", title="Head → neuron"),
        alt.Tooltip("shown:N", title="Active in train prompts"),
        alt.Tooltip("share:Q", title="Share active", format=".0%"),
        alt.Tooltip("contribution:N", title="Mean contribution, all prompts"),
        alt.Tooltip("score_word:N", title="Score of its explanation"),
        alt.Tooltip("status:N", title="25–75 % is studied"),
    ]
    studied: Any = {"condition": {"test": "datum.studied", "value": palette.teal}}
    base = alt.Chart(rows).encode(**channels(y=y))
    pointed = base.encode(**channels(tooltip=tooltip))
    # The whole row can be clicked: a rectangle that is not seen.
    targets = pointed.mark_rect(opacity=0, cursor="pointer").encode(
        **channels(x=alt.XValue(0), x2=alt.X2Value("width"))
    )
    stems = base.mark_rule(strokeWidth=2).encode(**channels(x="zero:Q", x2="share:Q"))
    dots = pointed.mark_point(size=110, opacity=1, strokeWidth=1.5, cursor="pointer")
    words = base.mark_text(align="left", dx=8, fontSize=12)
    scored: Any = {"condition": {"test": "datum.studied", "value": palette.ink}}
    layered = alt.layer(
        studied_band(palette, "x"),
        targets.add_params(alt.selection_point(name=PICK, fields=["neuron_id", "head_id"], on="click")),
        stems.encode(**channels(color=alt.ColorValue(palette.muted, **studied))),
        dots.encode(**channels(x=x, stroke=alt.StrokeValue(palette.muted, **studied),
                    fill=alt.FillValue(palette.page, **studied))),
        words.encode(**channels(x=alt.XValue("width"), text="status:N",
                     color=alt.ColorValue(palette.muted, **scored))),
    )  # fmt: skip
    description = (
        f"Share of prompts in which a head is active, for {len(rows)} pairs of head and neuron, "
        f"{sum(rows['studied'].tolist())} of them studied; first {rows['label'].tolist()[:1]}."
    )
    return cast(
        alt.LayerChart, layered.properties(height=_ROW * max(1, len(rows)), description=description)
    )
