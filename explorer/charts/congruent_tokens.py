"""The tokens that a neuron's output weights point at most."""

from __future__ import annotations

from typing import cast

import altair as alt
import pandas as pd

from explorer.charts.channels import channels
from explorer.charts.style import Palette, number
from explorer.charts.token_text import distinct
from explorer.core.types import visible

_BAR = 21


def congruent_tokens(tokens: pd.DataFrame, *, own: int | None, palette: Palette) -> alt.LayerChart:
    """Bars of congruence, in the order given. `tokens` has `token_id text congruence`; `own` is the
    id of the neuron's token, drawn strong."""
    labels = distinct(visible(text) for text in tokens["text"])
    drawn = tokens.assign(
        label=labels,
        shown=[number(value, 1) for value in tokens["congruence"]],
        own=[token_id == own for token_id in tokens["token_id"]],
    )
    own_labels = drawn.loc[drawn["own"], "label"].tolist()
    axis = alt.Axis(
        title=None, domain=False, ticks=False, labelFont="Source Code Pro, monospace",
        labelFontSize=12, labelColor=palette.ink, labelLimit=170, labelPadding=8, labelFlush=False,
    )  # fmt: skip
    axis["labelFontWeight"] = {
        "condition": {"test": {"field": "value", "oneOf": own_labels}, "value": "bold"},
        "value": "normal",
    }
    y = alt.Y("label:N", sort=None, axis=axis, scale=alt.Scale(domain=labels, paddingInner=0.3))
    values = [float(value) for value in tokens["congruence"]]
    top, low = max([0.0, *values]), min([0.0, *values])
    # A tenth of the width is left for the number beyond the longest bar.
    x = alt.X(
        "congruence:Q", axis=None, scale=alt.Scale(domain=[low, (top or 1.0) * 1.12], nice=False)
    )
    tooltip = [
        alt.Tooltip("label:N", title="Token"),
        alt.Tooltip("congruence:Q", title="Congruence", format=".1f"),
    ]
    bars = alt.Chart(drawn).mark_bar().encode(**channels(
        x=x, y=y, tooltip=tooltip,
        color=alt.condition("datum.own", alt.value(palette.teal), alt.value(palette.teal_soft)),
    ))  # fmt: skip
    words = (
        alt.Chart(drawn)
        .mark_text(align="left", dx=6, color=palette.ink, fontSize=12)
        .encode(**channels(x=x, y=y, text="shown:N"))
    )
    first = f"{labels[0]} at {drawn['shown'].iloc[0]}" if labels else "none"
    drawn_layers = cast(alt.LayerChart, alt.layer(bars, words))
    return drawn_layers.properties(
        height=alt.Step(_BAR), description=f"Congruence with {len(drawn)} tokens, highest {first}."
    )
