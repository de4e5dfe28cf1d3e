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

from explorer.charts.channels import channels
from explorer.charts.style import Palette, number, signed, signed_scale
from explorer.core.types import HeadId

PICK = "pick"
"""Name of the chart's selection: every click so far gives `name` and `turn` of its cell."""
_DARK_FROM = 0.55
"""From this share of the scale on, a cell's dot takes the page's colour to stay visible."""
_CROSS = "M-0.6,-0.6L0.6,0.6M-0.6,0.6L0.6,-0.6"
"""A cross as a path, in units of the mark's size."""
_COLUMNS = ("role", "layer", "head", "value", "name", "words", "dot", "turn")


def _words(value: float, before: float, is_off: bool, is_active: bool, compared: bool) -> str:
    """A cell's value for reading; what it was before where heads are off."""
    if is_off:
        rest = "" if value == 0 else f"; what stands in for it adds {signed(value)}"
        return f"off, added {signed(before)} before{rest}"
    words = signed(value) + (", active" if is_active else "")
    return f"{words} ({signed(before)} before)" if compared else words


def heads_rows(
    heads: np.ndarray,
    *,
    n_reaching_layers: int,
    active: Collection[HeadId],
    limit: float,
    palette: Palette,
    prompt: str,
    off: Collection[HeadId] = (),
    before: np.ndarray | None = None,
    chosen: HeadId | None = None,
    turn: int = 0,
) -> pd.DataFrame:
    """One row a head: `role layer head value name words dot turn`, and one more for each mark on it.

    `heads` (layer head) are contributions in pre-activation units, positive raises. Heads of layers
    from `n_reaching_layers` on come after the neuron (role `far`). Marks: `active` is a dot, `off` a
    cross on a head that is switched off, which keeps the colour of its contribution `before`, and
    `chosen` an outline. `turn` tells a click from the same click before it.
    """
    rows: list[dict[str, Any]] = []
    n_layers, n_heads = heads.shape
    known = heads if before is None else before
    for layer in range(n_layers):
        for index in range(n_heads):
            head = HeadId(layer, index)
            place: dict[str, Any] = {
                "layer": layer,
                "head": index,
                "name": head.label,
                "turn": turn,
            }
            is_off, is_active = head in off, head in active and head not in off
            if layer >= n_reaching_layers:
                words = "comes after the neuron"
                rows.append({"role": "far", **place, "words": f"off, {words}" if is_off else words})
                dot = palette.ink
            else:
                value, old = float(heads[layer, index]), float(known[layer, index])
                place["words"] = _words(value, old, is_off, is_active, before is not None)
                place["value"] = old if is_off else value
                rows.append({"role": "cell", **place})
                dot = palette.page if abs(place["value"]) >= _DARK_FROM * limit else palette.ink
            if is_active:
                rows.append({"role": "active", **place, "dot": dot})
            if is_off:
                rows.append({"role": "off", **place, "dot": dot})
            if head == chosen:
                rows.append({"role": "chosen", **place})
    rows.append({"role": "shown", "layer": 0, "head": 0, "name": f"Shown for the prompt: {prompt}"})
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def _axis(title: str, n: int, step: float, palette: Palette, **more: Any) -> alt.Axis:
    every = next(k for k in (1, 2, 4, 8, 16) if step * k >= 13)
    return alt.Axis(
        title=title, values=list(range(0, n, every)), labelAngle=0, ticks=False, domain=False,
        grid=False, labelColor=palette.muted, titleColor=palette.muted, titleFontWeight="normal",
        labelFontSize=12, titleFontSize=12, titlePadding=4, labelPadding=5, **more,
    )  # fmt: skip


def _end(limit: float) -> str:
    return number(limit, 2 if limit < 0.1 else 1 if limit < 1 else 0)


def legend_html(limit: float, palette: Palette) -> str:
    """The signed scale as a bar of HTML with its ends named.

    A chart's own gradient is found by the page's address, and is lost when a click changes that.
    """
    end = _end(limit)
    return (
        f'<span class="nt-signed">−{end} lowers <i style="background:linear-gradient(to right,'
        f'{",".join(palette.signed)})"></i> raises +{end}</span>'
    )


