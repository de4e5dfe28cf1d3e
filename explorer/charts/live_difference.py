"""What comes next after one prompt and not after another: the change of each next token.

The specification does not depend on the rows' values (see `truncation`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import altair as alt
import pandas as pd

from explorer.charts.channels import channels
from explorer.charts.next_tokens import ROW_HEIGHT, percent
from explorer.charts.style import Palette, signed
from explorer.core.types import visible

_LABEL_WIDTH = 104
_LEAST_ROOM = 0.01
"""The axis is at least this wide on both sides, in probability."""


@dataclass(frozen=True)
class TokenChange:
    """A next token and its probability (0 to 1) after prompt A and after prompt B."""

    text: str
    a: float
    b: float
    is_target: bool
    """Whether it is the neuron's own token."""


def points(change: float) -> str:
    """A change of probability in percentage points: `+16.5 points`."""
    return f"{signed(100 * change, 1)} points"


def change_span(changes: Sequence[TokenChange]) -> float:
    """How far an axis must reach for these changes and the words after them, in probability."""
    values = [0.0, *(token.b - token.a for token in changes)]
    return max(_LEAST_ROOM, max(values) - min(values)) * 1.6


def change_rows(
    changes: Sequence[TokenChange], prompt: str, *, span: float | None = None
) -> pd.DataFrame:
    """One token a row: `role order label change words words_at detail weight`; role `raises` or
    `lowers`, B − A. `span` is how far the axis reaches, that of the prompts' own bars beside it."""
    rows: list[dict[str, Any]] = []
    for order, token in enumerate(changes):
        change = token.b - token.a
        rows.append(
            {"role": "raises" if change >= 0 else "lowers", "order": order,
             "label": visible(token.text) or "(no text)", "change": change, "words": points(change),
             "detail": f"A {percent(token.a)}, B {percent(token.b)}", "weight": token.is_target,
             "words_at": max(0.0, change)}
        )  # fmt: skip
    low = min([0.0, *(row["change"] for row in rows)])
    ends = (low, low + (span or change_span(changes)))
    shown = f"Shown for the prompt: {prompt}"
    rows += [{"role": "room", "order": 0, "change": end, "words": shown} for end in ends]
    columns = ["role", "order", "label", "change", "words", "words_at", "detail", "weight"]
    return pd.DataFrame(rows, columns=columns)


def change_figure(
    rows: pd.DataFrame,
    *,
    palette: Palette,
    n_rows: int,
    description: str = "Change of the next tokens' probabilities from prompt A to prompt B.",
) -> alt.LayerChart:
    """The bars of `change_rows`: to the right where B makes the token more probable."""
    base = alt.Chart(rows).encode(
        **channels(
            x=alt.X("change:Q", axis=None, scale=alt.Scale(nice=False)),
            y=alt.Y(
                "order:O",
                axis=None,
                scale=alt.Scale(domain=list(range(n_rows)), paddingInner=0.3, paddingOuter=0.1),
            ),
        )
    )
    tooltip = [
        alt.Tooltip("label:N", title="Token"),
        alt.Tooltip("words:N", title="B − A"),
        alt.Tooltip("detail:N", title="P(token)"),
    ]
    layers: list[alt.Chart] = []
    for role, colour in (("raises", palette.raises), ("lowers", palette.lowers)):
        of = base.transform_filter(f"datum.role == '{role}'")
        layers.append(
            of.mark_bar(color=colour).encode(**channels(x2=alt.datum(0), tooltip=tooltip))
        )
    tokens = "datum.role != 'room'"
    looks: tuple[tuple[str, Any], ...] = (
        (f"{tokens} && !datum.weight", 400),
        (f"{tokens} && datum.weight", 700),
    )
    for test, weight in looks:
        of = base.transform_filter(test)
        layers += [
            of.mark_text(
                align="right", dx=-8, font="Source Code Pro, monospace", fontSize=13,
                fontWeight=weight, limit=_LABEL_WIDTH - 8, color=palette.ink,
            ).encode(**channels(x=alt.value(0), text="label:N")),
            of.mark_text(align="left", dx=7, fontSize=12.5, color=palette.ink).encode(**channels(
                x=alt.X("words_at:Q", axis=None), text="words:N"
            )),
        ]  # fmt: skip
    room = base.transform_filter("datum.role == 'room'")
    layers += [
        room.mark_rule(color=palette.muted).encode(
            **channels(
                x=alt.XDatum(0, axis=None),
                y=alt.value(0),
                y2=alt.value("height"),
                description="words:N",
            )
        ),
        # Invisible, as wide as labels may be: without it every new token would move the plot.
        room.mark_rule(opacity=0).encode(**channels(x=alt.value(-_LABEL_WIDTH), x2=alt.value(0))),
        room.mark_point(opacity=0, size=1),
    ]
    drawn = alt.layer(*layers).properties(height=n_rows * ROW_HEIGHT, description=description)
    return cast(alt.LayerChart, drawn)
