"""All heads against all studied neurons: one cell a pair, random neurons in a block of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import altair as alt
import pandas as pd

from explorer.charts.channels import channels
from explorer.charts.prompt_heatmap import cell_outline
from explorer.charts.style import Palette, amount_scale, signed_scale

PICK = "pick"
"""Name of the selection: a list of `{neuron, head}`."""
_ROW = 15
_SPACER = "random neurons:"
_COLUMNS = ["neuron", "head", "row", "share", "contribution", "score", "effect", "active", "shown",
            "shown_score", "shown_effect", "is_studied"]  # fmt: skip


@dataclass(frozen=True)
class MapOrder:
    """Rows and columns as they stand: neurons in their URL form, heads as `L5 H3`."""

    rows: tuple[str, ...]
    random_rows: tuple[str, ...]
    columns: tuple[str, ...]
    by_layer: bool
    """Whether the columns stand by layer: then a layer is named once, over its first head."""


def _column_axis(order: MapOrder, palette: Palette) -> alt.X:
    """Heads over their columns: layer above, index below; no label is ever turned."""
    layers = [head.split(" ")[0] for head in order.columns]
    first = [head for i, head in enumerate(order.columns) if i == 0 or layers[i] != layers[i - 1]]
    parts = "split(datum.value, ' ')"
    index = "''" if len(order.columns) > 60 else f"slice({parts}[1], 1)"
    by_layer = f"indexof({first!r}, datum.value) >= 0 ? [{parts}[0], {index}] : ['', {index}]"
    expression = by_layer if order.by_layer else parts
    axis = alt.Axis(
        orient="top", title=None, domain=False, ticks=False, labelAngle=0, labelExpr=expression,
        labelFontSize=11 if len(order.columns) <= 36 else 10, labelLineHeight=12, labelPadding=16,
        labelColor=palette.muted, labelOverlap=False if order.by_layer else "parity",
        minExtent=34, maxExtent=34, labelFlush=False,
    )  # fmt: skip
    return alt.X("head:N", sort=None, axis=axis,
                 scale=alt.Scale(domain=list(order.columns), paddingInner=0.05))  # fmt: skip


def _row_axis(order: MapOrder, labels: dict[str, str], palette: Palette) -> alt.Y:
    rows = [*order.rows]
    if order.random_rows:
        rows += [_SPACER, *order.random_rows]
    names = [labels.get(row, row) for row in rows]
    axis = alt.Axis(
        title=None, domain=False, ticks=False, labelColor=palette.ink, labelFontSize=11,
        labelFont="Source Code Pro, monospace", labelLimit=190, labelPadding=6, labelOverlap=False,
        labelFlush=False,
    )  # fmt: skip
    axis["labelColor"] = {
        "condition": {"test": {"field": "value", "equal": _SPACER}, "value": palette.muted},
        "value": palette.ink,
    }
    return alt.Y("row:N", sort=None, axis=axis,
                 scale=alt.Scale(domain=names, paddingInner=0.05))  # fmt: skip


def _colour(measure: str, limit: float, palette: Palette) -> alt.Color:
    common = {"orient": "bottom", "direction": "horizontal", "title": None, "gradientLength": 220,
              "gradientThickness": 10, "labelColor": palette.muted, "labelFontSize": 12,
              "offset": 10}  # fmt: skip
    if measure == "share":
        legend = alt.Legend(
            values=[0, 0.5, 1], labelExpr="round(datum.value * 100) + ' %'", **common
        )
        return alt.Color("share:Q", scale=amount_scale(1.0, palette), legend=legend)
    if measure == "score":
        words = "datum.value <= 0.5 ? '0.50 or less: guessing' : format(datum.value, '.2f')"
        legend = alt.Legend(values=[0.5, 0.75, 1], labelExpr=words, **common)
        scale = alt.Scale(
            domain=[0.5, 1], range=list(palette.amounts[1:]), interpolate="lab", clamp=True
        )
        return alt.Color("score:Q", scale=scale, legend=legend)
    less, more = ("gained", "lost") if measure == "effect" else ("lowers", "raises")
    ends = (
        "datum.value == 0 ? '0' : "
        f"format(datum.value, '+.2~f') + (datum.value > 0 ? ' {more}' : ' {less}')"
    )
    legend = alt.Legend(values=[-limit, 0, limit], labelExpr=ends, **common)
    return alt.Color(f"{measure}:Q", scale=signed_scale(limit, palette), legend=legend)


def map_heatmap(
    pairs: pd.DataFrame,
    *,
    order: MapOrder,
    labels: dict[str, str],
    measure: str,
    limit: float,
    palette: Palette,
    neuron: str | None = None,
    head: str | None = None,
) -> alt.LayerChart:
    """Cells coloured by `measure`: `share` (0 to 1), `contribution` (mean, signed, to ±`limit`),
    `score` (0.5 to 1) or `effect` (pre-activation lost on removal, signed, to ±`limit`).

    `pairs` has `neuron head share contribution n_active n_prompts shown studied` for each pair that
    can be, and `score effect shown_score shown_effect` where the run has them; a pair without the
    measure is a pale cell, a pair that cannot be a dot. `labels` names each neuron with its token.
    `neuron` and `head` are outlined.
    """
    rows = [*order.rows, *order.random_rows]
    drawn = pairs.loc[pairs["neuron"].isin(rows) & pairs["head"].isin(order.columns)]
    drawn = drawn.assign(
        row=drawn["neuron"].map(labels),
        active=[f"{a} of {n}" for a, n in zip(drawn["n_active"], drawn["n_prompts"], strict=True)],
        is_studied=["yes" if studied else "no" for studied in drawn["studied"]],
    ).reindex(columns=_COLUMNS)
    x, y = _column_axis(order, palette), _row_axis(order, labels, palette)
    tooltip = [
        alt.Tooltip("row:N", title="Neuron"),
        alt.Tooltip("head:N", title="Head"),
        alt.Tooltip("share:Q", title="Share active", format=".0%"),
        alt.Tooltip("active:N", title="Prompts active"),
        alt.Tooltip("shown:N", title="Mean contribution"),
        alt.Tooltip("is_studied:N", title="Studied"),
        alt.Tooltip("shown_score:N", title="Score of its explanation"),
        alt.Tooltip("shown_effect:N", title="Median lost when removed"),
    ]
    colour: Any = _colour(measure, limit, palette)
    if measure in ("score", "effect"):
        colour = alt.condition(f"isValid(datum['{measure}'])", colour, alt.value(palette.panel))
    cells = (
        alt.Chart(drawn)
        .mark_rect(cursor="pointer")
        .encode(**channels(x=x, y=y, color=colour, tooltip=tooltip))
        .add_params(alt.selection_point(name=PICK, fields=["neuron", "head"], on="click"))
    )
    there = set(zip(drawn["neuron"], drawn["head"], strict=True))
    missing = [(r, h) for r in rows for h in order.columns if (r, h) not in there]
    layers: list[alt.Chart] = [cells]
    if missing:
        dots = pd.DataFrame(
            {"row": [labels[r] for r, _ in missing], "head": [h for _, h in missing]}
        )
        layers.append(
            alt.Chart(dots)
            .mark_point(filled=True, size=4, color=palette.muted, opacity=0.6)
            .encode(**channels(x="head:N", y="row:N"))
        )
    if neuron in rows and head in order.columns:
        layers += cell_outline("row:N", labels[str(neuron)], str(head), palette)
    drawn_layers = cast(alt.LayerChart, alt.layer(*layers))
    return drawn_layers.properties(
        height=alt.Step(_ROW),
        description=f"Heatmap of {len(rows)} neurons by {len(order.columns)} heads, {len(drawn)} "
        f"pairs that can be, {len(missing)} that cannot.",
    )
