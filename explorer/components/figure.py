"""A figure: heading with its definition, caption, drawing, and a menu of downloads.

Every figure can be read as a table and taken away as CSV, PNG and SVG (prompt strips, which are HTML,
as CSV and HTML). Exports are light whatever
the theme, so give the chart as a function of `palette`, such as `partial(share_bars, activity)`; a
finished chart is exported as it is.
"""

from __future__ import annotations

import hashlib
import pickle
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import altair as alt
import pandas as pd
import streamlit as st
from altair.utils.schemapi import debug_mode
from pandas.util import hash_pandas_object

from explorer.charts.export import to_png, to_svg
from explorer.charts.figure import Draws, Figure
from explorer.charts.rows_apart import specification
from explorer.charts.standalone import Html, small_page
from explorer.charts.style import LIGHT, Palette
from explorer.components.chips import unmarked
from explorer.components.export import collect, file_stem, page_link_url, to_csv, today
from explorer.components.theme import current_palette

Drawing = alt.TopLevelMixin | Draws
_COMPOSED = {"hconcat", "vconcat", "concat", "facet", "repeat"}


def _draw(chart: Drawing, colours: Palette) -> alt.TopLevelMixin:
    return chart if isinstance(chart, alt.TopLevelMixin) else chart(palette=colours)


def _build(chart: Drawing, colours: Palette) -> dict[str, Any]:
    with debug_mode(False):
        spec = specification(_draw(chart, colours))
    for name in ("$schema", "config"):  # the page's theme is the configuration
        spec.pop(name, None)
    spec["usermeta"] = {"embedOptions": {"actions": False}}
    if not _COMPOSED & spec.keys():
        # The width follows the column; the height is the drawing's own, axes beside it.
        spec.setdefault("autosize", {"type": "fit-x", "contains": "padding"})
    return spec


_digests: dict[int, tuple[Callable[[], Any], bytes]] = {}
"""By identity: what a table holds, for tables that are drawn again and again."""


def _digest(rows: pd.DataFrame) -> bytes:
    if id(rows) in _digests:
        reference, digest = _digests[id(rows)]
        if reference() is rows:
            return digest
    try:
        # The library looks this name up when it is asked for, so that types do not see it.
        values = cast(Any, hash_pandas_object)(rows).to_numpy().tobytes()
    except TypeError:  # a column of lists
        values = pickle.dumps(rows)
    head = repr([(name, str(kind)) for name, kind in rows.dtypes.items()]).encode()
    found = hashlib.blake2b(head + values, digest_size=16).digest()
    gone = partial(_digests.pop, id(rows), None)
    _digests[id(rows)] = (weakref.ref(rows, lambda _: gone()), found)
    return found


@st.cache_data(max_entries=1024, show_spinner=False, hash_funcs={pd.DataFrame: _digest})
def _remembered(name: str, values: Any, colours: Palette, _chart: Drawing) -> dict[str, Any]:
    """The specification of a chart function: drawn once for the same data and palette."""
    return _build(_chart, colours)


def _specification(chart: Drawing, colours: Palette) -> dict[str, Any]:
    if not isinstance(chart, partial):
        return _build(chart, colours)
    name = f"{chart.func.__module__}.{chart.func.__qualname__}"
    return _remembered(name, (chart.args, chart.keywords), colours, chart)


def _svg(chart: Drawing, title: str, lines: list[str]) -> str:
    return to_svg(_draw(chart, LIGHT), title, lines)


def _png(chart: Drawing, title: str, lines: list[str]) -> bytes:
    return to_png(_draw(chart, LIGHT), title, lines)


def _page(drawing: Callable[[], Html], title: str, lines: list[str]) -> str:
    return small_page(title, lines, drawing())


