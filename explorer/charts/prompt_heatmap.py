"""Prompts against heads: what each head adds to a neuron's pre-activation, prompt by prompt."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import cast

import altair as alt
import pandas as pd

from explorer.charts.channels import channels
from explorer.charts.prompt_strips import HEADING_HEIGHT, ROW_HEIGHT
from explorer.charts.style import Palette, number, signed, signed_scale

AXIS_WIDTH = 34
"""Width of the left axis in px, here and in the bars below, so that their columns line up."""
PICK = "pick"
"""Name of the selection: a list of `{rank, head}`."""


def head_axis(heads: Sequence[str], bold: Collection[str], palette: Palette) -> alt.X:
    """One column a head, its label on two lines, studied heads in bold."""
    condition = {
        "test": {"field": "value", "oneOf": sorted(bold)},
        "value": "bold",
    }
    axis = alt.Axis(
        orient="top", title=None, domain=False, ticks=False, labelAngle=0, labelFlush=False,
        labelExpr="split(datum.label, ' ')", labelFontSize=12 if len(heads) <= 14 else 10.5,
        labelLineHeight=13, labelPadding=18, labelOverlap=False,
        labelColor=palette.ink, minExtent=HEADING_HEIGHT, maxExtent=HEADING_HEIGHT,
    )  # fmt: skip
    axis["labelFontWeight"] = {"condition": condition, "value": "normal"}
    scale = alt.Scale(domain=list(heads), paddingInner=0.05)
    return alt.X("head:N", sort=None, scale=scale, axis=axis)


def _rank_axis(ranks: Sequence[int], palette: Palette) -> alt.Y:
    axis = alt.Axis(
        title=None, domain=False, ticks=False, labelColor=palette.muted, labelFontSize=12,
        minExtent=AXIS_WIDTH, maxExtent=AXIS_WIDTH, labelFlush=False,
    )  # fmt: skip
    return alt.Y(
        "rank:O", sort=None, axis=axis, scale=alt.Scale(domain=list(ranks), paddingInner=0.05)
    )


def _cells(cells: pd.DataFrame, limit: float, palette: Palette) -> alt.Chart:
    ends = (
        "datum.value == 0 ? '0' : "
        "format(datum.value, '+.2~f') + (datum.value > 0 ? ' raises' : ' lowers')"
    )
    legend = alt.Legend(
        orient="bottom", direction="horizontal", title=None, gradientLength=200,
        gradientThickness=10, values=[-limit, 0, limit], labelExpr=ends, labelColor=palette.muted,
        labelFontSize=12, offset=10,
    )  # fmt: skip
    return (
        alt.Chart(cells)
        .mark_rect(cursor="pointer", cornerRadius=1.5)
        .encode(
            **channels(
                color=alt.Color(
                    "contribution:Q", scale=signed_scale(limit, palette), legend=legend
                ),
                tooltip=[
                    alt.Tooltip("head:N", title="Head"),
                    alt.Tooltip("rank:O", title="Prompt"),
                    alt.Tooltip("shown:N", title="Contribution (pre-activation)"),
                    alt.Tooltip("rule:N", title="Active"),
                ],
            )
        )
        .add_params(alt.selection_point(name=PICK, fields=["rank", "head"], on="click"))
    )


def cell_outline(row: str, row_value: object, head: str, palette: Palette) -> list[alt.Chart]:
    """The chosen cell, at `row_value` of the field `row`: a pale line within an ink one, so that it
    shows on cells of every colour."""
    cell = alt.Chart(pd.DataFrame({row.split(":")[0]: [row_value], "head": [head]}))
    return [
        cell.mark_rect(fill=None, stroke=colour, strokeWidth=width, cornerRadius=1.5).encode(
            **channels(y=row, x="head:N")
        )
        for colour, width in ((palette.ink, 5), (palette.page, 1.5))
    ]


def _outlines(rank: int | None, head: str | None, palette: Palette) -> list[alt.Chart]:
    """The chosen row, and the chosen cell within it, in ink."""
    layers = []
    if rank is not None:
        row = alt.Chart(pd.DataFrame({"rank": [rank]}))
        layers.append(
            row.mark_rect(fill=None, stroke=palette.ink, strokeWidth=1.5, cornerRadius=3).encode(
                **channels(y="rank:O", x=alt.value(0), x2=alt.value("width"))
            )
        )
    if rank is not None and head is not None:
        layers += cell_outline("rank:O", rank, head, palette)
    return layers


def prompt_heatmap(
    cells: pd.DataFrame,
    *,
    heads: Sequence[str],
    studied: Collection[str],
    limit: float,
    rule: str,
    palette: Palette,
    rank: int | None = None,
    head: str | None = None,
) -> alt.LayerChart:
    """Rows are prompts by `rank`, columns `heads` in the given order, colour the contribution.

    `cells` has one row a prompt and head: `rank head contribution active`; contribution in
    pre-activation units, positive raises. `limit` is half the width of the signed scale. `rule` says
    in the hover text when a head is active. `rank` and `head` are outlined.
    """
    drawn = cells.assign(
        shown=[signed(value) for value in cells["contribution"]],
        rule=[f"yes: {rule}" if active else f"no (yes: {rule})" for active in cells["active"]],
    )
    ranks = sorted(int(r) for r in set(cells["rank"]))
    base = _cells(drawn, limit, palette).encode(
        **channels(x=head_axis(heads, studied, palette), y=_rank_axis(ranks, palette))
    )
    # A dot on a strong cell takes the page's colour, on a weak one the ink.
    strong = drawn["contribution"].abs() > 0.55 * limit
    dots = drawn.assign(dot=[palette.page if high else palette.ink for high in strong])
    dots = dots.loc[dots["active"].astype(bool)]
    marks = (
        alt.Chart(dots)
        .mark_point(filled=True, size=26, opacity=1, cursor="pointer")
        .encode(
            **channels(x="head:N", y="rank:O", color=alt.Color("dot:N", scale=None, legend=None))
        )
    )
    layers = [base, *([] if dots.empty else [marks]), *_outlines(rank, head, palette)]
    drawn_layers = cast(alt.LayerChart, alt.layer(*layers))
    return drawn_layers.resolve_scale(color="independent").properties(
        height=alt.Step(ROW_HEIGHT), description=_describe(drawn, heads)
    )


def _describe(cells: pd.DataFrame, heads: Sequence[str]) -> str:
    if cells.empty:
        return "No prompts."
    top = cells.loc[cells["contribution"].idxmax()]
    return (
        f"Heatmap of {cells['rank'].nunique()} prompts by {len(heads)} heads. The largest contribution "
        f"is {number(float(top['contribution']))}, of {top['head']} to prompt {top['rank']}."
    )
