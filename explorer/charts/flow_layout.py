"""Where the nodes and lines of a flow graph stand: heads by layer, then neurons, then the token.

Every head and every neuron has a row of its own, largest contribution on top, and stands further right
for a later layer. So no two overlap, and a line runs along its own row until it is past all of them:
none passes behind a node that it does not lead to. Lengths are pixels of a figure `WIDTH` wide.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from explorer.charts.style import signed

Kind = Literal["head", "neuron", "token"]
_KINDS: tuple[Kind, ...] = ("head", "neuron", "token")
TOKEN_KEY = "token"
WIDTH = 1280
HEADER = 44
"""Room above the rows for the names of bands and layers."""
WIDTHS: dict[Kind, int] = {"head": 60, "neuron": 226, "token": 156}
PILL = 22
MAX_LINE = 14.0
"""Width of the widest line of each unit."""
_MIN_LINE = 0.5
_ROWS: dict[Kind, int] = {"head": 25, "neuron": 30, "token": 30}
"""Height of a row."""
_HEADS = (32.0, 470.0)
_HEAD_PITCH = 84.0
_NEURONS = (800.0, 860.0)
_TOKEN = WIDTH - WIDTHS["token"] / 2 - 2
_BEFORE = (_HEADS[1] + WIDTHS["head"] / 2, _NEURONS[0] - WIDTHS["neuron"] / 2)
_AFTER = (_NEURONS[1] + WIDTHS["neuron"] / 2, _TOKEN - WIDTHS["token"] / 2)
"""The gaps in which lines bend: before the neurons, after them."""
_LABEL_ROOM = 26.0
_LEAST_HEIGHT = 160.0
_BOX_COLUMNS = ("key", "kind", "name", "value", "words", "x", "y", "left", "right", "top", "bottom")
_LINE_COLUMNS = ("line", "order", "x", "y", "sign", "value", "unit", "source", "target", "names",
                 "words")  # fmt: skip


@dataclass(frozen=True)
class FlowNode:
    """A head, a neuron or the token: its key in URLs, its names, and the weight that ranks it."""

    key: str
    kind: Kind
    layer: int
    name: str
    value: str
    """Its number as it stands in the node; empty for none."""
    words: str
    weight: float


@dataclass(frozen=True)
class FlowEdge:
    """What one node adds to the next; positive raises. Head to neuron in pre-activation units, neuron
    to token in centred logits."""

    source: str
    target: str
    value: float

    @property
    def unit(self) -> str:
        return "centred logits" if self.target == TOKEN_KEY else "pre-activation"


def _frame(rows: Sequence[Any], columns: tuple[str, ...]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=pd.Index(columns))


@dataclass(frozen=True)
class FlowPlaces:
    """A graph laid out. `height` includes the header."""

    nodes: pd.DataFrame
    """`key kind name value words x y left right top bottom`."""
    lines: pd.DataFrame
    """Six points a line: `line order x y sign value unit source target names words`."""
    headers: pd.DataFrame
    """`x y text role`: names of columns and bands."""
    height: float


def _by_weight(nodes: Sequence[FlowNode], kind: Kind) -> list[FlowNode]:
    mine = [node for node in nodes if node.kind == kind]
    return sorted(mine, key=lambda node: (-node.weight, node.layer, node.key))


def _rows(n: int, kind: Kind) -> list[float]:
    """Middles of n rows, from the top."""
    return [HEADER + (place + 0.5) * _ROWS[kind] for place in range(n)]


def _layer_places(n_layers: int, ends: tuple[float, float], pitch: float) -> list[float]:
    """Where each layer of the model stands: in even steps, the last one at the right end."""
    step = min(pitch, (ends[1] - ends[0]) / max(1, n_layers - 1))
    return [ends[1] - step * (n_layers - 1 - layer) for layer in range(n_layers)]


def _box(node: FlowNode, x: float, y: float) -> dict[str, Any]:
    half = WIDTHS[node.kind] / 2
    return {
        "key": node.key, "kind": node.kind, "name": node.name, "value": node.value,
        "words": node.words, "x": x, "y": y, "left": x - half, "right": x + half,
        "top": y - PILL / 2, "bottom": y + PILL / 2,
    }  # fmt: skip


def _bend(
    x: float, y: float, gap: tuple[float, float], x_end: float, y_end: float
) -> list[tuple[float, float]]:
    """Along the row of the start, over to that of the end within the gap, and along it."""
    third = (gap[1] - gap[0]) / 3
    return [(x, y), (gap[0], y), (gap[0] + third, y), (gap[1] - third, y_end), (gap[1], y_end),
            (x_end, y_end)]  # fmt: skip


def _lines(edges: Sequence[FlowEdge], boxes: dict[str, dict[str, Any]]) -> pd.DataFrame:
    rows = []
    # Wide lines first, so that narrow ones lie over them and can be pointed at.
    for number, edge in enumerate(sorted(edges, key=lambda e: -abs(e.value))):
        start, end = boxes[edge.source], boxes[edge.target]
        gap = _AFTER if edge.target == TOKEN_KEY else _BEFORE
        facts = {
            "line": number, "sign": "raises" if edge.value >= 0 else "lowers", "value": edge.value,
            "unit": edge.unit, "source": edge.source, "target": edge.target,
            "names": f"{start['name']} → {end['name']}", "words": f"{signed(edge.value)} {edge.unit}",
        }  # fmt: skip
        points = _bend(start["right"], start["y"], gap, end["left"], end["y"])
        rows += [{**facts, "order": n, "x": x, "y": y} for n, (x, y) in enumerate(points)]
    return _frame(rows, _LINE_COLUMNS)


def line_width(value: float, largest: float) -> float:
    """Pixels of a line: its size over the largest of its unit, times `MAX_LINE`."""
    return max(_MIN_LINE, MAX_LINE * abs(value) / largest) if largest > 0 else _MIN_LINE


def _headers(layers: Sequence[float]) -> pd.DataFrame:
    """Names of the three bands, and of the heads' layers as far as there is room."""
    texts: list[tuple[float, float, str, str]] = [
        ((layers[0] + layers[-1]) / 2, 10.0, "heads, by layer", "band"),
        (sum(_NEURONS) / 2, 10.0, "neurons", "band"),
        (sum(_NEURONS) / 2, 29.0, "the token each writes, what it adds here", "column"),
        (_TOKEN, 10.0, "next token", "band"),
        (_TOKEN, 29.0, "its probability", "column"),
    ]
    room = layers[-1] - layers[-2] if len(layers) > 1 else _LABEL_ROOM
    every = max(1, math.ceil(_LABEL_ROOM / room))
    texts += [(layers[n], 29.0, str(n), "column") for n in range(0, len(layers), every)]
    return _frame(texts, ("x", "y", "text", "role"))


