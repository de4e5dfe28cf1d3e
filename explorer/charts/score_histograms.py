"""Distributions of compared runs, one above the other: filled bars, with another set as an outline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import altair as alt
import pandas as pd

from explorer.charts.channels import channels
from explorer.charts.run_marks import GLYPHS
from explorer.charts.style import Palette, number

_TALLEST = 0.68
"""Share of a row's height that the tallest bar of all takes."""
_MEAN_AT, _OTHERS_AT = -0.085, -0.2
"""Where the mean of the bars and the other means stand, below a row's bars, in heights of a row."""
_SHAPES = {
    "mean": "triangle-up",
    "random": "triangle-up",
    "other-head": "diamond",
    "shuffle": "cross",
}
_MARK_WORDS = {
    "mean": "mean", "random": "mean, random neurons", "other-head": "mean, other head's verdicts",
    "shuffle": "mean, shuffled activity",
}  # fmt: skip


@dataclass(frozen=True)
class Ridge:
    """One run's row: what stands left and right of it, its bins and its marks."""

    name: str
    note: str
    """Below the name: how much there is."""
    shares: tuple[float, ...]
    """Of the filled set, by bin; empty where there is nothing."""
    counts: tuple[int, ...]
    outline_shares: tuple[float, ...]
    """Of the outlined set, by bin; empty where there is none."""
    outline_counts: tuple[int, ...]
    marks: tuple[tuple[str, float, float | None, float | None], ...]
    """`mean`, `random`, `other-head` or `shuffle`; its value, and its interval if there is one."""
    right: tuple[str, str]
    """The row's number, and a second one below it."""


@dataclass(frozen=True)
class RidgeScale:
    """What the rows share."""

    edges: tuple[float, ...]
    reference: float
    reference_word: str
    strong_from: float | None
    """Bins from here on are filled darker."""
    title: str
    unit: str
    """What is counted: pairs, prompts."""


def _bars(ridges: list[Ridge], scale: RidgeScale, top: float) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for place, ridge in enumerate(ridges):
        base = len(ridges) - 1 - place
        for i, share in enumerate(ridge.shares):
            low, high = scale.edges[i], scale.edges[i + 1]
            gap = 0.04 * (high - low)
            outline = "–"
            if ridge.outline_shares:
                outline = f"{ridge.outline_counts[i]} ({100 * ridge.outline_shares[i]:.0f} %)"
            rows.append(
                {"x": low + gap, "x2": high - gap, "y": base, "y2": base + _TALLEST * share / top,
                 "run": ridge.name, "bin": f"{number(low)} to {number(high)}",
                 "held": f"{ridge.counts[i]} {scale.unit} ({100 * share:.0f} %)", "outline": outline,
                 "strong": scale.strong_from is not None and low >= scale.strong_from - 1e-9}
            )  # fmt: skip
    columns = ["x", "x2", "y", "y2", "run", "bin", "held", "outline", "strong"]
    return pd.DataFrame(rows, columns=columns)


def _outlines(ridges: list[Ridge], scale: RidgeScale, top: float) -> pd.DataFrame:
    rows: list[tuple[float, float, int, int]] = []
    for place, ridge in enumerate(ridges):
        base = float(len(ridges) - 1 - place)
        if not ridge.outline_shares:
            continue
        path = [(scale.edges[0], base)]
        for i, share in enumerate(ridge.outline_shares):
            height = base + _TALLEST * share / top
            path += [(scale.edges[i], height), (scale.edges[i + 1], height)]
        path.append((scale.edges[-1], base))
        rows += [(x, y, place, order) for order, (x, y) in enumerate(path)]
    return pd.DataFrame(rows, columns=["x", "y", "place", "order"])


def _marks(ridges: list[Ridge]) -> pd.DataFrame:
    rows = [
        {"x": value, "low": low, "high": high, "what": what,
         "y": len(ridges) - 1 - place + (_MEAN_AT if what == "mean" else _OTHERS_AT),
         "run": ridge.name, "word": _MARK_WORDS[what], "shown": number(value)}
        for place, ridge in enumerate(ridges)
        for what, value, low, high in ridge.marks
    ]  # fmt: skip
    columns = ["x", "low", "high", "y", "what", "run", "word", "shown"]
    return pd.DataFrame(rows, columns=columns)