def _legend(limit: float) -> alt.Legend:
    end = _end(limit)
    return alt.Legend(
        title=None, orient="bottom", direction="horizontal", gradientLength=150, gradientThickness=8,
        values=[-limit, limit], titleLimit=0, offset=6, labelFontSize=12, labelLimit=0,
        labelExpr=f"datum.value < 0 ? '−{end} lowers' : 'raises +{end}'",
    )  # fmt: skip


def cell_height(n_layers: int) -> int:
    """Pixels a layer's row takes: small for deep models, so that the figure stays on the screen."""
    return max(9, min(46, 340 // n_layers))


def heads_figure(
    rows: pd.DataFrame,
    *,
    n_layers: int,
    n_heads: int,
    limit: float,
    palette: Palette,
    clickable: bool = False,
    legend: bool = True,
    description: str = "Contribution of each head, layer down, head across.",
) -> alt.LayerChart:
    """The heatmap of `heads_rows`; colours run from −`limit` (lowers) to `limit` (raises).

    `clickable` gives it the selection `PICK`; without `legend` the page draws `legend_html`.
    """
    step = cell_height(n_layers)
    x = alt.X(
        "head:O", axis=_axis("head", n_heads, 340 / n_heads, palette, orient="top"),
        scale=alt.Scale(domain=list(range(n_heads)), paddingInner=0.05, paddingOuter=0),
    )  # fmt: skip
    y = alt.Y(
        "layer:O", axis=_axis("layer", n_layers, step, palette),
        scale=alt.Scale(domain=list(range(n_layers)), paddingInner=0.05, paddingOuter=0),
    )  # fmt: skip
    base = alt.Chart(rows).encode(**channels(x=x, y=y))
    tooltip = [alt.Tooltip("name:N", title="Head"), alt.Tooltip("words:N", title="Contribution")]
    outline: dict[str, Any] = {"filled": False, "stroke": palette.ink, "cornerRadius": 2}

    def of(*roles: str) -> alt.Chart:
        return base.transform_filter(alt.FieldOneOfPredicate(field="role", oneOf=list(roles)))

    colour = alt.Color(
        "value:Q", scale=signed_scale(limit, palette), legend=_legend(limit) if legend else None
    )
    # The last layer takes clicks and hovering for all that lies under it.
    touch = of("cell", "far").mark_rect(opacity=0, cursor="pointer" if clickable else "default")
    if clickable:
        touch = touch.add_params(
            # Clicks add up: of a state alone, two quick ones leave the server the later.
            alt.selection_point(
                name=PICK, fields=["name", "turn"], on="click", toggle="true", clear=False
            )
        )
    drawn = alt.layer(
        of("cell").mark_rect(cornerRadius=2).encode(**channels(color=colour)),
        of("far").mark_point(filled=True, size=6, opacity=1, color=palette.muted),
        of("chosen").mark_rect(strokeWidth=1.5, strokeDash=[3, 2], **outline),
        of("off").mark_rect(strokeWidth=2, **outline),
        of("active")
        .mark_point(filled=True, size=30, opacity=1)
        .encode(**channels(fill=alt.Fill("dot:N", scale=None))),
        of("off")
        .mark_point(shape=_CROSS, size=130, opacity=1, strokeWidth=2)
        .encode(**channels(stroke=alt.Stroke("dot:N", scale=None))),
        of("shown").mark_point(opacity=0, size=1).encode(**channels(description="name:N")),
        touch.encode(**channels(tooltip=tooltip)),
    )
    return cast(alt.LayerChart, drawn.properties(height=step * n_layers, description=description))


def unreachable_note(n_layers: int, n_reaching_layers: int) -> str:
    """Why the last layers are dots; empty where all layers reach the neuron."""
    if n_reaching_layers >= n_layers:
        return ""
    first, last = n_reaching_layers, n_layers - 1
    if first == last:
        return f"Layer {first} comes after the neuron: no effect on it."
    return f"Layers {first}–{last} come after the neuron: no effect on it."
