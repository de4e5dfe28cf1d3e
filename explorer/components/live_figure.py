"""A figure that follows somebody typing: the drawing stays, only its rows are swapped.

Building and checking a chart's specification takes longer than a forward pass of a small model, and
a new specification makes the browser draw from nothing. So the specification is built once for what
shapes it (palette, sizes, scales), and every keystroke sends rows alone. For the same reason the menu
of downloads is filled only while it is open.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st
from altair.utils.schemapi import debug_mode

from explorer.charts.export import to_png, to_svg
from explorer.charts.style import LIGHT, Palette
from explorer.components.chips import unmarked
from explorer.components.export import collect, file_stem, page_link_url, to_csv, today
from explorer.components.reports import selected
from explorer.components.theme import current_palette

_ROWS = "rows"
Draw = Callable[..., alt.TopLevelMixin]
"""A chart function: rows first, then `palette` and what else shapes the drawing, by name."""


@lru_cache(maxsize=64)
def _specification(
    draw: Draw, columns: tuple[str, ...], colours: Palette, shape: tuple[tuple[str, Any], ...]
) -> dict[str, Any]:
    # Altair's validation takes longer than the drawing; the tests of the charts validate.
    with debug_mode(False):
        chart: Any = draw(pd.DataFrame(columns=list(columns)), palette=colours, **dict(shape))
        spec = chart.to_dict(validate=False)
    for name in ("$schema", "config", "description"):
        spec.pop(name, None)
    # Named, so that the browser has the rows when it first draws, and swaps them later.
    spec["data"] = {"name": _ROWS}
    spec["usermeta"] = {"embedOptions": {"actions": False}}
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    return spec


def _svg(draw: Callable[..., Any], title: str, lines: list[str]) -> str:
    return to_svg(draw(palette=LIGHT), title, lines)


def _png(draw: Callable[..., Any], title: str, lines: list[str]) -> bytes:
    return to_png(draw(palette=LIGHT), title, lines)


def _menu(title: str, caption: str, draw: Callable[..., Any], data: pd.DataFrame, key: str) -> bool:
    """Downloads and *Show as table*, drawn while the menu is open; True while a table is shown."""
    shown = f"{key}-table-shown"

    def switch() -> None:
        st.session_state[shown] = bool(st.session_state[f"{key}-as-table"])

    box = st.popover(f"{title}: download, or show as table", help="Download, or show as table",
                     key=f"nt-menu-{key}", on_change="rerun")  # fmt: skip
    if box.open:
        run = str(st.session_state.get("run_title", ""))
        lines = [unmarked(caption), f"{run} · {today()}", page_link_url()]
        plain = unmarked(title)
        name = file_stem(run, plain)
        files: tuple[tuple[str, Any, str, str], ...] = (
            ("CSV", partial(to_csv, data), "csv", "text/csv"),
            ("PNG, 1,600 px", partial(_png, draw, plain, lines), "png", "image/png"),
            ("SVG", partial(_svg, draw, plain, lines), "svg", "image/svg+xml"),
        )
        with box:
            for label, make, ending, kind in files:
                st.download_button(label, make, f"{name}.{ending}", kind, key=f"{key}-{ending}",
                                   on_click="ignore", type="tertiary")  # fmt: skip
            st.toggle("Show as table", value=bool(st.session_state.get(shown)),
                      key=f"{key}-as-table", on_change=switch)  # fmt: skip
    return bool(st.session_state.get(shown))


def live_figure(
    title: str,
    draw: Draw,
    rows: pd.DataFrame,
    data: pd.DataFrame,
    *,
    key: str,
    help: str,
    caption: str,
    alt_text: str,
    controls: Callable[[], None] | None = None,
    pick: tuple[str, Callable[[dict[str, Any]], None]] | None = None,
    on_screen: tuple[tuple[str, Any], ...] = (),
    **shape: Any,
) -> None:
    """Draw `draw(rows, palette=..., **shape)` under a heading, with downloads and a table of `data`.

    All marks of the chart read `rows`, its only table; `shape` holds what its specification depends
    on and nothing that changes with a keystroke. `alt_text` neither. `title` and `caption` are
    markdown: escape what is not ours. `pick` names the chart's selection, and what is done with each
    mark in it, anew with every click; `on_screen` changes `shape` for the page alone, not for files.
    """
    collect(title, data)
    with st.container(key=f"nt-figure-{key}", gap=None):
        with st.container(horizontal=True, horizontal_alignment="distribute",
                          vertical_alignment="center", wrap=False):  # fmt: skip
            st.header(title, anchor=False, help=help)
            if controls is not None:
                controls()
            as_table = _menu(title, caption, partial(draw, rows, **shape), data, key)
        st.caption(caption)
        if as_table:
            st.dataframe(data, hide_index=True, key=f"{key}-table")
            return
        spec = _specification(
            draw, tuple(rows.columns), current_palette(), (*shape.items(), *on_screen)
        )
        drawn = copy.deepcopy(spec) | {"datasets": {_ROWS: rows}}
        st.vega_lite_chart(spec=drawn, alt=alt_text, width="stretch", **_picking(key, pick))


def _picking(key: str, pick: tuple[str, Callable[[dict[str, Any]], None]] | None) -> dict[str, Any]:
    """What makes Streamlit hand the marks of a chart that are selected to `pick`."""
    if pick is None:
        return {}
    name, act = pick
    chart_key = f"{key}-chart"

    def picked() -> None:
        for mark in selected(chart_key, name):
            act(dict(mark))

    return {"key": chart_key, "on_select": picked, "selection_mode": name}