def _labels(ridges: list[Ridge]) -> pd.DataFrame:
    rows = []
    for place, ridge in enumerate(ridges):
        y = len(ridges) - 1 - place + 0.28
        rows.append(
            {"y": y, "name": f"{GLYPHS[place]} {ridge.name}", "note": ridge.note, "place": place,
             "right": ridge.right[0], "second": ridge.right[1]}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _texts(labels: pd.DataFrame, y: alt.Y, palette: Palette) -> list[alt.Chart]:
    base = alt.Chart(labels).encode(**channels(y=y))
    colour = alt.Color(
        "place:O", legend=None,
        scale=alt.Scale(domain=list(range(len(labels))), range=list(palette.runs[: len(labels)])),
    )  # fmt: skip
    left, right = alt.XValue(-14), alt.XValue("width")
    small: dict[str, Any] = {"fontSize": 12, "color": palette.muted, "dy": 10}
    beside: dict[str, Any] = {"align": "left", "dx": 12}
    return [
        base.mark_text(align="right", fontSize=13, fontWeight=600, dy=-8, limit=165).encode(
            **channels(x=left, text="name:N", color=colour)
        ),
        base.mark_text(align="right", limit=165, **small).encode(**channels(x=left, text="note:N")),
        base.mark_text(fontSize=13, fontWeight=600, dy=-8, color=palette.ink, **beside).encode(
            **channels(x=right, text="right:N")
        ),
        base.mark_text(**small, **beside).encode(**channels(x=right, text="second:N")),
    ]


def _reference(scale: RidgeScale, n_rows: int, y: alt.Y, palette: Palette) -> list[alt.Chart]:
    at = pd.DataFrame(
        {"x": [scale.reference], "y": [float(n_rows)], "word": [scale.reference_word]}
    )
    line = (
        alt.Chart(at).mark_rule(strokeDash=[2, 3], color=palette.muted).encode(**channels(x="x:Q"))
    )
    word = alt.Chart(at).mark_text(
        align="right", dx=-5, dy=-1, baseline="top", fontSize=12, color=palette.muted
    )
    return [line, word.encode(**channels(x="x:Q", y=y, text="word:N"))]


def score_histograms(
    ridges: tuple[Ridge, ...], *, scale: RidgeScale, palette: Palette
) -> alt.LayerChart:
    """One row a run. Bars are shares of the run's own total, on one scale for all rows, outlines
    included; below them the means: filled triangle of the bars (with its interval), hollow triangle
    of the outline, diamond and cross of the nulls."""
    rows = list(ridges)
    top = max((s for r in rows for s in (*r.shares, *r.outline_shares)), default=0.0) or 1.0
    bars, outlines, marks = _bars(rows, scale, top), _outlines(rows, scale, top), _marks(rows)
    x = alt.X(
        "x:Q", title=scale.title,
        scale=alt.Scale(domain=[scale.edges[0], scale.edges[-1]], nice=False),
        axis=alt.Axis(values=sorted({0, 0.2, 0.4, 0.6, 0.8, 1, scale.reference}), grid=False,
                      domain=False, ticks=False, format=".1f", titleFontWeight="normal",
                      titleColor=palette.muted, labelColor=palette.ink, labelFontSize=12,
                      titleFontSize=12, labelFlush=False),
    )  # fmt: skip
    y = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[-0.29, len(rows)], nice=False))
    tooltip = [
        alt.Tooltip("run:N", title="Run"), alt.Tooltip("bin:N", title=scale.title),
        alt.Tooltip("held:N", title="Here"), alt.Tooltip("outline:N", title="Random neurons"),
    ]  # fmt: skip
    strong = alt.condition("datum.strong", alt.value(palette.teal), alt.value(palette.teal_soft))
    points = alt.Chart(marks)
    colour: Any = {"condition": {"test": "datum.what == 'mean'", "value": palette.teal}}
    layers = [
        *_reference(scale, len(rows), y, palette),
        alt.Chart(bars).mark_rect().encode(**channels(
            x=x, x2="x2:Q", y=y, y2="y2:Q", color=strong, tooltip=tooltip
        )),
        alt.Chart(outlines).mark_line(strokeDash=[4, 3], strokeWidth=1.5, color=palette.ink)
        .encode(**channels(x="x:Q", y=y, order="order:Q", detail="place:N")),
        points.transform_filter(
            "isValid(datum.low) && (datum.what == 'mean' || datum.what == 'random')"
        ).mark_rule(strokeWidth=1.5).encode(**channels(
            x="low:Q", x2="high:Q", y=y,
            color=alt.ColorValue(palette.muted, **colour))),
        points.mark_point(size=64, opacity=1, strokeWidth=1.3).encode(**channels(
            x="x:Q", y=y,
            shape=alt.Shape("what:N", legend=None,
                            scale=alt.Scale(domain=list(_SHAPES), range=list(_SHAPES.values()))),
            stroke=alt.StrokeValue(palette.ink, **colour), fill=alt.FillValue(palette.page, **colour),
            tooltip=[alt.Tooltip("run:N", title="Run"), alt.Tooltip("word:N", title="What"),
                     alt.Tooltip("shown:N", title="Value")])),
        *_texts(_labels(rows), y, palette),
    ]  # fmt: skip
    drawn = cast(alt.LayerChart, alt.layer(*layers))
    names = "; ".join(f"{r.name}: {r.right[0]} {r.right[1]}, {r.note}" for r in rows)
    return drawn.properties(
        height=max(220, 90 * len(rows)),
        description=f"Distributions of {scale.title} by run. {names}.",
    )
