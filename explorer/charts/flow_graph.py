"""The flow graph: heads, the neurons they feed, the next token; lines as wide as what flows.

Two units, two scales of width, both fixed for a prompt, so that a slider hides lines and never
rescales them. Orange raises, blue and dashed lowers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import altair as alt
import pandas as pd

from explorer.charts.channels import channels
from explorer.charts.flow_layout import (
    TOKEN_KEY,
    WIDTH,
    WIDTHS,
    FlowEdge,
    FlowNode,
    FlowPlaces,
    line_width,
    on_path,
    place,
)
from explorer.charts.style import Palette

PICK = "node"
"""Name of the selection: a list of `{key}`."""
_CODE = "Source Code Pro, monospace"
_FADED = 0.22
_LINE_OPACITY, _FADED_LINE = 0.62, 0.05
_RULE_OF = {"head": "pre-activation", "neuron": "centred logits"}
_NODE_RULES = {"token": "its logit less the mean over the vocabulary"}
_INSET = 8
_VALUE_ROOM = 58


def _x(field: str, **more: Any) -> alt.X:
    return alt.X(
        field, axis=None, scale=alt.Scale(domain=[0, WIDTH], nice=False, zero=False), **more
    )


def _y(field: str, height: float) -> alt.Y:
    return alt.Y(field, axis=None, scale=alt.Scale(domain=[height, 0], nice=False, zero=False))


def _line_layers(lines: pd.DataFrame, height: float, palette: Palette) -> list[alt.Chart]:
    tooltip = [
        alt.Tooltip("names:N", title="Line"),
        alt.Tooltip("words:N", title="Adds"),
        alt.Tooltip("rule:N", title="Rule"),
    ]
    looks: tuple[tuple[str, str, list[int]], ...] = (
        ("raises", palette.raises, [1, 0]),
        ("lowers", palette.lowers, [18, 4]),
    )
    layers = []
    for sign, colour, dash in looks:
        of = cast(pd.DataFrame, lines[lines["sign"] == sign])
        if of.empty:
            continue
        layers.append(
            alt.Chart(of)
            .mark_line(interpolate="basis", color=colour, strokeDash=dash, strokeCap="butt")
            .encode(
                **channels(
                    x=_x("x:Q"),
                    y=_y("y:Q", height),
                    detail="line:N",
                    order="order:Q",
                    strokeWidth=alt.StrokeWidth("width:Q", scale=None),
                    opacity=alt.Opacity("opacity:Q", scale=None),
                    tooltip=tooltip,
                )
            )
        )
    return layers


def _boxes(nodes: pd.DataFrame, height: float, palette: Palette) -> alt.Chart:
    tooltip = [
        alt.Tooltip("name:N", title="Node"),
        alt.Tooltip("words:N", title="Here"),
        alt.Tooltip("rule:N", title="Rule"),
    ]
    return (
        alt.Chart(nodes)
        .mark_rect(cornerRadius=5, fill=palette.page, cursor="pointer")
        .encode(
            **channels(
                x=_x("left:Q"),
                x2="right:Q",
                y=_y("top:Q", height),
                y2="bottom:Q",
                stroke=alt.Stroke("outline:N", scale=None),
                strokeWidth=alt.StrokeWidth("border:Q", scale=None),
                strokeOpacity=alt.StrokeOpacity("outlined:Q", scale=None),
                tooltip=tooltip,
            )
        )
        .add_params(alt.selection_point(name=PICK, fields=["key"], on="click"))
    )


def _texts(nodes: pd.DataFrame, height: float, palette: Palette) -> list[alt.Chart]:
    """Names at the left of a node, its number at the right; a head's name in the middle."""

    def text(of: pd.DataFrame, field: str, at: str, dx: int, **look: Any) -> alt.Chart:
        return (
            alt.Chart(of)
            .mark_text(baseline="middle", dx=dx, fontSize=12, color=palette.ink, **look)
            .encode(
                **channels(
                    x=_x(f"{at}:Q"),
                    y=_y("y:Q", height),
                    text=f"{field}:N",
                    opacity=alt.Opacity("shown:Q", scale=None),
                )
            )
        )

    layers = []
    for kind, width in WIDTHS.items():
        of = cast(pd.DataFrame, nodes[nodes["kind"] == kind])
        if of.empty:
            continue
        if kind == "head":
            layers.append(text(of, "name", "x", 0, align="center", font=_CODE, limit=width - 4))
            continue
        weight = 600 if kind == "token" else 400
        layers += [
            text(of, "name", "left", _INSET, align="left", font=_CODE, fontWeight=weight,
                 limit=width - _INSET - _VALUE_ROOM),
            text(of, "value", "right", -_INSET, align="right", fontWeight=600),
        ]  # fmt: skip
    return layers


