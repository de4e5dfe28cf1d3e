"""The figures of Channels: every mark is a given number, the random level is where it is said to be."""

from __future__ import annotations

import html
from typing import Any

import numpy as np
import pandas as pd
import pytest

from explorer.charts.component_bars import (
    neuron_rows,
    part_bars,
    prompt_rows,
    singular_bars,
    token_rows,
)
from explorer.charts.component_dots import component_dots
from explorer.charts.component_strip import component_strip_html, signed_colour
from explorer.charts.composition_heatmap import composition_heatmap
from explorer.charts.dial_curve import dial_figure, dial_rows
from explorer.charts.export import to_svg
from explorer.charts.style import DARK, LIGHT, Palette
from tests.explorer.page_reader import chart_rows, layer_marks

PALETTES = (LIGHT, DARK)
HOSTILE = "<script>alert(1)</script>"


def _pairs() -> pd.DataFrame:
    names = [("L0 H0", "L1 H0", 0.3), ("L0 H1", "L1 H0", 0.1), ("L0 H0", "L1 H1", 0.05)]
    return pd.DataFrame(
        {"src": [s for s, _, _ in names], "dst": [d for _, d, _ in names],
         "src_id": [s.replace(" ", "") for s, _, _ in names],
         "dst_id": [d.replace(" ", "") for _, d, _ in names],
         "score": [v for *_, v in names], "ratio": [v / 0.1 for *_, v in names], "rank": [1, 2, 3]}
    )  # fmt: skip


def _heatmap(palette: Palette = LIGHT, **changes: Any) -> Any:
    given: dict[str, Any] = {
        "sources": ("L0 H0", "L0 H1", "L1 H0"), "destinations": ("L1 H0", "L1 H1"), "level": 0.1,
        "limit": 0.3, "mode": "Q", "palette": palette,
    }  # fmt: skip
    return composition_heatmap(_pairs(), **given | changes)


@pytest.mark.parametrize("palette", PALETTES)
def test_the_scale_of_composition_begins_at_the_random_level(palette: Palette) -> None:
    spec = _heatmap(palette, src="L0 H0", dst="L1 H0").to_dict()
    scale = spec["layer"][0]["encoding"]["color"]["scale"]
    assert scale["domain"] == [0.1, 0.3] and scale["clamp"]
    assert scale["range"] == list(palette.amounts)
    legend = spec["layer"][0]["encoding"]["color"]["legend"]
    assert "0.100 or less: the random level" in legend["labelExpr"]
    # Equal or later layers are dots; an earlier sender without a score is not one.
    (dots,) = [rows for rows in chart_rows(_heatmap(palette)) if {*rows[0]} == {"src", "dst"}]
    assert dots == [{"src": "L1 H0", "dst": "L1 H0"}, {"src": "L1 H0", "dst": "L1 H1"}]
    assert layer_marks(_heatmap(palette, src="L0 H0", dst="L1 H0")).count("rect") == 3


def test_a_scale_without_height_still_has_ends() -> None:
    scale = _heatmap(limit=0.02).to_dict()["layer"][0]["encoding"]["color"]["scale"]
    assert scale["domain"][0] < scale["domain"][1]


def _senders() -> pd.DataFrame:
    return pd.DataFrame(
        {"src": ["L0H0", "L0H1", "L1H1"], "component": [0, 3, 1],
         "label": ["L0 H0 · 0", "L0 H1 · 3", "L1 H1 · 1"], "score": [0.4, 0.2, 0.1],
         "shown_score": ["0.400", "0.200", "0.100"], "shown_z": ["+9.0", "+4.1", "+1.0"],
         "stands_out": [True, True, False]}
    )  # fmt: skip


@pytest.mark.parametrize("palette", PALETTES)
def test_dots_have_the_floor_and_the_line_of_z(palette: Palette) -> None:
    drawn = component_dots(_senders(), level=0.06, z_line=0.19, receiver="L2 H0", src="L0H1",
                           component=3, palette=palette)  # fmt: skip
    lines = [rows[0] for rows in chart_rows(drawn) if {*rows[0]} == {"score", "words"}]
    assert {(row["score"], row["words"]) for row in lines} == {
        (0.06, "random level 0.060"), (0.19, "z = 4"),
    }  # fmt: skip
    assert [{"label": "L0 H1 · 3"}] in chart_rows(drawn)
    assert "3 of them, 2 standing out; first L0 H0 · 0" in drawn.to_dict()["description"]
    without = component_dots(_senders(), level=0.06, z_line=None, receiver="L2 H0", palette=palette)
    assert "z = 4" not in str(without.to_dict())