def place(nodes: Sequence[FlowNode], edges: Sequence[FlowEdge], n_layers: int) -> FlowPlaces:
    """Lay a graph out. Every edge joins two of the nodes; `n_layers` are the model's."""
    layers: dict[Kind, list[float]] = {
        "head": _layer_places(n_layers, _HEADS, _HEAD_PITCH),
        "neuron": _layer_places(n_layers, _NEURONS, _NEURONS[1] - _NEURONS[0]),
        "token": [_TOKEN],
    }
    ranked: dict[Kind, list[FlowNode]] = {kind: _by_weight(nodes, kind) for kind in _KINDS}
    tallest = max(_ROWS[kind] * len(mine) for kind, mine in ranked.items())
    height = HEADER + max(tallest, _LEAST_HEIGHT)
    # The token stands level with the middle of what leads to it.
    beside = _ROWS["neuron"] * len(ranked["neuron"]) or tallest
    middles = {kind: _rows(len(ranked[kind]), kind) for kind in _KINDS}
    middles["token"] = [HEADER + beside / 2] * len(ranked["token"])
    boxes: dict[str, dict[str, Any]] = {}
    for kind, mine in ranked.items():
        for node, y in zip(mine, middles[kind], strict=True):
            boxes[node.key] = _box(node, layers[kind][node.layer], y)
    boxed = _frame(list(boxes.values()), _BOX_COLUMNS)
    return FlowPlaces(boxed, _lines(edges, boxes), _headers(layers["head"]), height)


def on_path(key: str, edges: Sequence[FlowEdge]) -> tuple[set[str], set[tuple[str, str]]]:
    """The nodes and lines of all paths through a node: what comes into it, what it leads to, and on
    to the token."""
    lines = {(edge.source, edge.target) for edge in edges}
    if key != TOKEN_KEY:
        beyond = {target for source, target in lines if source == key} | {key}
        lines = {
            (source, target)
            for source, target in lines
            if key in (source, target) or (source in beyond and target == TOKEN_KEY)
        }
    return {key, TOKEN_KEY} | {end for line in lines for end in line}, lines
