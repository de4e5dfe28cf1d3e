"""What a head adds directly against what the model loses without it, for one prompt.

The specification does not depend on the rows' values (see `truncation`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import altair as alt
import pandas as pd

from explorer.charts.channels import channels
from explorer.charts.style import Palette, signed
from explorer.core.types import HeadId

_N_NAMED = 5
"""The heads that lie furthest out carry their names."""


@dataclass(frozen=True)
class HeadEffect:
    """One head: direct contribution, and causal effect (all heads on less this one off), both in
    pre-activation units. Positive: the head raises the neuron."""

    head: HeadId
    direct: float
    causal: float
    active: bool

    @property
    def agrees(self) -> bool:
        """Whether both have one sign."""
        return self.direct * self.causal >= 0


def effect_rows(effects: Sequence[HeadEffect], prompt: str) -> pd.DataFrame:
    """One head a row: `role name direct causal words`; role `active`, `other` or `against` (signs
    differ). Roles `line` and `name` hold the diagonal's ends and the named heads."""
    rows: list[dict[str, Any]] = []
    for effect in effects:
        role = "against" if not effect.agrees else "active" if effect.active else "other"
        words = f"direct {signed(effect.direct)}, without it {signed(-effect.causal)}"
        words += ", active" if effect.active else ""
        rows.append({"role": role, "name": effect.head.label, "direct": effect.direct,
                     "causal": effect.causal, "words": words})  # fmt: skip
    furthest = sorted(rows, key=lambda row: -max(abs(row["direct"]), abs(row["causal"])))
    rows += [row | {"role": "name"} for row in furthest[:_N_NAMED]]
    values = [0.0, *(row[axis] for row in rows for axis in ("direct", "causal"))]
    rows += [
        {"role": "line", "direct": end, "causal": end, "words": f"Shown for the prompt: {prompt}"}
        for end in (min(values), max(values))
    ]
    return pd.DataFrame(rows, columns=["role", "name", "direct", "causal", "words"])


def _axis(title: str, palette: Palette) -> alt.Axis:
    at_zero = "datum.value == 0"
    return alt.Axis(
        title=title, ticks=False, domain=False, tickCount=5, labelFontSize=12, titleFontSize=12,
        labelColor=palette.muted, titleColor=palette.muted, titleFontWeight="normal",
        gridColor={"condition": {"test": at_zero, "value": palette.muted}, "value": palette.border},
        gridOpacity={"condition": {"test": at_zero, "value": 1}, "value": 0.6},
    )  # fmt: skip


def effects_figure(
    rows: pd.DataFrame,
    *,
    palette: Palette,
    height: int = 300,
    description: str = "Direct contribution of each head against the effect of removing it.",
) -> alt.LayerChart:
    """The scatter of `effect_rows`, y = x dashed; filled teal is active, hollow has two signs."""
    scale = alt.Scale(nice=False, zero=True, padding=14)
    base = alt.Chart(rows).encode(
        **channels(
            x=alt.X("direct:Q", scale=scale, axis=_axis("contribution, direct", palette)),
            y=alt.Y("causal:Q", scale=scale, axis=_axis("lost without the head", palette)),
        )
    )
    tooltip = [alt.Tooltip("name:N", title="Head"), alt.Tooltip("words:N", title="Effect")]

    def of(role: str) -> alt.Chart:
        return base.transform_filter(f"datum.role == '{role}'")

    dot: dict[str, Any] = {"size": 62, "opacity": 1, "strokeWidth": 1.6}
    drawn = alt.layer(
        of("line").mark_line(strokeDash=[5, 3], color=palette.muted, strokeWidth=1).encode(**channels(
            description="words:N"
        )),
        of("other").mark_point(filled=True, fill=palette.muted, **dot).encode(**channels(tooltip=tooltip)),
        of("active").mark_point(filled=True, fill=palette.teal, **dot).encode(**channels(tooltip=tooltip)),
        of("against").mark_point(fill=palette.page, stroke=palette.ink, **dot).encode(**channels(
            tooltip=tooltip
        )),
        of("name").mark_text(
            align="left", dx=8, dy=-6, fontSize=12, color=palette.ink,
            font="Source Code Pro, monospace",
        ).encode(**channels(text="name:N")),
    )  # fmt: skip
    return cast(alt.LayerChart, drawn.properties(height=height, description=description))
