"""Figures as files: SVG, and PNG 1,600 pixels wide, each saying what it is and where it is from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

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


def to_svg(
    chart: alt.TopLevelMixin, title: str, lines: Sequence[str], colours: Palette = LIGHT
) -> str:
    """The figure as SVG under its title, with `lines` (caption, run, link, date) beneath it."""
    import vl_convert

    spec = chart.to_dict()
    spec["config"] = spec.get("config", {}) | _config(colours)
    spec["padding"] = 16
    spec["title"] = {
        "text": title, "subtitle": list(lines), "anchor": "start", "frame": "bounds", "offset": 14,
        "color": colours.ink, "subtitleColor": colours.muted, "fontSize": 17, "subtitleFontSize": 12,
    }  # fmt: skip
    if spec.get("width", "container") == "container" and not {"hconcat", "vconcat", "concat"} & set(
        spec
    ):
        spec["width"] = _WIDTH
    return vl_convert.vegalite_to_svg(spec)


def to_png(
    chart: alt.TopLevelMixin, title: str, lines: Sequence[str], colours: Palette = LIGHT
) -> bytes:
    """The figure as PNG, 1,600 pixels wide."""
    import vl_convert

    svg = to_svg(chart, title, lines, colours)
    width = re.search(r'<svg[^>]*? width="([0-9.]+)"', svg)
    assert width is not None, "an SVG of Vega has a width"
    return vl_convert.svg_to_png(svg, scale=PNG_WIDTH / float(width[1]))
