"""Live's figures: parts add up, the neuron's token is marked, specifications do not follow rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from explorer.charts.live_heads import heads_figure, heads_rows, unreachable_note
from explorer.charts.next_tokens import NextRow, next_token_figure, next_token_rows, percent
from explorer.charts.style import DARK, LIGHT, Palette, number
from explorer.charts.token_strip import contrast, legend_html, strip_tokens
from explorer.charts.truncation import truncation_chart, truncation_figure, truncation_rows
from explorer.charts.waterfall import (
    N_LARGEST_HEADS,
    TOTAL,
    waterfall_figure,
    waterfall_parts,
    waterfall_rows,
)
from explorer.core.types import HeadId

N_LAYERS, N_HEADS = 6, 8


def _contributions(seed: int, neuron_layer: int, n_reaching: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    heads = np.zeros((N_LAYERS, N_HEADS))
    heads[:n_reaching] = rng.normal(size=(n_reaching, N_HEADS))
    mlps = np.zeros(N_LAYERS)
    mlps[:neuron_layer] = rng.normal(scale=3, size=neuron_layer)
    return {"heads": heads, "mlps": mlps, "embedding": float(rng.normal()), "bias": -0.15,
            "neuron_layer": neuron_layer, "n_reaching_layers": n_reaching}  # fmt: skip


def _total(parts: dict[str, Any]) -> float:
    return float(parts["heads"].sum() + parts["mlps"].sum() + parts["embedding"] + parts["bias"])


@pytest.mark.parametrize("by_layer", [False, True])
@pytest.mark.parametrize(("layer", "reaching"), [(5, 6), (5, 5), (3, 4), (1, 1), (0, 1), (0, 0)])
def test_the_parts_end_at_the_total(layer: int, reaching: int, by_layer: bool) -> None:
    given = _contributions(layer, layer, reaching)
    parts = waterfall_parts(**given, mlps_by_layer=by_layer)
    rows = waterfall_rows(parts, _total(given), "a prompt")
    bars = rows[rows["role"].isin(["raises", "lowers"])]
    assert bars["end"].iloc[-1] == pytest.approx(_total(given), abs=1e-9)
    assert bars["start"].tolist()[1:] == bars["end"].tolist()[:-1]
    assert bars["start"].iloc[0] == 0
    total = rows[rows["role"] == "total"].iloc[0]
    assert (total["start"], total["end"]) == (0, _total(given))
    # The control: without its largest part the same bars end elsewhere.
    largest = max(parts, key=lambda part: abs(part.value))
    kept = tuple(part for part in parts if part is not largest)
    ends = waterfall_rows(kept, _total(given), "a prompt").query("role in ['raises', 'lowers']")[
        "end"
    ]
    assert ends.iloc[-1] != pytest.approx(_total(given), abs=1e-3)


def test_the_largest_heads_are_named_and_the_others_counted() -> None:
    given = _contributions(1, 5, 6)
    given["heads"][2, 3], given["heads"][4, 1] = -50.0, 40.0
    labels = [part.label for part in waterfall_parts(**given)]
    heads = [label for label in labels if label.startswith("L")]
    assert heads[:2] == ["L2 H3", "L4 H1"]
    assert len(heads) == N_LARGEST_HEADS
    assert labels[-2] == f"{N_LAYERS * N_HEADS - N_LARGEST_HEADS} other heads"
    assert labels[:2] == ["Embedding", "MLPs, layers 0–4"]
    by_layer = [part.label for part in waterfall_parts(**given, mlps_by_layer=True)]
    assert by_layer[1:6] == [f"MLP, layer {n}" for n in range(5)]


def test_a_neuron_of_the_first_layer_has_no_mlps_below() -> None:
    labels = [part.label for part in waterfall_parts(**_contributions(2, 0, 1))]
    assert not any("MLP" in label for label in labels)
    assert [part.label for part in waterfall_parts(**_contributions(2, 0, 0))] == [
        "Embedding",
        "Bias",
    ]


def test_bars_are_coloured_by_sign() -> None:
    given = _contributions(3, 5, 6)
    rows = waterfall_rows(waterfall_parts(**given), _total(given), "p")
    for row in rows[rows["role"].isin(["raises", "lowers"])].itertuples():
        assert (row.end >= row.start) == (row.role == "raises")
    assert rows.loc[rows["role"] == "total", "part"].tolist() == [TOTAL]


BEST = [NextRow(" to", 0.4, 1), NextRow(" back", 0.2, 2), NextRow(" to", 0.1, 3)]


def test_the_neurons_token_is_marked_among_the_best() -> None:
    rows = next_token_rows(BEST, BEST[1], "p")
    tokens = rows[rows["role"] != "room"]
    assert tokens["label"].tolist() == ["␣to", "␣back", "␣to"]
    assert tokens.loc[tokens["role"] == "target", "label"].tolist() == ["␣back"]


def test_a_rare_neurons_token_is_appended_with_its_rank() -> None:
    rows = next_token_rows(BEST, NextRow(" together", 0.0001, 1370), "p")
    last = rows[rows["role"] != "room"].iloc[-1]
    assert (last["role"], last["label"], last["order"]) == ("target", "␣together", 3)
    assert last["words"] == "< 0.1 %  rank 1,370"


def test_percentages_never_read_as_nothing() -> None:
    assert [percent(p) for p in (0.0, 1e-9, 0.0005, 0.2166, 1.0)] == [
        "0.0 %", "< 0.1 %", "0.1 %", "21.7 %", "100.0 %"]  # fmt: skip


def test_heads_that_come_after_the_neuron_are_dots() -> None:
    given = _contributions(4, 3, 4)
    active = {HeadId(1, 2), HeadId(3, 0)}
    rows = heads_rows(given["heads"], n_reaching_layers=4, active=active, limit=2, palette=LIGHT,
                      prompt="p")  # fmt: skip
    by_role = rows.groupby("role").size().to_dict()
    assert by_role == {"cell": 32, "far": 16, "active": 2, "shown": 1}
    dots = rows[rows["role"] == "active"]
    assert set(dots["name"]) == {"L1 H2", "L3 H0"}
    assert rows.loc[rows["role"] == "far", "value"].isna().all()
    assert unreachable_note(12, 10) == "Layers 10–11 come after the neuron: no effect on it."
    assert unreachable_note(6, 5) == "Layer 5 comes after the neuron: no effect on it."
    assert unreachable_note(6, 6) == ""


def _curve(values: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"tokens_kept": range(1, len(values) + 1), "activation": values})


def test_the_curve_has_its_line_ring_and_both_ends_named() -> None:
    rows = truncation_rows(_curve([0.5, 1, 2.9, 3, 3.1, 3.5]), kept=3, whole_activation=3.5, keep_ratio=0.8,
                           ring_label="3 tokens suffice", prompt="p")  # fmt: skip
    line = rows[rows["role"] == "line"].iloc[0]
    assert line["activation"] == pytest.approx(2.8)
    ring = rows[rows["role"] == "ring"].iloc[0]
    assert (ring["tokens_kept"], ring["activation"]) == (3, 2.9)
    ticks = rows.loc[rows["role"] == "tick", "text"].tolist()
    assert (ticks[0], ticks[-1]) == ("1", "6")
    assert "3 tokens suffice" in rows["text"].tolist()


def test_a_neuron_that_is_off_has_nothing_to_keep() -> None:
    rows = truncation_rows(_curve([0.1, -0.1]), kept=None, whole_activation=-0.1, keep_ratio=0.8)
    assert not set(rows["role"]) & {"line", "ring", "band"}
    with pytest.raises(ValueError, match="at least one suffix"):
        truncation_rows(_curve([]), kept=None, whole_activation=1, keep_ratio=0.8)


def test_a_long_curve_has_a_logarithmic_axis() -> None:
    def scale(n: int) -> str:
        chart = truncation_chart(_curve([1.0] * n), kept=1, whole_activation=1, keep_ratio=0.8,
                                 palette=LIGHT).to_dict()  # fmt: skip
        return chart["layer"][0]["encoding"]["x"]["scale"]["type"]

    assert (scale(24), scale(200)) == ("linear", "log")


def _spec(chart: Any) -> dict[str, Any]:
    spec = chart.to_dict()
    del spec["data"], spec["datasets"]
    return spec


def _drawings(seed: int, palette: Palette) -> dict[str, dict[str, Any]]:
    given = _contributions(seed, 5, 6)
    rng = np.random.default_rng(seed)
    heads = heads_rows(given["heads"], n_reaching_layers=6, active={HeadId(seed, 0)}, limit=2,
                       palette=palette, prompt=f"prompt {seed}")  # fmt: skip
    parts = waterfall_rows(waterfall_parts(**given), _total(given), f"prompt {seed}")
    best = next_token_rows([NextRow(f" t{seed}", 0.5, 1)], NextRow(" x", rng.random(), 2), "p")
    curve = truncation_rows(_curve(list(rng.normal(size=seed + 3))), kept=1 + seed, whole_activation=1,
                            keep_ratio=0.8)  # fmt: skip
    return {
        "heads": _spec(heads_figure(heads, n_layers=6, n_heads=8, limit=2, palette=palette)),
        "parts": _spec(waterfall_figure(parts, palette=palette, n_bars=12)),
        "next": _spec(next_token_figure(best, palette=palette, n_rows=9)),
        "curve": _spec(truncation_figure(curve, long=False, palette=palette)),
    }


@pytest.mark.parametrize("name", ["heads", "parts", "next", "curve"])
def test_a_specification_does_not_follow_its_rows(name: str) -> None:
    # What lets a page keep the drawing and swap rows while somebody types.
    assert _drawings(0, LIGHT)[name] == _drawings(2, LIGHT)[name]
    assert _drawings(0, LIGHT)[name] != _drawings(0, DARK)[name]


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_token_text_stays_readable_on_every_tint(palette: Palette) -> None:
    activations = [step + 0.5 for step in range(10)]
    tokens = strip_tokens(["x"] * 10, activations, limit=10, palette=palette)
    assert [token["fill"] for token in tokens] == list(palette.amounts)
    assert min(contrast(token["fill"], token["ink"]) for token in tokens) >= 4.5


def test_contrast_is_that_of_wcag() -> None:
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_tokens_stay_text() -> None:
    hostile = "<img src=x onerror=alert(1)>\n\t "
    (token,) = strip_tokens([hostile], [0.001], limit=5, palette=LIGHT)
    assert token["text"] == "<img␣src=x␣onerror=alert(1)>↵⇥␣"
    assert token["value"] == "0.00"
    assert number(-0.001) == "0.00"
    assert number(-0.12) == "−0.12"
    with pytest.raises(ValueError, match="zip"):
        strip_tokens(["a", "b"], [1.0], limit=5, palette=LIGHT)


def test_the_scale_says_what_was_cut() -> None:
    assert "Only the last 127 tokens are used." in legend_html(5, LIGHT, 3, 127)
    assert "Only" not in legend_html(5, LIGHT, 0, 127)
