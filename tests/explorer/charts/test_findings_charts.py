"""The charts, tables and sentences of Findings say what they are given, failure included."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import altair as alt
import pandas as pd
import pytest

from explorer.charts.depth_lines import depth_lines, spread
from explorer.charts.effect_scatter import effect_scatter, joint_scatter
from explorer.charts.export import to_svg
from explorer.charts.findings_text import (
    REFERENCES,
)
from explorer.charts.removal_curves import removal_curves
from explorer.charts.run_marks import GLYPHS, SHAPES, run_names
from explorer.charts.runs_table import RunRow, references_table, runs_data, runs_table
from explorer.charts.score_histograms import Ridge, RidgeScale, score_histograms
from explorer.charts.style import DARK, LIGHT
from explorer.core.findings import Estimate
from tests.explorer.page_reader import chart_rows, layer_marks

HOSTILE = "<img src=x onerror=alert(1)>"
EDGES = (0.0, 0.25, 0.5, 0.75, 1.0)
SCALE = RidgeScale(EDGES, 0.5, "guessing", 0.75, "score", "pairs")


def estimate(value: float, low: float | None, high: float | None, n: int = 40) -> Estimate:
    return Estimate(value, low, high, n, n)


# --- distributions ----------------------------------------------------------------------------


def _ridges() -> tuple[Ridge, ...]:
    marks = (("mean", 0.7, 0.65, 0.75), ("random", 0.6, 0.5, 0.7), ("shuffle", 0.5, 0.49, 0.51))
    full = Ridge("one", "10 pairs", (0.1, 0.2, 0.4, 0.3), (1, 2, 4, 3), (0.5, 0.5, 0.0, 0.0),
                 (2, 2, 0, 0), marks, ("0.70", "rand. 0.60"))  # fmt: skip
    return full, Ridge("two", "no score", (), (), (), (), (), ("–", "rand. –"))


def _rows(drawn: alt.LayerChart, *columns: str) -> list[dict[str, Any]]:
    found = [rows for rows in chart_rows(drawn) if rows and {*columns} <= set(rows[0])]
    return max(found, key=len)


def test_bars_are_shares_on_one_scale_for_bars_and_outline() -> None:
    drawn = score_histograms(_ridges(), scale=SCALE, palette=LIGHT)
    bars = _rows(drawn, "x2", "y2", "held")
    heights = [bar["y2"] - bar["y"] for bar in bars]
    assert [h / heights[2] for h in heights] == pytest.approx([0.25, 0.5, 1.0, 0.75])
    assert {bar["y"] for bar in bars} == {1}  # the first run stands above the second
    assert [bar["strong"] for bar in bars] == [False, False, False, True]
    assert bars[2]["held"] == "4 pairs (40 %)"
    assert bars[0]["outline"] == "2 (50 %)"
    outline = _rows(drawn, "order", "place")
    tallest = max(point["y"] for point in outline) - 1
    assert tallest / heights[2] == pytest.approx(0.5 / 0.4)
    assert tallest < 1  # never into the row above


def test_means_and_nulls_stand_below_the_bars() -> None:
    drawn = score_histograms(_ridges(), scale=SCALE, palette=LIGHT)
    marks = _rows(drawn, "what", "shown")
    assert [(m["what"], m["x"]) for m in marks] == [
        ("mean", 0.7),
        ("random", 0.6),
        ("shuffle", 0.5),
    ]
    assert all(m["y"] < 1 for m in marks)
    assert (marks[0]["low"], marks[0]["high"]) == (0.65, 0.75)
    labels = _rows(drawn, "right", "second")
    assert [row["right"] for row in labels] == ["0.70", "–"]
    assert labels[1]["note"] == "no score"


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_every_figure_can_be_drawn_and_is_described(palette: Any) -> None:
    figures = {
        "Distributions of score": score_histograms(_ridges(), scale=SCALE, palette=palette),
        "Scatter of direct": effect_scatter(_marks(), palette=palette, prompt_id=1, neuron="L1N0",
                                            head="L0H1"),
        "Heads removed together": joint_scatter(_joint(), palette=palette),
        "Share of tokens": depth_lines(_depths(), runs=["one", "two"], studied=(0.5, 1.0),
                                       palette=palette),
        "Cumulative shares": removal_curves(_curves(), gap=(0.0, 1.0, 0.5), title="change",
                                            digits="+.2f", palette=palette),
    }  # fmt: skip
    for start, drawn in figures.items():
        assert drawn.to_dict()["description"].startswith(start)
        svg = to_svg(drawn, "title", ["caption"], palette)
        assert svg.startswith("<svg")
        assert "NaN" not in svg


# --- scatters ---------------------------------------------------------------------------------


def _marks() -> pd.DataFrame:
    return pd.DataFrame(
        {"x": [0.1, -0.2, 1.0], "y": [0.2, 0.3, 1.1], "agree": [True, False, True],
         "active": [False, False, True], "prompt_id": [0, 0, 1], "neuron": "L1N0",
         "head": ["L0H0", "L0H1", "L0H1"], "name": "L0 H1 on L1 N0", "token": [HOSTILE, "␣a", "␣b"],
         "direct": ["+0.10", "−0.20", "+1.00"], "lost": ["+0.20", "+0.30", "+1.10"]}
    )  # fmt: skip


def _joint() -> pd.DataFrame:
    return pd.DataFrame(
        {"x": [1.0, 2.0], "y": [1.5, 1.9], "n_heads": [2, 3], "prompt_id": [0, 1], "name": "L1 N0",
         "one": "+1.00", "all": "+1.50"}
    )  # fmt: skip


def test_the_scatter_marks_signs_activity_equality_and_the_chosen_row() -> None:
    drawn = effect_scatter(_marks(), palette=LIGHT, prompt_id=1, neuron="L1N0", head="L0H1")
    spec = drawn.to_dict()
    assert layer_marks(drawn) == ["rule", "rule", "line", "point", "point"]
    marks, ring = spec["layer"][3], spec["layer"][4]
    assert marks["encoding"]["fill"]["condition"]["test"] == "datum.agree"
    assert marks["encoding"]["size"]["condition"]["test"] == "datum.active"
    assert marks["encoding"]["size"]["condition"]["value"] > marks["encoding"]["size"]["value"]
    assert [(r["prompt_id"], r["head"]) for r in spec["datasets"][ring["data"]["name"]]] == [
        (1, "L0H1")
    ]
    equal = spec["datasets"][spec["layer"][2]["data"]["name"]]
    assert all(point["x"] == point["y"] for point in equal)
    domain = [marks["encoding"][axis]["scale"]["domain"] for axis in "xy"]
    for (low, high), values in zip(domain, (_marks()["x"], _marks()["y"]), strict=True):
        assert low <= min(0, values.min())
        assert high > values.max()
    assert "signs agree in 2, the head is active in 1" in spec["description"]
    nothing = effect_scatter(_marks(), palette=LIGHT, prompt_id=9, neuron="L1N0", head="L0H1")
    assert layer_marks(nothing) == ["rule", "rule", "line", "point"]


def test_the_joint_scatter_says_where_together_takes_more() -> None:
    assert "take more in 1" in joint_scatter(_joint(), palette=LIGHT).to_dict()["description"]


# --- depths -----------------------------------------------------------------------------------


def _depths() -> pd.DataFrame:
    return pd.DataFrame(
        {"run": ["one", "one", "two", "two"], "layer": [0, 1, 0, 1], "depth": [0.25, 0.75] * 2,
         "share": [0.3, 0.7, 0.31, 0.69], "n": [3, 7, 31, 69]}
    )  # fmt: skip


def test_names_at_the_ends_of_lines_never_overlap_and_keep_their_order() -> None:
    drawn = depth_lines(_depths(), runs=["one", "two"], studied=None, palette=LIGHT)
    names = next(r for r in chart_rows(drawn) if len(r) == 2 and "layer" not in r[0])
    heights = {row["run"]: row["share"] for row in names}
    assert heights["one"] - heights["two"] >= 15 * 0.78 / 220 - 1e-9
    assert "one: most in layer 1, 70 %" in drawn.to_dict()["description"]
    assert spread([0.5, 0.5, 0.1], 0.1, 1.0) == pytest.approx([0.5, 0.4, 0.1])
    assert spread([2.0, 0.2], 0.1, 1.0) == [1.0, 0.2]


def _curves() -> pd.DataFrame:
    return pd.DataFrame(
        {"group": ["active", "active", "inactive"], "x": [-1.0, 0.0, 0.5], "share": [0.5, 1.0, 1.0]}
    )


def test_the_largest_distance_is_drawn_where_it_is() -> None:
    drawn = removal_curves(_curves(), gap=(0.0, 1.0, 0.25), title="t", digits="+.2f", palette=LIGHT)
    marked = _rows(drawn, "low", "high", "word")
    assert [(m["x"], m["low"], m["high"], m["word"]) for m in marked] == [
        (0.0, 0.25, 1.0, "D = 0.75")
    ]
    fine = removal_curves(_curves(), gap=None, title="t", digits="+.4f", fine=1e-3, palette=LIGHT)
    x = fine.to_dict()["layer"][1]["encoding"]["x"]
    assert (x["scale"]["type"], x["scale"]["constant"]) == ("symlog", 1e-3)
    assert x["axis"]["values"] == pytest.approx([-1, -0.1, -0.01, -0.001, 0, 0.001, 0.01, 0.1, 1])
    plain = removal_curves(_curves(), gap=None, title="t", digits="+.2f", palette=LIGHT)
    assert len(layer_marks(plain)) == len(layer_marks(drawn)) - 3


# --- runs -------------------------------------------------------------------------------------


def test_each_run_has_a_name_marker_and_colour_of_its_own() -> None:
    assert len(set(GLYPHS)) == len(set(SHAPES)) == len(set(LIGHT.runs)) == len(set(DARK.runs)) == 4
    assert run_names([("a", "m", "c"), ("b", "n", "c")]) == ["m", "n"]
    assert run_names([("a", "m", "c"), ("b", "m", "d")]) == ["m · c", "m · d"]
    assert run_names([("a", "m", "c"), ("b", "m", "c")]) == ["m · a", "m · b"]
    alike = run_names([("m-c-12", "m", "c"), ("m-c-13", "m", "c"), ("x", "n", "c")])
    assert alike == ["m · 12", "m · 13", "n"]
    assert run_names([("m-", "m", "c"), ("m-c", "m", "c")]) == ["m · m-", "m · c"]


def _row(name: str = "one", **changes: Any) -> RunRow:
    found = estimate(0.66, 0.62, 0.7)
    row = RunRow(
        name, "contrast", 20, 18, 2, found, found, found, found, found, found, found, found
    )
    return replace(row, **changes)


def test_the_table_of_runs_escapes_names_and_shows_what_is_missing() -> None:
    bare = _row(HOSTILE, explainer=None, mean=None, random=None, high=None)
    text = runs_table([_row(), bare])
    assert HOSTILE not in text
    assert "&lt;img" in text
    assert "0.66<small>[0.62, 0.70]</small>" in text
    assert "no explainer" in text
    assert "<td>–</td>" in text
    data = runs_data([_row(), bare])
    assert data["mean score"].tolist()[0] == 0.66
    assert data["mean score"].isna().tolist() == [False, True]
    assert data["Pearson r n"].tolist() == [40, 40]


def test_published_numbers_name_their_source() -> None:
    text = references_table()
    assert all(reference.source for reference in REFERENCES)
    for number in ("0.650 (0.194)", "0.558 (0.191)", "0.107", "0.019", "32 %"):
        assert number in text


# --- sentences --------------------------------------------------------------------------------
