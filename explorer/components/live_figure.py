"""A figure that follows somebody typing: the drawing stays, only its rows are swapped.

Building and checking a chart's specification takes longer than a forward pass of a small model, and
a new specification makes the browser draw from nothing. So the specification is built once for what
shapes it (palette, sizes, scales), and every keystroke sends rows alone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from explorer.charts.style import Palette
from explorer.components.figure import heading
from explorer.components.theme import current_palette

_ROWS = "rows"
Draw = Callable[..., alt.TopLevelMixin]
"""A chart function: rows first, then `palette` and what else shapes the drawing, by name."""


@lru_cache(maxsize=64)
def _specification(
    draw: Draw, columns: tuple[str, ...], colours: Palette, shape: tuple[tuple[str, Any], ...]
) -> dict[str, Any]:
    chart: Any = draw(pd.DataFrame(columns=list(columns)), palette=colours, **dict(shape))
    spec = chart.to_dict()
    for name in ("$schema", "config", "description"):
        spec.pop(name, None)
    # Named, so that the browser has the rows when it first draws, and swaps them later.
    spec["data"] = {"name": _ROWS}
    spec["usermeta"] = {"embedOptions": {"actions": False}}
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    return spec


def live_figure(
    title: str,
    draw: Draw,
    rows: pd.DataFrame,
    data: pd.DataFrame,
    *,
    key: str,
    help: str | None = None,
    caption: str | None = None,
    alt_text: str,
    controls: Callable[[], None] | None = None,
    **shape: Any,
) -> None:
    """Draw `draw(rows, palette=..., **shape)` under a heading, with downloads and a table of `data`.

    All marks of the chart read `rows`, its only table; `shape` holds what its specification depends
    on and nothing that changes with a keystroke. `alt_text` neither.
    """
    exported = partial(draw, rows, **shape)
    if heading(title, data, key=key, help=help, caption=caption, chart=exported, controls=controls):
        st.dataframe(data, hide_index=True, key=f"{key}-table")
        return
    spec = _specification(draw, tuple(rows.columns), current_palette(), tuple(shape.items()))
    with st.container(key=key):
        st.vega_lite_chart(
            spec=copy.deepcopy(spec) | {"datasets": {_ROWS: rows}}, alt=alt_text, width="stretch"
        )
