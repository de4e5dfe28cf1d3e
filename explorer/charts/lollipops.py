"""The neurons that one head serves: in what share of each neuron's prompts it is active."""

from __future__ import annotations

from typing import cast

import altair as alt
import pandas as pd

from explorer.charts.channels import channels
from explorer.charts.share_bars import studied_band
from explorer.charts.style import Palette, number

PICK = "pick"
"""Name of the selection: a list of `{neuron}`."""
_ROW = 27
_RIGHT = 78
"""Room for scores at the right of the shares."""


def _scores(base: alt.Chart, y: alt.Y, palette: Palette) -> list[alt.Chart]:
    """Scores, and `not studied` smaller and muted, one column at the right."""
    looks = (("datum.studied", 12.5, palette.ink), ("!datum.studied", 11.5, palette.muted))
    return [
        base.transform_filter(which)
        .mark_text(align="right", dx=-6, fontSize=size, color=colour)
        .encode(**channels(x=alt.value("width"), y=y, text="scored:N"))
        for which, size, colour in looks
    ]


def served_neurons(
    neurons: pd.DataFrame, *, palette: Palette, neuron: str | None = None
) -> alt.LayerChart:
    """One row a neuron, in the order given; filled: studied for it; outline: the chosen `neuron`.

    `neurons` has `neuron` (its URL form), `label` (with its token), `share` (0 to 1), `n_active
    n_prompts contribution` (formatted), `studied` and `score` (0 to 1, missing where there is none),
    which stands at the right.
    """
    drawn = neurons.assign(
        zero=0.0,
        shown=[
            f"{a} of {n}" for a, n in zip(neurons["n_active"], neurons["n_prompts"], strict=True)
        ],
        is_studied=["yes" if studied else "no" for studied in neurons["studied"]],
        scored=[
            number(float(score)) if studied else "not studied"
            for score, studied in zip(neurons["score"], neurons["studied"], strict=True)
        ],
    )
    labels = drawn["label"].tolist()
    axis = alt.Axis(
        title=None, domain=False, ticks=False, labelColor=palette.ink, labelPadding=10,
        labelFont="Source Code Pro, monospace", labelFontSize=12, labelLimit=230, labelFlush=False,
    )  # fmt: skip
    chosen = drawn.loc[drawn["neuron"] == neuron]
    axis["labelFontWeight"] = {
        "condition": {
            "test": {"field": "value", "oneOf": chosen["label"].tolist()},
            "value": "bold",
        },
        "value": "normal",
    }
    y = alt.Y("label:N", sort=None, scale=alt.Scale(domain=labels), axis=axis)
    x = alt.X(
        "share:Q", scale=alt.Scale(domain=[0, 1], range=[0, alt.ExprRef(f"width - {_RIGHT}")]),
        axis=alt.Axis(title=None, values=[0, 0.25, 0.5, 0.75, 1], domain=False, ticks=False,
                      labelExpr="round(datum.value * 100) + ' %'", gridColor=palette.border,
                      labelColor=palette.muted, labelFontSize=12, labelFlush=False),
    )  # fmt: skip
    tooltip = [
        alt.Tooltip("label:N", title="Neuron"),
        alt.Tooltip("shown:N", title="Prompts in which the head is active"),
        alt.Tooltip("share:Q", title="Share active", format=".0%"),
        alt.Tooltip("contribution:N", title="Mean contribution, all prompts"),
        alt.Tooltip("is_studied:N", title="Studied (25–75 % of train prompts)"),
        alt.Tooltip("scored:N", title="Score"),
    ]
    base = alt.Chart(drawn)
    colour = alt.condition("datum.studied", alt.value(palette.teal), alt.value(palette.muted))
    # The whole row can be clicked: a rectangle that is not seen.
    rows = (
        base.mark_rect(opacity=0, cursor="pointer")
        .encode(**channels(x=alt.value(0), x2=alt.value("width"), y=y, tooltip=tooltip))
        .add_params(alt.selection_point(name=PICK, fields=["neuron"], on="click"))
    )
    stems = base.mark_rule(strokeWidth=2).encode(
        **channels(x="zero:Q", x2="share:Q", y=y, color=colour)
    )
    heads = base.mark_point(size=110, opacity=1, strokeWidth=1.5, cursor="pointer").encode(**channels(
        x=x, y=y, tooltip=tooltip, stroke=colour,
        fill=alt.condition("datum.studied", alt.value(palette.teal), alt.value(palette.page)),
    ))  # fmt: skip
    layers = [studied_band(palette, "x"), rows, stems, heads, *_scores(base, y, palette)]
    if not chosen.empty:
        layers.append(
            alt.Chart(chosen[["label"]])
            .mark_rect(fill=None, stroke=palette.ink, strokeWidth=1.5, cornerRadius=3)
            .encode(**channels(x=alt.value(0), x2=alt.value("width"), y=y))
        )
    n_studied = sum(map(bool, drawn["studied"]))
    drawn_layers = cast(alt.LayerChart, alt.layer(*layers))
    return drawn_layers.properties(
        height=alt.Step(_ROW),
        description=f"Share of prompts in which the head is active, for {len(drawn)} neurons; "
        f"it is studied for {n_studied}.",
    )
