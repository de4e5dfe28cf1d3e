"""Does an explanation hold: one dot a test prompt, the score as the mean of two shares, its nulls.

Everything is placed in pixels down the figure; across it one scale from 0 to 1 serves both the dots
(spread evenly) and the scores beneath them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import altair as alt
import pandas as pd

from explorer.charts.channels import channels
from explorer.charts.style import Palette, number

PICK = "pick"
"""Name of the selection: a list of `{prompt_id}`."""
CELLS = {
    "hit": (True, True),
    "missed": (True, False),
    "false alarm": (False, True),
    "left out": (False, False),
}
"""Cells of the confusion table: truly active, predicted active."""
_LEFT, _RIGHT = 196, 172
_PER_LINE = 24
_LINE, _GAP = 31, 6
_ROW = 23
_ROWS = ("Head active", "Head inactive")


@dataclass(frozen=True)
class Reference:
    """A score to hold beside others: where it stands, its interval if it has one, and in words."""

    name: str
    value: float
    shown: str
    """The number as it stands at the right."""
    meaning: str
    low: float | None = None
    high: float | None = None


def cell_of(active: bool, predicted: bool) -> str:
    """The name of the confusion table's cell that a prompt falls in."""
    return next(name for name, cell in CELLS.items() if cell == (active, predicted))