def _menu(
    title: str,
    caption: str | None,
    chart: Drawing | None,
    data: pd.DataFrame,
    key: str,
    drawing: Callable[[], Html] | None,
) -> bool:
    """The menu ⤓ at the right of a heading; True while the figure is shown as a table."""
    run = str(st.session_state.get("run_title", ""))
    words = (unmarked(caption or ""), f"{run} · {today()}", page_link_url())
    lines, plain = [line for line in words if line], unmarked(title)
    name = file_stem(run, plain)
    with st.container(key=f"nt-menu-{key}", width="content"):
        # The style sheet draws the label as ⤓; its words are for those who cannot see it.
        box = st.popover(f"{title}: download, or show as table", help="Download, or show as table")
    with box:
        st.download_button("CSV", partial(to_csv, data), f"{name}.csv", "text/csv",
                           key=f"{key}-csv", on_click="ignore", type="tertiary")  # fmt: skip
        if drawing is not None:
            st.download_button("HTML", partial(_page, drawing, plain, lines), f"{name}.html", "text/html",
                               key=f"{key}-html", on_click="ignore", type="tertiary")  # fmt: skip
        if chart is None:
            return False
        st.download_button("PNG, 1,600 px", partial(_png, chart, plain, lines), f"{name}.png",
                           "image/png", key=f"{key}-png", on_click="ignore", type="tertiary")  # fmt: skip
        st.download_button("SVG", partial(_svg, chart, plain, lines), f"{name}.svg",
                           "image/svg+xml", key=f"{key}-svg", on_click="ignore", type="tertiary")  # fmt: skip
        return st.toggle("Show as table", key=f"{key}-as-table")


def heading(
    title: str,
    data: pd.DataFrame,
    *,
    key: str,
    help: str | None = None,
    caption: str | None = None,
    chart: Drawing | None = None,
    controls: Callable[[], None] | None = None,
    drawing: Callable[[], Html] | None = None,
) -> bool:
    """The heading of a figure, for drawings that are no Altair chart (tables, HTML strips).

    `title` and `caption` are markdown: escape what is not ours. `controls` draws widgets at the right
    of the heading; `drawing` gives what is taken away as an HTML file. True while a chart is to be
    shown as a table.
    """
    collect(title, data)
    with st.container(key=f"nt-figure-{key}", gap=None):
        row = st.container(
            horizontal=True,
            horizontal_alignment="distribute",
            vertical_alignment="center",
            wrap=False,
        )
        with row:
            st.header(title, anchor=False, help=help)
            tools = st.container(
                horizontal=True, width="content", vertical_alignment="center", wrap=False
            )
            with tools:
                if controls is not None:
                    controls()
                as_table = _menu(title, caption, chart, data, key, drawing)
        if caption:
            st.caption(caption)
    return as_table


def figure(
    title: str,
    chart: Drawing,
    data: pd.DataFrame,
    *,
    key: str,
    help: str | None = None,
    caption: str | None = None,
    on_select: Callable[..., None] | str | None = None,
    selection_mode: str | None = None,
    chart_key: str | None = None,
    alt_text: str | None = None,
    controls: Callable[[], None] | None = None,
    under: Callable[[], None] | None = None,
) -> Any:
    """Draw a figure; return the chart's selection where `on_select` is given, else None.

    `data` is what the figure shows, as a person may want it in a table: names, values with units in
    the column names. `chart_key` gives the chart a key of its own (a fresh one forgets its selection).
    The text for screen readers is `alt_text`, else the chart's own `description`. `under` draws
    widgets between caption and chart.
    """
    as_table = heading(
        title, data, key=key, help=help, caption=caption, chart=chart, controls=controls
    )
    if under is not None:
        under()
    if as_table:
        st.dataframe(data, hide_index=True, key=f"{key}-table")
        return None
    spec = _specification(chart, current_palette())
    arguments: dict[str, Any] = {"key": chart_key or f"{key}-chart"}
    if alt_text or not spec.get("description"):
        arguments["alt"] = alt_text or f"{title}. {caption or ''}".strip()
    if on_select is not None:
        arguments |= {"on_select": on_select, "selection_mode": selection_mode}
    result = st.vega_lite_chart(spec, **arguments)
    return result if on_select is not None else None


def draw(shown: Figure, **how: Any) -> Any:
    """Draw a figure that is given as a value; `how` goes to `figure`."""
    return figure(
        shown.title, shown.draw, shown.data, help=shown.help, caption=shown.caption, **how
    )