@pytest.mark.parametrize("palette", PALETTES)
def test_bars_keep_their_numbers(palette: Palette) -> None:
    values = pd.DataFrame({"component": [0, 1, 2], "singular_value": [3.0, 2.0, 0.5]})
    drawn = singular_bars(values, of="L0 H0 OV", component=1, palette=palette).to_dict()
    assert "3 components, the first 3.00" in drawn["description"]
    parts = pd.DataFrame({"component": [0, 1], "part": [0.7, -0.2], "value": [1.5, -0.5]})
    bars = part_bars(parts, total=0.5, palette=palette)
    assert "summing to +0.50, the largest component 0, +0.70" in bars.to_dict()["description"]
    rows = next(rows for rows in chart_rows(bars) if "part" in rows[0] and len(rows) == 2)
    assert [row["shown"] for row in rows] == ["+0.70", "−0.20"]
    low, high = bars.to_dict()["layer"][0]["encoding"]["y"]["scale"]["domain"]
    assert low < -0.2 and high > 0.7


def test_rows_of_tokens_neurons_and_prompts_keep_hostile_texts_as_texts() -> None:
    tokens = pd.DataFrame({"label": [HOSTILE, HOSTILE, "a"], "value": [0.5, 0.4, 0.3]})
    neurons = pd.DataFrame(
        {"neuron": ["L1N2", "L1N3"], "label": [f"L1 N2 {HOSTILE}", "L1 N3 x"], "value": [0.5, -0.4],
         "part": ["+0.10", "–"], "contribution": ["+0.20", "–"]}
    )  # fmt: skip
    prompts = pd.DataFrame(
        {"prompt_id": [4, 5], "label": [HOSTILE, HOSTILE], "part": [0.5, -0.1],
         "contribution": [0.6, 0.2], "activation": [2.0, np.nan], "active": [True, False]}
    )  # fmt: skip
    drawings = (
        token_rows(tokens, title="What it reads", palette=LIGHT),
        neuron_rows(neurons, neuron="L1N3", palette=LIGHT),
        prompt_rows(prompts, prompt=5, palette=LIGHT),
    )
    for drawn, n in zip(drawings, (3, 2, 2), strict=True):
        svg = to_svg(drawn, "title", [])
        assert "<script" not in svg
        # Each row has a place of its own, also where two read the same.
        assert len(set(drawn.to_dict()["layer"][0]["encoding"]["y"]["scale"]["domain"])) == n
    texts = str(prompt_rows(prompts, palette=LIGHT).to_dict()["datasets"])
    assert "'along': '–'" in texts and "'along': '2.00'" in texts


@pytest.mark.parametrize("palette", PALETTES)
def test_a_curve_marks_before_and_now_and_keeps_its_specification(palette: Palette) -> None:
    points = pd.DataFrame(
        {"strength": [0.0, 1.0, 2.0], "value": [0.1, 0.3, 0.2], "shown": list("abc")}
    )

    def rows(at: float, value: float) -> pd.DataFrame:
        return dial_rows(points, before=(1.0, 0.3, "b"), now=(at, value, "n"), prompt="x")

    first, second = rows(0.0, 0.1), rows(2.0, 0.2)
    assert first.query("role == 'now'")["strength"].tolist() == [0.0]
    assert second.query("role == 'before'")["value"].tolist() == [0.3]
    assert first.query("role == 'room'")["value"].iloc[0] > 0.3
    specs = []
    for given in (first, second):
        spec = dial_figure(given, palette=palette, axis="factor", percent=True).to_dict()
        for name in ("data", "datasets"):
            spec.pop(name)
        specs.append(spec)
    assert specs[0] == specs[1]


def test_the_strip_is_escaped_and_its_colours_are_signed() -> None:
    strip = component_strip_html([HOSTILE, " b"], [2.0, -1.0], palette=LIGHT, label=f'"{HOSTILE}')
    assert "<script" not in strip and html.escape(HOSTILE) in strip
    assert "<i>2.0</i>" in strip and "<i>−1.0</i>" in strip
    assert strip.count(" here") == 1
    assert signed_colour(2.0, 2.0, LIGHT) == LIGHT.signed[-1]
    assert signed_colour(-2.0, 2.0, LIGHT) == LIGHT.signed[0]
    assert signed_colour(0.1, 2.0, LIGHT) in LIGHT.signed[4:6]
    assert signed_colour(0.0, 0.0, LIGHT) == LIGHT.panel
    with pytest.raises(ValueError, match="a value a token"):
        component_strip_html(["a"], [1.0, 2.0], palette=LIGHT, label="x")
