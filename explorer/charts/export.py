"""Figures as files: SVG, and PNG 1,600 pixels wide, each saying what it is and where it is from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, cast

import altair as alt

from explorer.charts.style import LIGHT, Palette

PNG_WIDTH = 1600
_WIDTH = 760
"""Pixels of a figure whose width on screen follows its column."""


def _config(colours: Palette) -> dict[str, Any]:
    axis = {
        "labelColor": colours.ink, "titleColor": colours.muted, "titleFontWeight": "normal",
        "gridColor": colours.border, "domainColor": colours.border, "tickColor": colours.border,
        "labelFontSize": 12, "titleFontSize": 12,
    }  # fmt: skip
    return {
        "background": colours.page,
        "view": {"stroke": None},
        "axis": axis,
        "legend": {"labelColor": colours.ink, "titleColor": colours.muted},
        "range": {
            "heatmap": list(colours.amounts),
            "ramp": list(colours.amounts),
            "diverging": list(colours.signed),
            "category": list(colours.runs),
        },
    }


def _needs_width(chart: alt.TopLevelMixin) -> bool:
    """Whether the figure's width on screen follows its column."""
    return isinstance(chart, alt.Chart | alt.LayerChart) and (
        chart._get("width") in (alt.Undefined, "container")
    )


def dressed(
    chart: alt.TopLevelMixin, colours: Palette = LIGHT, title: str | None = None
) -> alt.TopLevelMixin:
    """The figure to stand alone, as in a notebook: with the page's colours and a width of its own."""
    alone = cast(Any, chart).copy(deep=False)
    alone.config = alt.Config.from_dict(_config(colours))
    if _needs_width(chart):
        alone.width = _WIDTH
    if title is not None:
        alone.title = alt.TitleParams(
            title, anchor="start", frame="bounds", offset=10, color=colours.ink, fontSize=15
        )
    return alone


def bare_svg(chart: alt.TopLevelMixin, colours: Palette = LIGHT) -> str:
    """The figure alone as SVG, for a page that writes its heading itself."""
    import vl_convert

    return vl_convert.vegalite_to_svg(dressed(chart, colours).to_dict(validate=False))


def to_svg(
    chart: alt.TopLevelMixin, title: str, lines: Sequence[str], colours: Palette = LIGHT
) -> str:
    """The figure as SVG under its title, with `lines` (caption, run, link, date) beneath it."""
    import vl_convert

    spec = dressed(chart, colours).to_dict()
    spec["padding"] = 16
    spec["title"] = {
        "text": title, "subtitle": list(lines), "anchor": "start", "frame": "bounds", "offset": 14,
        "color": colours.ink, "subtitleColor": colours.muted, "fontSize": 17, "subtitleFontSize": 12,
    }  # fmt: skip
    return vl_convert.vegalite_to_svg(spec)


def to_png(
    chart: alt.TopLevelMixin, title: str, lines: Sequence[str], colours: Palette = LIGHT
) -> bytes:
    """The figure as PNG, 1,600 pixels wide."""
    import vl_convert

    svg = to_svg(chart, title, lines, colours)
    width = re.search(r'<svg[^>]*? width="([0-9.]+)"', svg)
    assert width is not None, "an SVG of Vega has a width"
    # The renderer cuts off fractions: a hair more, or the product may be 1,599.999.
    return vl_convert.svg_to_png(svg, scale=(PNG_WIDTH + 0.25) / float(width[1]))
