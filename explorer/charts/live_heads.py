"""What every head adds to one neuron's pre-activation in one prompt: layer down, head across.

The specification does not depend on the rows' values, so that a page that follows somebody typing
keeps it and swaps the rows; the colour scale is given, so that an edit never rescales it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, cast

import altair as alt
import numpy as np
import pandas as pd

from explorer.charts.style import Palette, number, signed, signed_scale
from explorer.core.types import HeadId

_DARK_FROM = 0.55
"""From this share of the scale on, a cell's dot takes the page's colour to stay visible."""


def heads_rows(
    heads: np.ndarray,
    *,
    n_reaching_layers: int,
    active: Collection[HeadId],
    limit: float,
    palette: Palette,
    prompt: str,
) -> pd.DataFrame:
    """One row a head: `role layer head value name words dot` (role `cell`, `active`, `far`).

    `heads` (layer head) are contributions in pre-activation units, positive raises. Heads of layers
    from `n_reaching_layers` on come after the neuron. An active head has a second row for its dot.
    """
    rows: list[dict[str, Any]] = []
    n_layers, n_heads = heads.shape
    for layer in range(n_layers):
        for index in range(n_heads):
            head = HeadId(layer, index)
            place = {"layer": layer, "head": index, "name": head.label}
            if layer >= n_reaching_layers:
                rows.append({"role": "far", **place, "words": "comes after the neuron"})
                continue
            value = float(heads[layer, index])
            is_active = head in active
            place |= {"value": value, "words": signed(value) + (", active" if is_active else "")}
            rows.append({"role": "cell", **place})
            if is_active:
                strong = abs(value) >= _DARK_FROM * limit
                dot = palette.page if strong else palette.ink
                rows.append({"role": "active", **place, "dot": dot})
    rows.append({"role": "shown", "layer": 0, "head": 0, "name": f"Shown for the prompt: {prompt}"})
    columns = ["role", "layer", "head", "value", "name", "words", "dot"]
    return pd.DataFrame(rows, columns=columns)


def _axis(title: str, n: int, step: float, palette: Palette, **more: Any) -> alt.Axis:
    every = next(k for k in (1, 2, 4, 8, 16) if step * k >= 13)
    return alt.Axis(
        title=title, values=list(range(0, n, every)), labelAngle=0, ticks=False, domain=False,
        grid=False, labelColor=palette.muted, titleColor=palette.muted, titleFontWeight="normal",
        labelFontSize=12, titleFontSize=12, titlePadding=4, labelPadding=5, **more,
    )  # fmt: skip


def _legend(limit: float) -> alt.Legend:
    end = number(limit, 2 if limit < 0.1 else 1 if limit < 1 else 0)
    return alt.Legend(
        title=None, orient="bottom", direction="horizontal", gradientLength=150, gradientThickness=8,
        values=[-limit, limit], titleLimit=0, offset=6, labelFontSize=12, labelLimit=0,
        labelExpr=f"datum.value < 0 ? '−{end} lowers' : 'raises +{end}'",
    )  # fmt: skip


def cell_height(n_layers: int) -> int:
    """Pixels a layer's row takes: small for deep models, so that the figure stays on the screen."""
    return max(9, min(38, 340 // n_layers))


def heads_figure(
    rows: pd.DataFrame,
    *,
    n_layers: int,
    n_heads: int,
    limit: float,
    palette: Palette,
    description: str = "Contribution of each head, layer down, head across.",
) -> alt.LayerChart:
    """The heatmap of `heads_rows`; colours run from −`limit` (lowers) to `limit` (raises)."""
    step = cell_height(n_layers)
    x = alt.X(
        "head:O", axis=_axis("head", n_heads, 340 / n_heads, palette, orient="top"),
        scale=alt.Scale(domain=list(range(n_heads)), paddingInner=0.05, paddingOuter=0),
    )  # fmt: skip
    y = alt.Y(
        "layer:O", axis=_axis("layer", n_layers, step, palette),
        scale=alt.Scale(domain=list(range(n_layers)), paddingInner=0.05, paddingOuter=0),
    )  # fmt: skip
    base = alt.Chart(rows).encode(x=x, y=y)
    tooltip = [alt.Tooltip("name:N", title="Head"), alt.Tooltip("words:N", title="Contribution")]

    def of(role: str) -> alt.Chart:
        return base.transform_filter(f"datum.role == '{role}'")

    colour = alt.Color("value:Q", scale=signed_scale(limit, palette), legend=_legend(limit))
    drawn = alt.layer(
        of("cell").mark_rect(cornerRadius=2).encode(color=colour, tooltip=tooltip),
        of("active").mark_point(filled=True, size=30, opacity=1).encode(
            fill=alt.Fill("dot:N", scale=None), tooltip=tooltip
        ),
        of("far").mark_point(filled=True, size=6, opacity=1, color=palette.muted).encode(
            tooltip=tooltip
        ),
        of("shown").mark_point(opacity=0, size=1).encode(description="name:N"),
    )  # fmt: skip
    return cast(alt.LayerChart, drawn.properties(height=step * n_layers, description=description))


def unreachable_note(n_layers: int, n_reaching_layers: int) -> str:
    """Why the last layers are dots; empty where all layers reach the neuron."""
    if n_reaching_layers >= n_layers:
        return ""
    first, last = n_reaching_layers, n_layers - 1
    if first == last:
        return f"Layer {first} comes after the neuron: no effect on it."
    return f"Layers {first}–{last} come after the neuron: no effect on it."
