"""The charts of the stored pages draw the values that they are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import altair as alt
import pandas as pd
import pytest

from explorer.charts.congruent_tokens import congruent_tokens
from explorer.charts.lollipops import served_neurons
from explorer.charts.map_heatmap import MapOrder, map_heatmap
from explorer.charts.prompt_heatmap import prompt_heatmap
from explorer.charts.share_bars import share_bars
from explorer.charts.style import DARK, LIGHT, Palette
from tests.explorer.page_reader import chart_rows, layer_marks

HEADS = ["L1 H0", "L0 H2", "L0 H0"]


def _cells() -> pd.DataFrame:
    rows = [(r, h, 0.1 * r * (i - 1), i == 2) for r in (1, 2, 3) for i, h in enumerate(HEADS)]
    return pd.DataFrame(rows, columns=["rank", "head", "contribution", "active"])


def _heatmap(palette: Palette = LIGHT, **changes: Any) -> alt.LayerChart:
    options: dict[str, Any] = {"heads": HEADS, "studied": ["L1 H0"], "limit": 0.2, "rule": "large"}
    return prompt_heatmap(_cells(), palette=palette, **(options | changes))


def _shares() -> pd.DataFrame:
    return pd.DataFrame(
        {"head": HEADS, "share": [0.5, 0.1, 0.0], "n_active": [10, 2, 0], "n_prompts": 20,
         "studied": [True, False, False]}
    )  # fmt: skip


def _tokens() -> pd.DataFrame:
    return pd.DataFrame(
        {"token_id": [4, 9, 2], "text": [" go", "<0xE2>", "<0xE2>"], "congruence": [3.2, 1.0, -0.5]}
    )


def _served() -> pd.DataFrame:
    return pd.DataFrame(
        {"neuron": ["L5N7", "L4N3"], "label": ["L5 N7 ␣come", "L4 N3 ␣go"], "share": [0.5, 0.05],
         "n_active": [10, 1], "n_prompts": [20, 20], "contribution": ["+0.50", "−0.10"],
         "studied": [True, False], "score": [0.75, float("nan")]}
    )  # fmt: skip


def _map(measure: str = "share", palette: Palette = LIGHT, **changes: Any) -> alt.LayerChart:
    pairs = pd.DataFrame(
        {"neuron": ["L1N0", "L1N0", "L0N1"], "head": ["L0 H0", "L1 H1", "L0 H0"],
         "share": [0.5, 0.0, 1.0], "contribution": [0.4, -0.3, 2.0], "n_active": [1, 0, 2],
         "n_prompts": 2, "shown": ["+0.40", "−0.30", "+2.00"], "studied": [True, False, False]}
    )  # fmt: skip
    options: dict[str, Any] = {
        "order": MapOrder(("L1N0",), ("L0N1",), ("L0 H0", "L1 H1"), True),
        "labels": {"L1N0": "L1 N0 ␣a", "L0N1": "L0 N1 ␣b"},
        "limit": 1.0,
    }
    return map_heatmap(pairs, measure=measure, palette=palette, **(options | changes))


def test_heatmap_cells_dots_and_outlines() -> None:
    drawn = _heatmap(rank=2, head="L0 H2")
    rows = max(chart_rows(drawn), key=len)
    assert [(r["rank"], r["head"], r["contribution"]) for r in rows] == list(
        _cells()[["rank", "head", "contribution"]].itertuples(index=False, name=None)
    )
    dots = next(r for r in chart_rows(drawn) if r and "dot" in r[0])
    assert {(d["rank"], d["head"]) for d in dots} == {(r, "L0 H0") for r in (1, 2, 3)}
    assert [{"rank": 2}] in chart_rows(drawn)
    assert [{"rank": 2, "head": "L0 H2"}] in chart_rows(drawn)
    assert layer_marks(drawn) == ["rect", "point", "rect", "rect", "rect"]
    assert layer_marks(_heatmap()) == ["rect", "point"]


def test_a_dot_is_readable_on_its_cell() -> None:
    dots = next(r for r in chart_rows(_heatmap()) if r and "dot" in r[0])
    # contributions 0.1, 0.2, 0.3 on a scale to 0.2: the last two are strong
    assert [d["dot"] for d in dots] == [LIGHT.ink, LIGHT.page, LIGHT.page]


def test_colour_scale_is_centred_clamped_and_neutral_in_the_middle() -> None:
    scale = _heatmap().to_dict()["layer"][0]["encoding"]["color"]["scale"]
    assert scale["domain"] == [-0.2, 0.2]
    assert (scale["domainMid"], scale["clamp"], scale["interpolate"]) == (0, True, "lab")


def test_rows_match_the_strips_beside_them() -> None:
    spec = _heatmap().to_dict()
    assert spec["height"] == {"step": 29}
    axis = spec["layer"][0]["encoding"]["x"]["axis"]
    assert axis["minExtent"] == axis["maxExtent"] == 36


def test_share_bars_stand_under_the_heatmaps_columns() -> None:
    drawn = share_bars(_shares(), heads=HEADS, palette=LIGHT, head="L0 H2")
    bars = drawn.to_dict()["layer"][1]["encoding"]
    cells = _heatmap().to_dict()["layer"][0]["encoding"]
    assert bars["x"]["scale"] == cells["x"]["scale"]
    assert bars["y"]["axis"]["minExtent"] == cells["y"]["axis"]["minExtent"]
    rows = max(chart_rows(drawn), key=len)
    assert [(r["head"], r["share"], r["shown"]) for r in rows] == [
        ("L1 H0", 0.5, "10 of 20 prompts"),
        ("L0 H2", 0.1, "2 of 20 prompts"),
        ("L0 H0", 0.0, "0 of 20 prompts"),
    ]
    assert [{"low": 0.25, "high": 0.75}] in chart_rows(drawn)


def test_share_bars_leave_out_heads_without_a_column() -> None:
    rows = max(chart_rows(share_bars(_shares(), heads=HEADS[:2], palette=LIGHT)), key=len)
    assert [r["head"] for r in rows] == HEADS[:2]


def test_congruent_tokens_in_order_with_equal_texts_apart() -> None:
    drawn = congruent_tokens(_tokens(), own=4, palette=LIGHT)
    rows = max(chart_rows(drawn), key=len)
    assert [(r["token_id"], r["congruence"], r["shown"], r["own"]) for r in rows] == [
        (4, 3.2, "3.2", True), (9, 1.0, "1.0", False), (2, -0.5, "−0.5", False)
    ]  # fmt: skip
    domain = drawn.to_dict()["layer"][0]["encoding"]["y"]["scale"]["domain"]
    assert domain[0] == "␣go"
    assert len(set(domain)) == 3
    low, high = drawn.to_dict()["layer"][0]["encoding"]["x"]["scale"]["domain"]
    assert low == -0.5
    assert high > 3.2


def test_lollipops_tell_studied_pairs_from_others() -> None:
    drawn = served_neurons(_served(), palette=LIGHT, neuron="L4N3")
    rows = max(chart_rows(drawn), key=len)
    assert [(r["neuron"], r["share"], r["is_studied"], r["shown"]) for r in rows] == [
        ("L5N7", 0.5, "yes", "10 of 20"), ("L4N3", 0.05, "no", "1 of 20")
    ]  # fmt: skip
    assert [{"label": "L4 N3 ␣go"}] in chart_rows(drawn)
    assert len(layer_marks(drawn)) == 1 + len(layer_marks(served_neurons(_served(), palette=LIGHT)))


def test_map_draws_pairs_and_dots_what_cannot_be() -> None:
    drawn = _map(neuron="L1N0", head="L1 H1")
    rows = max(chart_rows(drawn), key=len)
    assert [(r["neuron"], r["head"], r["share"], r["contribution"]) for r in rows] == [
        ("L1N0", "L0 H0", 0.5, 0.4), ("L1N0", "L1 H1", 0.0, -0.3), ("L0N1", "L0 H0", 1.0, 2.0)
    ]  # fmt: skip
    assert [{"row": "L0 N1 ␣b", "head": "L1 H1"}] in chart_rows(drawn)  # the dot
    assert [{"row": "L1 N0 ␣a", "head": "L1 H1"}] in chart_rows(drawn)  # the outline
    domain = drawn.to_dict()["layer"][0]["encoding"]["y"]["scale"]["domain"]
    assert domain == ["L1 N0 ␣a", "random neurons:", "L0 N1 ␣b"]


def test_map_measures_have_their_own_scales() -> None:
    colour = lambda chart: chart.to_dict()["layer"][0]["encoding"]["color"]  # noqa: E731
    assert colour(_map())["scale"]["domain"] == [0, 1]
    assert colour(_map())["scale"]["range"] == list(LIGHT.amounts)
    assert colour(_map("contribution"))["scale"]["domain"] == [-1, 1]
    assert colour(_map("contribution"))["scale"]["range"] == list(LIGHT.signed)


@pytest.mark.parametrize(
    "draw",
    [
        _heatmap,
        _map,
        lambda palette: share_bars(_shares(), heads=HEADS, palette=palette),
        lambda palette: congruent_tokens(_tokens(), own=4, palette=palette),
        lambda palette: served_neurons(_served(), palette=palette),
    ],
)
def test_every_chart_has_alt_text_and_takes_both_themes(
    draw: Callable[..., alt.LayerChart],
) -> None:
    light, dark = draw(palette=LIGHT).to_dict(), draw(palette=DARK).to_dict()
    assert light["description"] == dark["description"]
    assert len(light["description"].split()) > 5
    assert LIGHT.ink in str(light) or LIGHT.teal in str(light)
    assert str(light) != str(dark)
    assert "labelAngle': 90" not in str(light)
