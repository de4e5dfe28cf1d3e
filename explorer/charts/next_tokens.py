"""What the model expects next: the most probable tokens, the neuron's own one marked.

The specification does not depend on the rows' values (see `truncation`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import altair as alt
import pandas as pd

from explorer.charts.channels import channels
from explorer.charts.style import Palette
from explorer.core.types import visible

ROW_HEIGHT = 22
_LABEL_WIDTH = 104
_COLUMNS = ("role", "order", "label", "probability", "words", "words_at", "before",
            "words_before")  # fmt: skip
_WORDS_SHARE = 0.2
"""The part of the axis that the words after a bar may take."""


@dataclass(frozen=True)
class NextRow:
    """A token that may come next: its text, probability (0 to 1) and rank (1 is most probable)."""

    text: str
    probability: float
    rank: int
    token_id: int | None = None
    before: float | None = None
    """Its probability before heads were switched off; None where none is."""


def percent(probability: float) -> str:
    """A probability for reading: `21.7 %`, and `< 0.1 %` for what rounds to nothing."""
    if 0 < probability < 0.0005:
        return "< 0.1 %"
    return f"{100 * probability:.1f} %"


def span_of(rows: Sequence[NextRow]) -> float:
    """How far an axis must reach for these bars and the words after them."""
    return max(0.01, *(max(row.probability, row.before or 0.0) for row in rows)) * 1.45


def next_token_rows(
    best: Sequence[NextRow], target: NextRow, prompt: str, *, span: float | None = None
) -> pd.DataFrame:
    """One token a row: `role order label probability words before`; role `target` for the neuron's.

    The neuron's token is appended with its rank where it is not among the best. `span` is where the
    axis ends, by default as far as the words after the longest bar need.
    """
    rows: list[dict[str, Any]] = []
    ranked = list(best)
    among = any(row.rank == target.rank and row.text == target.text for row in ranked)
    for order, row in enumerate(ranked if among else [*ranked, target]):
        is_target = row.rank == target.rank and row.text == target.text
        words = percent(row.probability)
        if is_target and not among:
            words += f"  rank {row.rank:,}"
        rows.append(
            {"role": "target" if is_target else "other", "order": order,
             "label": visible(row.text) or "(no text)", "probability": row.probability, "words": words,
             "before": row.before, "words_before": "" if row.before is None else percent(row.before)}
        )  # fmt: skip
    span = span or span_of([*ranked, target])
    for row in rows:
        # Words stand after the bar, or after the mark of the old value where that is just behind it.
        old = row["before"] or 0.0
        is_near = 0 < old - row["probability"] < _WORDS_SHARE * span
        row["words_at"] = old if is_near else row["probability"]
    shown = f"Shown for the prompt: {prompt}"
    rows.append({"role": "room", "order": 0, "probability": span, "words": shown})
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def next_token_figure(
    rows: pd.DataFrame,
    *,
    palette: Palette,
    n_rows: int,
    compared: bool = False,
    description: str = "The most probable next tokens and their probabilities.",
) -> alt.LayerChart:
    """The bars of `next_token_rows`; probability across, most probable first.

    `n_rows` is how many bars there is room for: more than there are keeps the height still.
    `compared` marks each token's probability before heads were switched off.
    """
    base = alt.Chart(rows).encode(
        **channels(
            x=alt.X("probability:Q", axis=None, scale=alt.Scale(zero=True, nice=False)),
            y=alt.Y(
                "order:O",
                axis=None,
                scale=alt.Scale(domain=list(range(n_rows)), paddingInner=0.3, paddingOuter=0.1),
            ),
        )
    )
    tooltip = [alt.Tooltip("label:N", title="Token"), alt.Tooltip("words:N", title="P(token)")]
    if compared:
        tooltip.append(alt.Tooltip("words_before:N", title="Before"))
    layers: list[alt.Chart] = []
    looks: tuple[tuple[str, str, Any], ...] = (
        ("other", palette.teal_soft, 400),
        ("target", palette.teal, 700),
    )
    for role, colour, weight in looks:
        of = base.transform_filter(f"datum.role == '{role}'")
        layers += [
            of.mark_bar(color=colour).encode(**channels(tooltip=tooltip)),
            of.mark_text(
                align="right", dx=-8, font="Source Code Pro, monospace", fontSize=13,
                fontWeight=weight, limit=_LABEL_WIDTH - 8, color=palette.ink,
            ).encode(**channels(x=alt.value(0), text="label:N")),
            of.mark_text(align="left", dx=7, fontSize=12.5, color=palette.ink).encode(**channels(
                x=alt.X("words_at:Q", axis=None), text="words:N"
            )),
        ]  # fmt: skip
    if compared:
        old = base.transform_filter("isValid(datum.before)").mark_tick(
            color=palette.ink, thickness=2, size=ROW_HEIGHT - 6
        )
        layers.append(old.encode(**channels(x=alt.X("before:Q", axis=None), tooltip=tooltip)))
    room = base.transform_filter("datum.role == 'room'")
    layers.append(room.mark_point(opacity=0, size=1))
    # Invisible, as wide as labels may be: without it every new token would move the plot.
    wide = room.mark_rule(opacity=0).encode(
        **channels(x=alt.value(-_LABEL_WIDTH), x2=alt.value(0), description="words:N")
    )
    layers.append(wide)
    drawn = alt.layer(*layers).properties(height=n_rows * ROW_HEIGHT, description=description)
    return cast(alt.LayerChart, drawn)
