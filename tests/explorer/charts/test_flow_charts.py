"""The flow graph: nothing overlaps, no line hides behind a node, widths and colours say the values."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer.charts.export import to_svg
from explorer.charts.flow_graph import PICK, flow_graph
from explorer.charts.flow_layout import (
    MAX_LINE,
    TOKEN_KEY,
    WIDTH,
    FlowEdge,
    FlowNode,
    FlowPlaces,
    line_width,
    on_path,
    place,
)
from explorer.charts.style import DARK, LIGHT, Palette
from explorer.core.flow import MAX_EDGES

LARGEST = {"pre-activation": 2.0, "centred logits": 1.0}
RULES = {"pre-activation": "rule one", "centred logits": "rule two"}


def _head(layer: int, index: int, weight: float = 1.0) -> FlowNode:
    return FlowNode(f"L{layer}H{index}", "head", layer, f"L{layer} H{index}", "", "adds", weight)


def _neuron(layer: int, index: int, weight: float = 1.0, name: str = "␣come") -> FlowNode:
    key = f"L{layer}N{index}"
    return FlowNode(key, "neuron", layer, f"L{layer} N{index} {name}", "+0.50", "here", weight)


TOKEN = FlowNode(TOKEN_KEY, "token", 0, "␣come", "41.0 %", "rank 1", 0.0)
NODES = (
    _head(0, 1, 3.0),
    _head(2, 0, 2.0),
    _head(1, 3),
    _neuron(1, 7, 0.9),
    _neuron(3, 2, 0.4),
    TOKEN,
)
EDGES = (
    FlowEdge("L0H1", "L1N7", 2.0),
    FlowEdge("L0H1", "L3N2", 1.0),
    FlowEdge("L2H0", "L3N2", -1.5),
    FlowEdge("L1H3", "L1N7", -0.25),
    FlowEdge("L1N7", TOKEN_KEY, 0.9),
    FlowEdge("L3N2", TOKEN_KEY, -0.4),
)


def _draw(palette: Palette = LIGHT, **changes: Any) -> dict[str, Any]:
    options: dict[str, Any] = {"n_layers": 4, "largest": LARGEST, "rules": RULES}
    nodes, edges = changes.pop("nodes", NODES), changes.pop("edges", EDGES)
    return flow_graph(nodes, edges, palette=palette, **(options | changes)).to_dict()


def _rows(spec: dict[str, Any], *columns: str) -> pd.DataFrame:
    """All rows of the chart that have these columns."""
    rows = [row for part in spec["datasets"].values() for row in part if {*columns} <= {*row}]
    return pd.DataFrame(rows)


def _overlaps(places: FlowPlaces) -> list[tuple[str, str]]:
    boxes = places.nodes.to_dict("records")
    return [
        (one["key"], other["key"])
        for n, one in enumerate(boxes)
        for other in boxes[:n]
        if one["left"] < other["right"] and other["left"] < one["right"]
        and one["top"] < other["bottom"] and other["top"] < one["bottom"]
    ]  # fmt: skip


def _hidden(places: FlowPlaces) -> list[tuple[int, str]]:
    """Level stretches of lines that pass behind a node which they neither leave nor reach."""
    found = []
    boxes = places.nodes.to_dict("records")
    for number, points in places.lines.groupby("line"):
        rows = points.sort_values("order").to_dict("records")
        ends = {rows[0]["source"], rows[0]["target"]}
        for one, other in pairwise(rows):
            if one["y"] != other["y"]:
                continue
            found += [
                (number, box["key"])
                for box in boxes
                if box["key"] not in ends and box["top"] < one["y"] < box["bottom"]
                and one["x"] < box["right"] and box["left"] < other["x"]
            ]  # fmt: skip
    return found


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[FlowNode], list[FlowEdge], int]:
    n_layers = draw(st.sampled_from([1, 2, 6, 12, 36]))
    place_of = st.tuples(st.integers(0, n_layers - 1), st.integers(0, 19))
    weights = st.floats(0, 5)
    heads = [_head(*at, draw(weights)) for at in draw(st.sets(place_of, max_size=40))]
    neurons = [_neuron(*at, draw(weights)) for at in draw(st.sets(place_of, max_size=20))]
    edges = [FlowEdge(h.key, n.key, draw(st.floats(-3, 3))) for h in heads for n in neurons[:2]]
    edges += [FlowEdge(n.key, TOKEN_KEY, draw(st.floats(-3, 3))) for n in neurons]
    return [*heads, *neurons, TOKEN], edges, n_layers


@settings(max_examples=40, deadline=None)
@given(graphs())
def test_no_node_covers_another_and_no_line_hides_behind_one(
    graph: tuple[list[FlowNode], list[FlowEdge], int],
) -> None:
    places = place(*graph)
    assert len(places.nodes) == len(graph[0])
    assert _overlaps(places) == []
    assert _hidden(places) == []
    assert places.nodes["left"].min() >= 0
    assert places.nodes["right"].max() <= WIDTH
    assert places.nodes["bottom"].max() <= places.height
    assert set(places.lines["line"]) == set(range(len(graph[1])))


def test_the_checks_of_places_can_fail() -> None:
    places = place(NODES, EDGES, 4)
    level = places.nodes.assign(y=100.0, top=90.0, bottom=110.0, left=0.0, right=900.0)
    assert _overlaps(FlowPlaces(level, places.lines, places.headers, places.height))
    tall = places.nodes.assign(top=0.0, bottom=places.height)
    assert _hidden(FlowPlaces(tall, places.lines, places.headers, places.height))


def test_lines_run_from_the_edge_of_a_node_to_the_edge_of_the_next() -> None:
    places = place(NODES, EDGES, 4)
    box = places.nodes.set_index("key")
    for _, points in places.lines.groupby("line"):
        first, last = points.iloc[0], points.iloc[-1]
        assert (first["x"], first["y"]) == (
            box.at[first["source"], "right"],
            box.at[first["source"], "y"],
        )
        assert (last["x"], last["y"]) == (
            box.at[last["target"], "left"],
            box.at[last["target"], "y"],
        )
        assert points["x"].is_monotonic_increasing


def test_later_layers_stand_further_right_and_heavier_nodes_higher() -> None:
    box = place(NODES, EDGES, 4).nodes.set_index("key")
    assert box.at["L0H1", "x"] < box.at["L1H3", "x"] < box.at["L2H0", "x"]
    assert box.at["L0H1", "y"] < box.at["L2H0", "y"] < box.at["L1H3", "y"]
    assert box.at["L1N7", "x"] < box.at["L3N2", "x"] < box.at[TOKEN_KEY, "x"]
    assert box.at["L1N7", "y"] < box.at["L3N2", "y"]
    # A head stands where its layer does, whichever others are shown.
    alone = place([_head(2, 0), TOKEN], [], 4).nodes.set_index("key")
    assert alone.at["L2H0", "x"] == box.at["L2H0", "x"]


def test_widths_are_sizes_of_their_own_unit() -> None:
    lines = _rows(_draw(), "width", "source").drop_duplicates("line").set_index("source")
    assert line_width(2.0, 2.0) == MAX_LINE
    for (source, target), width in zip(
        zip(lines.index, lines["target"], strict=True), lines["width"], strict=True
    ):
        value = next(e.value for e in EDGES if (e.source, e.target) == (source, target))
        largest = LARGEST["centred logits" if target == TOKEN_KEY else "pre-activation"]
        assert width == pytest.approx(MAX_LINE * abs(value) / largest)
    assert line_width(1e-9, 2.0) > 0
    assert line_width(0.0, 0.0) > 0


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_sign_is_colour_and_dashes_and_a_number(palette: Palette) -> None:
    spec = _draw(palette)
    looks = {}
    for layer in spec["layer"]:
        if layer["mark"]["type"] == "line":
            rows = spec["datasets"][layer["data"]["name"]]
            assert len({row["sign"] for row in rows}) == 1
            looks[rows[0]["sign"]] = (layer["mark"]["color"], layer["mark"]["strokeDash"])
    assert looks["raises"] == (palette.raises, [1, 0])
    assert looks["lowers"][0] == palette.lowers
    assert looks["lowers"][1][1] > 0
    words = _rows(spec, "names", "words").set_index("names")["words"].to_dict()
    assert words["L2 H0 → L3 N2 ␣come"] == "−1.50 pre-activation"
    assert words["L1 N7 ␣come → ␣come"] == "+0.90 centred logits"


def test_paths_through_a_node_go_on_to_the_token() -> None:
    nodes, lines = on_path("L2H0", EDGES)
    assert lines == {("L2H0", "L3N2"), ("L3N2", TOKEN_KEY)}
    assert nodes == {"L2H0", "L3N2", TOKEN_KEY}
    nodes, lines = on_path("L1N7", EDGES)
    assert lines == {("L0H1", "L1N7"), ("L1H3", "L1N7"), ("L1N7", TOKEN_KEY)}
    assert "L3N2" not in nodes
    assert on_path(TOKEN_KEY, EDGES)[1] == {(e.source, e.target) for e in EDGES}


def test_isolation_outlines_one_node_and_fades_what_is_off_its_paths() -> None:
    spec = _draw(isolated="L2H0")
    nodes = _rows(spec, "outline", "key").drop_duplicates("key").set_index("key")
    assert list(nodes.index[nodes["outline"] == LIGHT.ink]) == ["L2H0"]
    assert set(nodes.index[nodes["shown"] == 1]) == {"L2H0", "L3N2", TOKEN_KEY}
    lines = _rows(spec, "opacity", "source").drop_duplicates("line")
    strong = lines[lines["opacity"] > 0.5]
    assert set(zip(strong["source"], strong["target"], strict=True)) == {
        ("L2H0", "L3N2"), ("L3N2", TOKEN_KEY)
    }  # fmt: skip
    for nobody in (None, "L9H9"):
        whole = _rows(_draw(isolated=nobody), "opacity", "source")
        assert whole["opacity"].nunique() == 1
    assert any(param["name"] == PICK for param in spec["params"])


def test_hostile_names_are_text() -> None:
    evil = '<script>alert("x")</script>'
    nodes = (
        _head(0, 1),
        _neuron(1, 7, 1.0, evil),
        FlowNode(TOKEN_KEY, "token", 0, evil, "1 %", "", 0),
    )
    spec = _draw(nodes=nodes, edges=EDGES[:1] + EDGES[4:5])
    assert evil in set(_rows(spec, "key", "name")["name"])
    chart = flow_graph(nodes, EDGES[:1], n_layers=4, largest=LARGEST, rules=RULES, palette=LIGHT)
    svg = to_svg(chart, "Flow", [evil])
    assert "<script>" not in svg
    assert "&lt;script&gt;" in svg


def test_a_graph_without_heads_or_neurons_is_the_token() -> None:
    spec = _draw(nodes=(TOKEN,), edges=(), n_layers=1)
    assert set(_rows(spec, "key", "name")["name"]) == {"␣come"}
    assert "0 heads through 0 neurons" in spec["description"]


def test_the_fullest_graph_stays_below_5000_marks() -> None:
    heads = [_head(layer, index) for layer in range(36) for index in range(20)][:MAX_EDGES]
    neurons = [_neuron(35, index) for index in range(20)]
    edges = [FlowEdge(h.key, neurons[n % 20].key, 1.0) for n, h in enumerate(heads)]
    edges += [FlowEdge(n.key, TOKEN_KEY, 0.1) for n in neurons]
    spec = _draw(nodes=[*heads, *neurons, TOKEN], edges=edges, n_layers=36)
    n_marks = 0
    for layer in spec["layer"]:
        rows = spec["datasets"][layer["data"]["name"]]
        is_line = layer["mark"]["type"] == "line"
        n_marks += len({row["line"] for row in rows}) if is_line else len(rows)
    assert len(edges) < n_marks < 5000
