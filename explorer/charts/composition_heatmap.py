"""Which earlier heads write where later heads read: one cell a pair, senders down, receivers across."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import altair as alt
import pandas as pd

from explorer.charts.channels import channels
from explorer.charts.style import Palette, number
from explorer.core.types import HeadId

PICK = "pick"
"""Name of the selection: a list of `{src_id, dst_id}`."""
_ROW = 12
_THIN = 64
"""From this many rows or columns on, heads are named by layer alone."""


def _firsts(heads: Sequence[str]) -> list[str]:
    """The first head of each layer."""
    seen: dict[str, str] = {}
    for head in heads:
        seen.setdefault(head.split(" ")[0], head)
    return list(seen.values())


def _label_expression(heads: Sequence[str], *, stacked: bool) -> str:
    """A head's index, its layer's name with the first: above it, or before it."""
    index = "slice(split(datum.value, ' ')[1], 1)" if len(heads) < _THIN else "''"
    layer = "split(datum.value, ' ')[0]"
    is_first = f"indexof({_firsts(heads)!r}, datum.value) >= 0"
    if stacked:
        return f"{is_first} ? [{layer}, {index}] : ['', {index}]"
    return f"{is_first} ? {layer} + '   ' + {index} : {index}"


def _axes(
    sources: Sequence[str], destinations: Sequence[str], palette: Palette
) -> tuple[alt.X, alt.Y]:
    plain: dict[str, Any] = {
        "domain": False, "ticks": False, "labelAngle": 0, "labelFontSize": 10, "labelFlush": False,
        "labelColor": palette.muted, "labelOverlap": False, "titleColor": palette.muted,
        "titleFontSize": 12, "titleFontWeight": "normal",
    }  # fmt: skip
    across = alt.Axis(
        orient="top", title="receiver: the later head, which reads", labelLineHeight=11,
        labelPadding=14, titlePadding=4,
        labelExpr=_label_expression(destinations, stacked=True), **plain,
    )  # fmt: skip
    down = alt.Axis(
        title="sender: the earlier head, which writes", labelPadding=5, titlePadding=8,
        labelExpr=_label_expression(sources, stacked=False), **plain,
    )  # fmt: skip
    scale: dict[str, Any] = {"paddingInner": 0.05}
    return (
        alt.X("dst:N", sort=None, axis=across, scale=alt.Scale(domain=list(destinations), **scale)),
        alt.Y("src:N", sort=None, axis=down, scale=alt.Scale(domain=list(sources), **scale)),
    )


def _colour(level: float, limit: float, palette: Palette) -> alt.Color:
    """From the random level up: what lies at it or below is pale."""
    top = max(limit, level * 1.01)
    words = (
        f"datum.value <= {level!r} ? '{number(level, 3)} or less: the random level' "
        ": format(datum.value, '.3f')"
    )
    legend = alt.Legend(
        orient="bottom", direction="horizontal", title=None, gradientLength=240, gradientThickness=10,
        values=[level, (level + top) / 2, top], labelExpr=words, labelColor=palette.muted,
        labelFontSize=12, labelLimit=240, offset=8,
    )  # fmt: skip
    scale = alt.Scale(
        domain=[level, top], range=list(palette.amounts), interpolate="lab", clamp=True
    )
    return alt.Color("score:Q", scale=scale, legend=legend)


def _outline(src: str, dst: str, palette: Palette) -> list[alt.Chart]:
    """The chosen pair: a pale line within an ink one, so that it shows on cells of every colour."""
    cell = alt.Chart(pd.DataFrame({"src": [src], "dst": [dst]}))
    return [
        cell.mark_rect(fill=None, stroke=colour, strokeWidth=width).encode(
            **channels(x="dst:N", y="src:N")
        )
        for colour, width in ((palette.ink, 4.5), (palette.page, 1.5))
    ]


def composition_heatmap(
    pairs: pd.DataFrame,
    *,
    sources: Sequence[str],
    destinations: Sequence[str],
    level: float,
    limit: float,
    mode: str,
    palette: Palette,
    src: str | None = None,
    dst: str | None = None,
) -> alt.LayerChart:
    """Cells coloured by composition score, from the random `level` (pale) to `limit`.

    `pairs` has `src dst` (labels as in `sources` and `destinations`), `src_id dst_id score ratio
    rank`. A pair without a row is a dot: its sender does not come earlier. `src` and `dst` (labels)
    are outlined.
    """
    drawn = pairs.loc[pairs["src"].isin(list(sources)) & pairs["dst"].isin(list(destinations))]
    drawn = drawn.assign(
        shown=[number(v, 3) for v in drawn["score"]],
        times=[f"{number(v, 1)} ×" for v in drawn["ratio"]],
        of=[f"{rank:,} of {len(pairs):,}" for rank in drawn["rank"]],
    )
    x, y = _axes(sources, destinations, palette)
    tooltip = [
        alt.Tooltip("src:N", title="Sender"),
        alt.Tooltip("dst:N", title="Receiver"),
        alt.Tooltip("shown:N", title=f"Composition, {mode}"),
        alt.Tooltip("times:N", title="Random level"),
        alt.Tooltip("of:N", title="Rank among pairs"),
    ]
    cells = (
        alt.Chart(drawn)
        .mark_rect(cursor="pointer")
        .encode(**channels(x=x, y=y, color=_colour(level, limit, palette), tooltip=tooltip))
        .add_params(alt.selection_point(name=PICK, fields=["src_id", "dst_id"], on="click"))
    )
    layers: list[alt.Chart] = [cells]
    dots = pd.DataFrame(
        [
            (s, d) for s in sources for d in destinations
            if HeadId.parse(s).layer >= HeadId.parse(d).layer
        ],
        columns=pd.Index(["src", "dst"]),
    )  # fmt: skip
    if len(dots):
        layers.append(
            alt.Chart(dots)
            .mark_point(filled=True, size=4, color=palette.muted, opacity=0.6)
            .encode(**channels(x="dst:N", y="src:N"))
        )
    if src in set(drawn["src"]) and dst in set(drawn["dst"]):
        layers += _outline(str(src), str(dst), palette)
    first = drawn.head(1).to_dict("records")
    most = (
        f" Strongest: {first[0]['src']} to {first[0]['dst']}, {first[0]['shown']}." if first else ""
    )
    return cast(alt.LayerChart, alt.layer(*layers)).properties(
        height=alt.Step(_ROW),
        description=f"Heatmap of composition, {mode}: {len(sources)} senders by {len(destinations)} "
        f"receivers, {len(drawn)} pairs.{most}",
    )
