"""The figures of tasks: accuracy beside chance, items' probabilities, grids, scores, steering."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import altair as alt
import pandas as pd

from explorer.charts.channels import channels
from explorer.charts.style import Palette

_HEIGHT = 230
_ROW = 26
_MARKS = ("circle", "square", "triangle-up", "diamond", "cross")


def percent_axis(palette: Palette, **more: Any) -> alt.Axis:
    """Shares as percentages."""
    return alt.Axis(
        domain=False, ticks=False, labelExpr="round(datum.value * 100) + ' %'", labelFontSize=12,
        labelColor=palette.ink, gridColor=palette.border, labelFlush=False, titleColor=palette.muted,
        titleFontWeight="normal", titleFontSize=12, **more,
    )  # fmt: skip


def _line_scales(names: Sequence[str], palette: Palette) -> tuple[alt.Color, alt.Shape]:
    colours = [palette.teal, palette.runs[1], palette.runs[2], palette.runs[3]][: len(names)]
    title = alt.Legend(title=None, orient="top", labelFontSize=12, labelLimit=240, columns=2)
    scale = alt.Scale(domain=list(names), range=colours)
    shapes = alt.Scale(domain=list(names), range=list(_MARKS[: len(names)]))
    return (
        alt.Color("line:N", scale=scale, legend=title),
        alt.Shape("line:N", scale=shapes, legend=title),
    )


def _tooltip(x_title: str) -> list[alt.Tooltip]:
    return [
        alt.Tooltip("line:N", title="Line"), alt.Tooltip("x:Q", title=x_title),
        alt.Tooltip("share:Q", title="Right", format=".0%"),
        alt.Tooltip("low:Q", title="95 %, from", format=".0%"),
        alt.Tooltip("high:Q", title="to", format=".0%"),
        alt.Tooltip("n_right:Q", title="Right answers"), alt.Tooltip("n_prompts:Q", title="Prompts"),
        alt.Tooltip("chance:Q", title="Chance", format=".0%"),
    ]  # fmt: skip


def accuracy_lines(
    rows: pd.DataFrame,
    *,
    lines: Sequence[str],
    x_title: str,
    palette: Palette,
    chosen: int | None = None,
    seen: tuple[int, int] | None = None,
) -> alt.LayerChart:
    """Shares right (0 to 100 %) with their 95 % intervals, a line for each of `lines`; dashed: chance.

    `rows` has `line x share low high n_right n_prompts chance`. `chosen` is marked by a rule; `seen` is
    shaded: the lengths of lists in the model's training.
    """
    xs = sorted(set(rows["x"].tolist()))
    pad = 0.5
    scale = alt.Scale(domain=[min(xs) - pad, max(xs) + pad], nice=False)
    x_axis = alt.Axis(
        values=xs, format="d", ticks=False, domain=False, grid=False, labelFontSize=12,
        labelColor=palette.ink, titleColor=palette.muted, titleFontWeight="normal", titleFontSize=12,
        labelOverlap=True, labelAngle=0,
    )  # fmt: skip
    x = alt.X("x:Q", title=x_title, scale=scale, axis=x_axis)
    # Intervals of several lines stand side by side.
    step = 0.14 if len(lines) > 1 else 0.0
    middle = (len(lines) - 1) / 2
    order = {name: index for index, name in enumerate(lines)}
    data = rows.assign(at=[a + step * (order[b] - middle)
                           for a, b in zip(rows["x"], rows["line"], strict=True)])  # fmt: skip
    at = alt.X("at:Q", title=x_title, scale=scale, axis=x_axis)
    y_scale = alt.Scale(domain=[0, 1], nice=False)
    y = alt.Y("share:Q", title=None, scale=y_scale,
              axis=percent_axis(palette, values=[0, 0.25, 0.5, 0.75, 1]))  # fmt: skip
    colour, shape = _line_scales(lines, palette)
    layers: list[alt.Chart] = []
    if seen is not None:
        band = pd.DataFrame({"x": [seen[0] - pad], "x2": [seen[1] + pad], "word": ["lengths seen"]})
        base = alt.Chart(band).encode(
            **channels(x=alt.X("x:Q", scale=scale, axis=x_axis, title=x_title))
        )
        layers.append(base.mark_rect(color=palette.panel).encode(**channels(x2="x2:Q")))
        layers.append(
            base.mark_text(align="left", baseline="bottom", dx=5, dy=-3, fontSize=12, color=palette.muted)
            .encode(**channels(y=alt.YValue("height"), text="word:N"))
        )  # fmt: skip
    if chosen is not None:
        mark = alt.Chart(pd.DataFrame({"x": [chosen]}))
        layers.append(
            mark.mark_rule(color=palette.ink, strokeWidth=1, opacity=0.5).encode(**channels(x=x))
        )
    guess = pd.DataFrame(sorted({(a, b) for a, b in zip(rows["x"], rows["chance"], strict=True)}),
                         columns=pd.Index(["x", "share"]))  # fmt: skip
    dashed: dict[str, Any] = {"strokeDash": [5, 4], "color": palette.ink, "strokeWidth": 1.5}
    base = alt.Chart(data).encode(**channels(color=colour))
    pointed = base.encode(**channels(tooltip=_tooltip(x_title)))
    layers += [
        alt.Chart(guess).mark_line(**dashed).encode(**channels(x=x, y=y)),
        base.mark_line(strokeWidth=1.5, opacity=0.7).encode(**channels(x=at, y=y)),
        pointed.mark_rule(strokeWidth=1.5, opacity=0.75).encode(
            **channels(x=at, y=alt.Y("low:Q", scale=y_scale, title=None), y2="high:Q")
        ),
        pointed.mark_point(filled=True, size=62, opacity=1).encode(
            **channels(x=at, y=y, shape=shape)
        ),
    ]
    words = (
        f"Share right by {x_title}, with 95 % intervals, for {', '.join(lines)}; dashed: chance."
    )
    return cast(alt.LayerChart, alt.layer(*layers).properties(height=_HEIGHT, description=words))


def accuracy_dots(rows: pd.DataFrame, *, palette: Palette) -> alt.LayerChart:
    """A row a name: the share right with its 95 % interval; dashed: chance. `rows` has `name share low
    high n_right n_prompts chance`, in the order drawn."""
    names = rows["name"].tolist()
    y = alt.Y(
        "name:N", sort=None, scale=alt.Scale(domain=names),
        axis=alt.Axis(title=None, domain=False, ticks=False, labelFontSize=12.5, labelLimit=230,
                      labelColor=palette.ink, labelPadding=10),
    )  # fmt: skip
    x = alt.X("share:Q", title=None, scale=alt.Scale(domain=[0, 1], nice=False),
              axis=percent_axis(palette, values=[0, 0.25, 0.5, 0.75, 1]))  # fmt: skip
    tooltip = [t for t in _tooltip("") if t["shorthand"] not in ("line:N", "x:Q")]
    base = alt.Chart(rows).encode(**channels(y=y))
    counts = base.mark_text(align="left", dx=8, fontSize=12, color=palette.ink).encode(
        **channels(x=alt.XValue("width"), text="counts:N")
    )
    guess = alt.Chart(rows.head(1)).mark_rule(strokeDash=[5, 4], color=palette.ink, strokeWidth=1.5)
    layered = alt.layer(
        guess.encode(**channels(x=alt.X("chance:Q", scale=alt.Scale(domain=[0, 1])))),
        base.mark_rule(strokeWidth=2, color=palette.teal, opacity=0.75).encode(
            **channels(
                x=alt.X("low:Q", scale=alt.Scale(domain=[0, 1])), x2="high:Q", tooltip=tooltip
            )
        ),
        base.mark_point(filled=True, size=80, color=palette.teal, opacity=1).encode(
            **channels(x=x, tooltip=tooltip)
        ),
        counts,
    )
    words = f"Share right with 95 % intervals for {', '.join(names)}; dashed: chance."
    return cast(
        alt.LayerChart, layered.properties(height=_ROW * len(names) + 10, description=words)
    )


def item_bars(rows: pd.DataFrame, *, palette: Palette) -> alt.LayerChart:
    """A bar an item, in the order of the list: its probability; a tick: before the dial was turned.
    `rows` has `order label probability before words answer`; the answer is dark and bold."""
    top = max([0.01, *rows["probability"].tolist(), *rows["before"].fillna(0).tolist()]) * 1.3
    x = alt.X("probability:Q", axis=None, scale=alt.Scale(domain=[0, top], nice=False))
    labels = alt.Axis(
        title=None, domain=False, ticks=False, labelFont="Source Code Pro, monospace",
        labelFontSize=12.5, labelColor=palette.ink, labelPadding=8, labelLimit=160,
        labelExpr="split(datum.label, '\\t')[1]",
    )  # fmt: skip
    bold = rows.loc[rows["answer"], "key"].tolist()
    labels["labelFontWeight"] = {
        "condition": {"test": {"field": "value", "oneOf": bold}, "value": "bold"}, "value": "normal"
    }  # fmt: skip
    y = alt.Y("key:N", sort=None, axis=labels, scale=alt.Scale(domain=rows["key"].tolist()))
    tooltip = [
        alt.Tooltip("label:N", title="Item"), alt.Tooltip("place:Q", title="Place in the list"),
        alt.Tooltip("words:N", title="P(item)"), alt.Tooltip("words_before:N", title="Before"),
    ]  # fmt: skip
    base = alt.Chart(rows).encode(**channels(y=y))
    fill: Any = {"condition": {"test": "datum.answer", "value": palette.teal}}
    layered = alt.layer(
        base.mark_bar().encode(
            **channels(x=x, color=alt.ColorValue(palette.teal_soft, **fill), tooltip=tooltip)
        ),
        base.mark_text(align="left", dx=7, fontSize=12.5, color=palette.ink).encode(
            **channels(x=x, text="words:N")
        ),
        base.transform_filter("isValid(datum.before)")
        .mark_tick(color=palette.ink, thickness=2, size=18)
        .encode(**channels(x=alt.X("before:Q", axis=None), tooltip=tooltip)),
    )  # fmt: skip
    words = "Probability of each item of the list as the next token; the missing item is dark."
    return cast(alt.LayerChart, layered.properties(height=_ROW * len(rows), description=words))


def score_bars(rows: pd.DataFrame, *, palette: Palette) -> alt.LayerChart:
    """A bar a component, in the order given: its inhibition score with 95 % interval; blue is negative.
    `rows` has `name score low high`."""
    names = rows["name"].tolist()
    y = alt.Y(
        "name:N", sort=None, scale=alt.Scale(domain=names),
        axis=alt.Axis(title=None, domain=False, ticks=False, labelFontSize=12.5, labelPadding=10,
                      labelFont="Source Code Pro, monospace", labelColor=palette.ink),
    )  # fmt: skip
    axis = alt.Axis(format="+.2f", tickCount=4, domain=False, ticks=False, labelFontSize=12,
                    gridColor=palette.border, labelColor=palette.ink)  # fmt: skip
    x = alt.X("score:Q", title=None, axis=axis)
    tooltip = [
        alt.Tooltip("name:N", title="Component"),
        alt.Tooltip("score:Q", title="Attention gap lost without it", format="+.3f"),
        alt.Tooltip("low:Q", title="95 %, from", format="+.3f"),
        alt.Tooltip("high:Q", title="to", format="+.3f"),
    ]
    base = alt.Chart(rows).encode(**channels(y=y, tooltip=tooltip))
    fill: Any = {"condition": {"test": "datum.score < 0", "value": palette.lowers}}
    layered = alt.layer(
        base.mark_bar().encode(**channels(x=x, color=alt.ColorValue(palette.raises, **fill))),
        base.mark_rule(color=palette.ink, strokeWidth=1.5).encode(
            **channels(x=alt.X("low:Q"), x2="high:Q")
        ),
    )
    words = f"Inhibition scores of components with 95 % intervals, highest {names[:1]}."
    return cast(alt.LayerChart, layered.properties(height=_ROW * len(names), description=words))


def winner_grid(rows: pd.DataFrame, *, names: Sequence[str], palette: Palette) -> alt.Chart:
    """A cell for each combination of two components' values: the place in the list (from 1) that wins
    most prompts, the deeper the larger its share; a panel for each value of a third component.

    `rows` has `x y panel place share`; `names` are the components on x, y and panels, as many as there
    are."""
    side = alt.Axis(title=names[0], labelAngle=0, ticks=False, domain=False, format="+.1f",
                    labelFontSize=11, titleFontWeight="normal", titleColor=palette.muted)  # fmt: skip
    up = alt.Axis(title=names[1] if len(names) > 1 else None, labels=len(names) > 1, ticks=False,
                  domain=False, format="+.1f", labelFontSize=11, titleFontWeight="normal",
                  titleColor=palette.muted)  # fmt: skip
    gap: dict[str, Any] = {"paddingInner": 0.06}
    tooltip = [
        alt.Tooltip("place:Q", title="Place that wins"),
        alt.Tooltip("share:Q", title="in this share of prompts", format=".0%"),
        *(alt.Tooltip(f"{axis}:Q", title=f"{name} set to", format="+.2f")
          for axis, name in zip(("x", "y", "panel"), names, strict=False)),
    ]  # fmt: skip
    scale = alt.Scale(domain=[0, 1], range=list(palette.amounts), interpolate="lab", clamp=True)
    base = alt.Chart(rows).encode(
        **channels(
            x=alt.X("x:O", axis=side, scale=alt.Scale(**gap)),
            y=alt.Y("y:O", axis=up, sort="descending", scale=alt.Scale(**gap)),
        )
    )
    ink = alt.condition("datum.share > 0.55", alt.value(palette.page), alt.value(palette.ink))
    cells = alt.layer(
        base.mark_rect().encode(
            **channels(color=alt.Color("share:Q", scale=scale, legend=None), tooltip=tooltip)
        ),
        base.mark_text(fontSize=12).encode(**channels(text="place:Q", color=ink, tooltip=tooltip)),
    ).properties(width=alt.Step(40), height=alt.Step(30))
    words = f"The place in the list that wins most prompts, over values of {', '.join(names)}."
    if len(names) < 3:
        return cast(alt.Chart, cells.properties(description=words))
    header = alt.Header(title=names[2], format="+.1f", titleFontWeight="normal", labelFontSize=11,
                        titleColor=palette.muted, labelColor=palette.ink)  # fmt: skip
    return cast(
        alt.Chart,
        cells.facet(column=alt.Column("panel:O", header=header), spacing=14).properties(
            description=words
        ),
    )