def dot_rows(verdicts: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    """The dots, their rows' labels, and the pixels that they take downwards.

    `verdicts` has `prompt_id rank active predicted text`. Dots go right ones first, then by rank,
    and fold into lines of 24. Labels have `y name counted rate share`.
    """
    rows = verdicts.assign(right=verdicts["active"] == verdicts["predicted"])
    rows["cell"] = [
        cell_of(bool(a), bool(p)) for a, p in zip(rows["active"], rows["predicted"], strict=True)
    ]
    n_most = max(rows["active"].tolist().count(truth) for truth in (True, False))
    per_line = max(10, min(_PER_LINE, n_most))
    top, labels, placed = 4, [], []
    for name, truth, rate in zip(_ROWS, (True, False), ("TPR", "TNR"), strict=True):
        mine = rows.loc[rows["active"] == truth]
        mine = mine.sort_values(by=["right", "rank"], ascending=[False, True], kind="stable")
        at = range(len(mine))
        n_right = mine["right"].tolist().count(True)
        n_lines = max(1, -(-len(mine) // per_line))
        placed.append(
            mine.assign(
                x=[(i % per_line + 0.5) / per_line for i in at],
                y=[top + _LINE * (i // per_line + 0.5) for i in at],
            )
        )
        counted = f"{n_right} of {len(mine)} right" if len(mine) else "no prompts"
        share = n_right / len(mine) if len(mine) else None
        labels.append(
            {"y": top + _LINE / 2, "name": name, "counted": counted,
             "rate": f"{rate} {number(share)}"}
        )  # fmt: skip
        top += n_lines * _LINE
    return pd.concat(placed, ignore_index=True), pd.DataFrame(labels), top


def _dots(
    dots: pd.DataFrame, x: alt.X, y: alt.Y, palette: Palette, selected: int | None
) -> list[alt.Chart]:
    base = alt.Chart(dots).encode(**channels(x=x, y=y))
    shade = alt.condition("datum.active", alt.value(palette.teal), alt.value(palette.teal_soft))
    wrong = base.transform_filter("!datum.right")
    tooltip = [
        alt.Tooltip("text:N", title="Prompt"),
        alt.Tooltip("cell:N", title="The explanation"),
    ]
    looks: dict[str, Any] = {"opacity": 1, "stroke": palette.ink, "strokeWidth": 1.5}
    layers = [
        base.transform_filter("datum.right")
        .mark_point(filled=True, size=260, opacity=1)
        .encode(**channels(color=shade)),
        wrong.mark_point(shape="circle", size=230, **looks),
        wrong.mark_point(shape="M-.5,-.5L.5,.5M.5,-.5L-.5,.5", size=170, **looks),
    ]
    if selected is not None:
        ring = base.transform_filter(f"datum.prompt_id == {int(selected)}")
        layers.append(ring.mark_point(shape="circle", size=480, **looks))
    pick = alt.selection_point(name=PICK, fields=["prompt_id"], on="click", nearest=False)
    layers.append(
        base.mark_point(filled=True, size=560, opacity=0, cursor="pointer")
        .encode(**channels(tooltip=tooltip))
        .add_params(pick)
    )
    return layers


def _at_right(pixels: int) -> Any:
    return alt.value(alt.ExprRef(f"width - {pixels}"))


def _row_texts(labels: pd.DataFrame, y: alt.Y, palette: Palette) -> list[alt.Chart]:
    base = alt.Chart(labels).encode(**channels(y=y))
    plain: dict[str, Any] = {"align": "left", "baseline": "middle"}
    return [
        base.mark_text(fontSize=13.5, color=palette.ink, **plain).encode(
            **channels(x=alt.value(0), text="name:N")
        ),
        base.mark_text(fontSize=12, color=palette.muted, **plain).encode(
            **channels(x=alt.value(108), text="counted:N")
        ),
        base.mark_text(fontSize=13, color=palette.ink, **plain).encode(
            **channels(x=_at_right(_RIGHT - 16), text="rate:N")
        ),
    ]


def _bracket(labels: pd.DataFrame, score: float, y: alt.Y, palette: Palette) -> list[alt.Chart]:
    """Both rates are joined by a bracket: the score is their mean."""
    first, last = labels["y"].tolist()
    arms = pd.DataFrame({"y": [first, last], "y2": [first, last]})
    spine = pd.DataFrame({"y": [first], "y2": [last]})
    middle = pd.DataFrame({"y": [(first + last) / 2], "mean": ["mean"], "score": [number(score)]})
    line: dict[str, Any] = {"color": palette.muted, "strokeWidth": 1}
    text = alt.Chart(middle).encode(**channels(x=_at_right(64), y=y))
    return [
        alt.Chart(arms)
        .mark_rule(**line)
        .encode(**channels(x=_at_right(84), x2=_at_right(74), y=y)),
        alt.Chart(spine).mark_rule(**line).encode(**channels(x=_at_right(74), y=y, y2="y2:Q")),
        text.mark_text(align="left", dy=-11, fontSize=12, color=palette.muted).encode(
            **channels(text="mean:N")
        ),
        text.mark_text(align="left", dy=7, fontSize=18, fontWeight=600, color=palette.ink).encode(
            **channels(text="score:N")
        ),
    ]


def _scores(
    references: Sequence[Reference], top: int, x: alt.X, y: alt.Y, palette: Palette
) -> list[alt.Chart]:
    """The score with its interval over what it must beat; the dashed line is guessing."""
    rows = pd.DataFrame([vars(r) for r in references]).assign(
        y=[top + _ROW * (i + 0.5) for i in range(len(references))],
        own=[i == 0 for i in range(len(references))],
    )
    rows[["low", "high"]] = rows[["low", "high"]].astype(float)
    base = alt.Chart(rows).encode(**channels(y=y))
    tooltip = [
        alt.Tooltip("name:N", title="Score of"),
        alt.Tooltip("shown:N", title="Value"),
        alt.Tooltip("meaning:N", title="What it is"),
    ]
    chance = pd.DataFrame({"x": [0.5], "y": [top - 4], "y2": [top + _ROW * len(references)]})
    line = alt.Chart(chance).encode(**channels(x=alt.X("x:Q")))
    words: dict[str, Any] = {"align": "left", "baseline": "middle", "fontSize": 12.5}
    fill = alt.condition("datum.own", alt.value(palette.teal), alt.value(palette.page))
    edge = alt.condition("datum.own", alt.value(palette.teal), alt.value(palette.muted))
    looks: tuple[tuple[str, dict[str, Any]], ...] = (
        ("datum.own", {"color": palette.ink, "fontWeight": 600}),
        ("!datum.own", {"color": palette.muted}),
    )
    ends = pd.DataFrame({"x": [0.0, 0.5, 1.0], "words": ["0", "chance 0.50", "1"]})
    foot = alt.Chart(ends).mark_text(baseline="top", fontSize=12, color=palette.muted)
    return [
        line.mark_rule(strokeDash=[3, 3], color=palette.muted).encode(**channels(y=y, y2="y2:Q")),
        foot.encode(**channels(x="x:Q", y=alt.value(top + _ROW * len(references) + 3), text="words:N")),
        base.mark_rule(strokeWidth=2, color=palette.teal).encode(**channels(x="low:Q", x2="high:Q")),
        base.mark_point(size=80, opacity=1, strokeWidth=1.5).encode(**channels(
            x=alt.X("value:Q"), fill=fill, stroke=edge, tooltip=tooltip
        )),
        *[
            base.transform_filter(which)
            .mark_text(**look, **words)
            .encode(**channels(x=place, text=f"{field}:N", tooltip=tooltip))
            for which, look in looks
            for field, place in (("name", alt.value(0)), ("shown", _at_right(_RIGHT - 16)))
        ],
    ]  # fmt: skip


def confusion_dots(
    verdicts: pd.DataFrame,
    *,
    score: float | None,
    references: Sequence[Reference] = (),
    selected: int | None = None,
    palette: Palette,
) -> alt.LayerChart:
    """One dot a test prompt (see `dot_rows`): filled where the explanation was right, crossed where
    it was wrong. `score` is None where a class is missing; `references` start with the score."""
    dots, labels, top = dot_rows(verdicts)
    below = top + 14
    height = below + _ROW * len(references) + 20 if references else top + 4
    x = alt.X(
        "x:Q", axis=None,
        scale=alt.Scale(domain=[0, 1], range=[_LEFT, alt.ExprRef(f"width - {_RIGHT}")]),
    )  # fmt: skip
    y = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[0, height], range=[0, height]))
    layers = [*_row_texts(labels, y, palette), *_dots(dots, x, y, palette, selected)]
    if score is not None:
        layers += _bracket(labels, score, y, palette)
    if references:
        layers += _scores(references, below, x, y, palette)
    n_right = dots["right"].tolist().count(True)
    words = f"The explanation was right about {n_right} of {len(dots)} test prompts"
    if score is not None:
        words += f"; score {number(score)}, chance 0.50"
    drawn = alt.layer(*layers).properties(height=height, description=words + ".")
    return cast(alt.LayerChart, drawn)
