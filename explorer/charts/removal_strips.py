"""What removing a head changes, one mark a prompt: where the head is active, and where it is not."""

from __future__ import annotations

from typing import Any, cast

import altair as alt
import pandas as pd

from explorer.charts.channels import channels
from explorer.charts.style import Palette, signed

PICK = "pick"
"""Name of the selection: a list of `{prompt_id}`."""
_LEFT, _RIGHT = 96, 26
_LANE = 112
_WORDS = 24
"""Room above each row's marks for the words of its median."""
_GOLDEN = 0.6180339887498949
"""Steps of this share of a lane keep neighbours in value apart, without any randomness."""


def removal_rows(removed: pd.DataFrame, digits: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The marks with their place down the figure, and one label a row.

    `removed` has `prompt_id split rank value active text`, `value` removed minus clean. Labels have
    `y name counted median words top bottom`; a row without prompts has no median.
    """
    marks, labels = [], []
    for at, (name, truth) in enumerate((("Active", True), ("Inactive", False))):
        middle = _LANE * at + (_WORDS + _LANE) / 2
        mine = removed.loc[removed["active"] == truth].sort_values(by="value", kind="stable")
        spread = 0.46 * _LANE
        marks.append(
            mine.assign(
                y=[middle + ((i * _GOLDEN) % 1 - 0.5) * spread for i in range(len(mine))],
                sign=["lowers" if v < 0 else "raises" for v in mine["value"]],
                shown=[signed(float(v), digits) for v in mine["value"]],
            )
        )
        median = float(mine["value"].median()) if len(mine) else None
        labels.append(
            {"y": middle, "name": name, "counted": f"{len(mine)} prompt{'' if len(mine) == 1 else 's'}",
             "median": median, "top": middle - 0.32 * _LANE, "bottom": middle + 0.32 * _LANE,
             "words": "" if median is None else f"median {signed(median, digits)}"}
        )  # fmt: skip
    return pd.concat(marks, ignore_index=True), pd.DataFrame(labels)


def _domain(values: list[float]) -> list[float]:
    """From the least to the largest change, 0 included, with room at both ends."""
    low, high = min(0.0, *values), max(0.0, *values)
    room = 0.08 * ((high - low) or 1.0)
    return [low - room, high + room]


def _marks(
    marks: pd.DataFrame, x: alt.X, y: alt.Y, palette: Palette, selected: int | None, unit: str
) -> list[alt.Chart]:
    base = alt.Chart(marks).encode(**channels(x=x, y=y))
    colour = alt.condition(
        "datum.sign == 'lowers'", alt.value(palette.lowers), alt.value(palette.raises)
    )
    tooltip = [
        alt.Tooltip("text:N", title="Prompt"),
        alt.Tooltip("split:N", title="Split"),
        alt.Tooltip("shown:N", title=f"Removed minus clean, {unit}"),
    ]
    layers = [
        base.transform_filter("datum.active")
        .mark_point(filled=True, size=95, opacity=0.9)
        .encode(**channels(color=colour)),
        base.transform_filter("!datum.active")
        .mark_point(size=85, strokeWidth=1.6, opacity=0.9)
        .encode(**channels(stroke=colour)),
    ]
    if selected is not None:
        ring = base.transform_filter(f"datum.prompt_id == {int(selected)}")
        layers.append(
            ring.mark_point(size=260, opacity=1, stroke=palette.ink, strokeWidth=2, filled=False)
        )
    layers.append(
        base.mark_point(filled=True, size=280, opacity=0, cursor="pointer")
        .encode(**channels(tooltip=tooltip))
        .add_params(alt.selection_point(name=PICK, fields=["prompt_id"], on="click"))
    )
    return layers


def _texts(labels: pd.DataFrame, x: alt.X, y: alt.Y, palette: Palette) -> list[alt.Chart]:
    base = alt.Chart(labels).encode(**channels(y=y))
    plain: dict[str, Any] = {"align": "left", "baseline": "middle"}
    looks: tuple[dict[str, Any], ...] = (
        {"stroke": palette.page, "strokeWidth": 5},
        {"color": palette.ink},
    )
    medians = alt.Chart(labels.dropna(subset=["median"]))
    return [
        base.mark_text(fontSize=13.5, color=palette.ink, dy=-9, **plain).encode(
            **channels(x=alt.value(0), text="name:N")
        ),
        base.mark_text(fontSize=12, color=palette.muted, dy=9, **plain).encode(
            **channels(x=alt.value(0), text="counted:N")
        ),
        medians.mark_rule(color=palette.ink, strokeWidth=2).encode(
            **channels(x=alt.X("median:Q"), y=alt.Y("top:Q", axis=None), y2="bottom:Q")
        ),
        *[
            medians.mark_text(
                fontSize=12.5, fontWeight=600, baseline="bottom", dy=-3, **look
            ).encode(**channels(x=alt.X("median:Q"), y=alt.Y("top:Q", axis=None), text="words:N"))
            # Under the words their own outline in the page's colour: the zero line must not cross them.
            for look in looks
        ],
    ]


def removal_strips(
    removed: pd.DataFrame,
    *,
    quantity: str,
    digits: int,
    selected: int | None = None,
    palette: Palette,
) -> alt.LayerChart:
    """The change of `quantity` in each prompt when the head is removed (see `removal_rows`).

    Blue: the removal lowers it; orange: it raises it. Filled: the head is active in the prompt. The
    bar of each row is its median.
    """
    marks, labels = removal_rows(removed, digits)
    height = 2 * _LANE + 4
    axis = alt.Axis(
        title=None, tickCount=5, ticks=False, domain=False, labelColor=palette.muted, labelPadding=6,
        labelFontSize=12, labelFlush=False,
        labelExpr="datum.value > 0 ? '+' + datum.label : datum.label",
        gridColor=palette.border,
    )  # fmt: skip
    scale = alt.Scale(
        domain=_domain(marks["value"].astype(float).tolist()),
        range=[_LEFT, alt.ExprRef(f"width - {_RIGHT}")],
        nice=False,
    )
    x = alt.X("value:Q", axis=axis, scale=scale)
    y = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[0, height], range=[0, height]))
    between = alt.Chart(pd.DataFrame({"y": [float(_LANE)]})).mark_rule(color=palette.border)
    zero = alt.Chart(pd.DataFrame({"value": [0.0]})).mark_rule(color=palette.muted)
    ends = pd.DataFrame({"y": [height]})
    foot: dict[str, Any] = {"baseline": "top", "dy": 35, "fontSize": 12, "color": palette.muted}
    layers = [
        between.encode(**channels(x=alt.value(_LEFT), x2=alt.value("width"), y=y)),
        zero.encode(**channels(x=x)),
        *_marks(marks, x, y, palette, selected, quantity),
        *_texts(labels, x, y, palette),
        alt.Chart(ends)
        .mark_text(align="left", text="← the removal lowers it", **foot)
        .encode(**channels(x=alt.value(_LEFT), y=y)),
        alt.Chart(ends)
        .mark_text(align="right", text="raises it →", **foot)
        .encode(**channels(x=alt.value("width"), y=y)),
    ]
    medians = "; ".join(
        f"{row['name'].lower()}, {row['counted']}" + (f": {row['words']}" if row["words"] else "")
        for row in labels.to_dict("records")
    )
    words = f"Change of the {quantity} when the head is removed; {medians}."
    return cast(alt.LayerChart, alt.layer(*layers).properties(height=height, description=words))