def _headers(headers: pd.DataFrame, height: float, palette: Palette) -> list[alt.Chart]:
    layers = []
    for role, size, colour in (("band", 13, palette.ink), ("column", 12, palette.muted)):
        layers.append(
            alt.Chart(cast(pd.DataFrame, headers[headers["role"] == role]))
            .mark_text(baseline="middle", align="center", fontSize=size, color=colour)
            .encode(**channels(x=_x("x:Q"), y=_y("y:Q", height), text="text:N"))
        )
    return layers


def _dressed(
    places: FlowPlaces,
    edges: Sequence[FlowEdge],
    largest: Mapping[str, float],
    rules: Mapping[str, str],
    isolated: str | None,
    palette: Palette,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Nodes and lines with how they look: outlined what is isolated, faded what is on no path of it."""
    nodes, lines = places.nodes, places.lines
    on_nodes, on_lines = set(nodes["key"]), {(edge.source, edge.target) for edge in edges}
    is_whole = isolated is None or isolated not in on_nodes
    if not is_whole:
        on_nodes, on_lines = on_path(str(isolated), edges)
    chosen = [key == isolated for key in nodes["key"]]
    shown = [1.0 if key in on_nodes else _FADED for key in nodes["key"]]
    nodes = nodes.assign(
        outline=[palette.ink if yes else palette.muted for yes in chosen],
        border=[2.2 if yes else 1.0 for yes in chosen],
        outlined=[1.0 if yes else 0.65 * part for yes, part in zip(chosen, shown, strict=True)],
        shown=shown,
        rule=[_NODE_RULES.get(kind) or rules[_RULE_OF[kind]] for kind in nodes["kind"]],
    )
    pairs = zip(lines["source"], lines["target"], strict=True)
    strong = _LINE_OPACITY if is_whole else 0.8
    lines = lines.assign(
        width=[
            line_width(value, largest[unit])
            for value, unit in zip(lines["value"], lines["unit"], strict=True)
        ],
        opacity=[strong if pair in on_lines else _FADED_LINE for pair in pairs],
        rule=[rules[unit] for unit in lines["unit"]],
    )
    return nodes, lines


def flow_graph(
    nodes: Sequence[FlowNode],
    edges: Sequence[FlowEdge],
    *,
    n_layers: int,
    largest: Mapping[str, float],
    rules: Mapping[str, str],
    palette: Palette,
    isolated: str | None = None,
) -> alt.LayerChart:
    """Draw the nodes and what flows between them.

    `largest` is the size of the widest line of each unit (`pre-activation`, `centred logits`), `rules`
    says how each is computed. `isolated` is the key of a node: only its paths stay strong. The
    selection `PICK` gives the key of a node that was clicked.
    """
    places = place(nodes, edges, n_layers)
    drawn, lines = _dressed(places, edges, largest, rules, isolated, palette)
    n_heads = sum(node.kind == "head" for node in nodes)
    n_neurons = sum(node.kind == "neuron" for node in nodes)
    token = next((node.name for node in nodes if node.key == TOKEN_KEY), "")
    layers = [
        *_line_layers(lines, places.height, palette),
        _boxes(drawn, places.height, palette),
        *_texts(drawn, places.height, palette),
        *_headers(places.headers, places.height, palette),
    ]
    return cast(alt.LayerChart, alt.layer(*layers)).properties(
        width=WIDTH,
        height=places.height,
        description=f"Flow from {n_heads} heads through {n_neurons} neurons to the token {token}, "
        f"{len(edges)} lines as wide as what flows.",
    )
