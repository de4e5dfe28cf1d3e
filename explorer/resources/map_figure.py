"""The Map's heatmap, as the page and a notebook show it.

Pure functions; Streamlit and the model are not needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from explorer.charts.figure import Figure
from explorer.charts.glossary import define
from explorer.charts.map_heatmap import map_heatmap
from explorer.resources.map_tables import MapTables

MEASURE_NAMES = {
    "share": "Share active",
    "contribution": "Mean contribution",
    "score": "Score",
    "effect": "Effect of removal",
}
_CAPTIONS = {
    "share": "Share of the neuron's train prompts in which the head is active.",
    "contribution": "Mean contribution to the pre-activation over all the neuron's train prompts.",
    "score": "Balanced accuracy of the pair's explanation on test prompts.",
    "effect": "Median pre-activation that the neuron loses when the head is removed (zero-last), over all "
    "its prompts.",
}
_DEFINED = {"share": "Share active", "contribution": "Contribution", "score": "Score",
            "effect": "Removing it"}  # fmt: skip


def map_figure(
    tables: MapTables,
    measure: str,
    manifest: Mapping[str, Any],
    neuron: str | None,
    head: str | None,
) -> Figure:
    """All pairs by one of `MEASURES`, the one that `tables` is laid out for; the cell of `neuron` (URL
    form) and `head` (its label) is outlined."""
    caption = _CAPTIONS[measure]
    if measure in ("score", "effect"):
        n_pairs = tables.pairs[measure].notna().tolist().count(True)
        caption += (
            f" {n_pairs:,} pairs have one; the rest are blank." if n_pairs else " No pair has one."
        )
    return Figure(
        MEASURE_NAMES[measure],
        partial(
            map_heatmap,
            tables.pairs,
            order=tables.order,
            labels=tables.labels,
            measure=measure,
            limit=tables.limit,
            neuron=neuron,
            head=head,
        ),
        tables.data,
        help=define(_DEFINED[measure], manifest) + " " + define("Active", manifest),
        caption=f"{caption} Dots: the head comes too late to reach the neuron. {tables.note}".strip(),
    )
