"""Channels: every cell and bar is a stored number, links are the view, hostile texts stay texts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from explorer.resources.channel_tables import channel_map, first_pair, receiver
from explorer.selection import Selection, parse
from tests.explorer.page_reader import (
    chart,
    html_of,
    open_page,
    store_copy,
    text_of,
    widest,
)
from tests.explorer.seeded import N_HEADS, N_LAYERS, tables, write_seeded_store
from tests.explorer.seeded_channels import (
    N_COMPONENTS,
    PLANTED_COMPONENT,
    PLANTED_RECEIVER,
    PLANTED_SOURCE,
)

SOURCE, RECEIVER = HeadId(*PLANTED_SOURCE), HeadId(*PLANTED_RECEIVER)


def _components(**query: str) -> AppTest:
    return open_page("channels", tab="components", src=str(SOURCE), dst=str(RECEIVER), **query)


def _fed(store: Store) -> tuple[HeadId, NeuronId]:
    """A head and a neuron for which it is studied."""
    row = store.sql(
        "SELECT c.head_layer, c.head, p.layer, p.neuron FROM component_attributions c "
        "JOIN prompts p USING (prompt_id) ORDER BY ALL LIMIT 1"
    ).to_dict("records")[0]
    return HeadId(row["head_layer"], row["head"]), NeuronId(row["layer"], row["neuron"])


# --- heads ------------------------------------------------------------------------------------


def test_every_cell_is_a_stored_pair(seeded: Store) -> None:
    app = open_page("channels", mode="K")
    cells = widest(chart(app, "Heatmap of composition, K")[1], "src", "dst", "score")
    stored = seeded.composition("K")
    assert len(cells) == len(stored) == N_HEADS**2 * N_LAYERS * (N_LAYERS - 1) // 2
    by_pair = cells.set_index(["src_id", "dst_id"])
    for row in stored.to_dict("records"):
        src, dst = (
            HeadId(row["src_layer"], row["src_head"]),
            HeadId(row["dst_layer"], row["dst_head"]),
        )
        cell = by_pair.loc[(str(src), str(dst))]
        assert cell["score"] == pytest.approx(row["score"])
        assert cell["ratio"] == pytest.approx(row["score"] * np.sqrt(seeded.shape.d_model))


def test_what_cannot_be_reached_is_a_dot(seeded: Store) -> None:
    _, frames = chart(open_page("channels"), "Heatmap of composition")
    (dots,) = [f for f in frames if list(f.columns) == ["src", "dst"] and len(f) > 1]
    for src, dst in zip(dots["src"], dots["dst"], strict=True):
        assert HeadId.parse(src).layer >= HeadId.parse(dst).layer


def test_the_answer_and_the_first_choice_are_the_strongest_pair(seeded: Store) -> None:
    first = seeded.composition("V").iloc[0]
    src = HeadId(int(first["src_layer"]), int(first["src_head"]))
    dst = HeadId(int(first["dst_layer"]), int(first["dst_head"]))
    app = open_page("channels", mode="V")
    assert f"Through values, {dst.label} reads most of what {src.label} writes" in text_of(app)
    assert f"composition {first['score']:.3f}" in text_of(app)
    assert (app.query_params["src"], app.query_params["dst"]) == (str(src), str(dst))


def test_the_card_tells_the_pair_in_all_modes(seeded: Store) -> None:
    text = text_of(open_page("channels", src=str(SOURCE), dst=str(RECEIVER)))
    assert f"{SOURCE.label} → {RECEIVER.label}" in text
    for mode in ("Q", "K", "V"):
        rows = seeded.composition(mode)
        place = rows.reset_index(drop=True).query(
            "src_layer == @SOURCE.layer and src_head == @SOURCE.index and "
            "dst_layer == @RECEIVER.layer and dst_head == @RECEIVER.index"
        )
        assert f"{place['score'].iloc[0]:.3f}" in text
        assert f"{place.index[0] + 1:,} of {len(rows):,}" in text
    assert f"Its component {PLANTED_COMPONENT} is read most" in text and "it stands out" in text


def test_a_pair_in_the_wrong_order_is_said(seeded: Store) -> None:
    text = text_of(open_page("channels", src="L5H1", dst="L2H3"))
    assert "L5 H1 does not come in an earlier layer than L2 H3" in text


def test_a_large_model_shows_its_strongest_heads(seeded: Store) -> None:
    keep = (HeadId(0, 0), HeadId(5, 7))
    found = channel_map(seeded, "Q", keep, max_cells=100)
    assert found is not None and found.note
    assert "L0 H0" in found.sources and "L5 H7" in found.destinations
    first = found.pairs.iloc[0]
    assert first["src"] in found.sources and first["dst"] in found.destinations
    assert len(found.sources) * len(found.destinations) <= 100
    assert channel_map(seeded, "Q", keep) is not None
    assert not getattr(channel_map(seeded, "Q", keep), "note", "x")


def test_a_chosen_head_brings_its_strongest_partner(seeded: Store) -> None:
    rows = seeded.composition("Q")
    for src in (HeadId(2, 4), None):
        pair = first_pair(seeded, "Q", src, RECEIVER if src is None else None)
        assert pair is not None
        mine = rows.query("src_layer == @src.layer and src_head == @src.index") if src else rows.query(
            "dst_layer == @RECEIVER.layer and dst_head == @RECEIVER.index"
        )  # fmt: skip
        best = mine.iloc[0]
        assert pair[0] == HeadId(int(best["src_layer"]), int(best["src_head"]))
        assert pair[1] == HeadId(int(best["dst_layer"]), int(best["dst_head"]))


# --- components -------------------------------------------------------------------------------


def test_senders_are_the_stored_components_and_z_decides_what_stands_out(seeded: Store) -> None:
    app = _components(comp=str(PLANTED_COMPONENT))
    rows = widest(chart(app, "Components of earlier heads")[1], "label", "score", "z")
    stored = seeded.component_composition("Q", RECEIVER)
    assert rows["score"].tolist() == pytest.approx(stored["score"].tolist()[: len(rows)])
    assert rows["stands_out"].tolist() == [abs(z) > 4 for z in stored["z"].tolist()[: len(rows)]]
    assert rows["label"].iloc[0] == f"{SOURCE.label} · {PLANTED_COMPONENT}"
    assert f"reads component {PLANTED_COMPONENT} of {SOURCE.label} most" in text_of(app)


def test_the_line_of_z_lies_where_scores_have_that_z(seeded: Store) -> None:
    """Against the median and MAD of all components, of which the store holds some."""
    found = receiver(seeded, "K", HeadId(5, 0))
    assert found is not None and found.z_line is not None and found.median is not None
    rows = found.rows
    slope = (rows["score"].iloc[0] - found.median) / rows["z"].iloc[0]
    assert found.z_line == pytest.approx(found.median + 4 * slope, rel=1e-4)
    middle = rows.iloc[len(rows) // 2]
    assert (middle["score"] - found.median) / slope == pytest.approx(
        middle["z"], rel=1e-3, abs=1e-3
    )
    assert found.n_all == 5 * N_HEADS * seeded.shape.d_head


def test_bars_are_singular_values_and_tokens(seeded: Store) -> None:
    for matrix in ("OV", "QK"):
        app = _components(comp="1", matrix=matrix)
        bars = widest(
            chart(app, f"Singular values of {SOURCE.label} {matrix}")[1], "singular_value"
        )
        stored = seeded.singular_values(SOURCE, matrix)
        assert bars["singular_value"].tolist() == pytest.approx(stored["singular_value"].tolist())
        tokens = seeded.component_tokens(SOURCE, matrix, 1)
        titles = ("What it reads", "What it writes") if matrix == "OV" else (
            "Queries that match", "Keys that match")  # fmt: skip
        for side, title in zip(("read", "write"), titles, strict=True):
            drawn = widest(chart(app, title)[1], "label", "value")
            mine = tokens.loc[tokens["side"] == side]
            assert drawn["value"].tolist() == pytest.approx(mine["value"].tolist())
    assert "QK components write nothing" in text_of(app)


def test_prompts_show_the_part_beside_the_whole_head(seeded: Store) -> None:
    head, neuron = _fed(seeded)
    app = open_page("channels", tab="components", src=str(head), dst="L5H0", comp="1",
                    neuron=str(neuron))  # fmt: skip
    drawn = widest(chart(app, "The component's part in")[1], "prompt_id", "part").set_index(
        "prompt_id"
    )
    stored = seeded.component_parts(head, neuron, "train")
    assert len(drawn) == len(stored)
    for row in stored.to_dict("records"):
        assert drawn.loc[row["prompt_id"], "part"] == pytest.approx(row["components"][1])
        assert drawn.loc[row["prompt_id"], "contribution"] == pytest.approx(row["contribution"])
    assert abs(drawn["part"]).tolist() == sorted(abs(drawn["part"]), reverse=True)


def test_without_a_neuron_the_page_takes_one_that_the_component_feeds(seeded: Store) -> None:
    head, _ = _fed(seeded)
    app = open_page("channels", tab="components", src=str(head), dst="L5H0", comp="0")
    means = seeded.component_means(head, 0).query("kind != 'random'")
    wanted = means.iloc[0] if len(means) else seeded.component_means(head, 0).iloc[0]
    assert app.query_params["neuron"] == f"L{wanted['layer']}N{wanted['neuron']}"


def test_what_a_person_sets_is_in_the_link(seeded: Store) -> None:
    app = _components(comp="0")
    app.selectbox(key="channels-comp-0").set_value(1).run()
    assert app.query_params["comp"] == "1"
    app.segmented_control(key="channels-mode-Q").set_value("V").run()
    assert app.query_params["mode"] == "V"
    app.segmented_control(key="channels-matrix-OV").set_value("QK").run()
    assert app.query_params["matrix"] == "QK" and app.query_params["comp"] == "0"
    app.selectbox(key=f"channels-src-{SOURCE}").set_value(HeadId(3, 3)).run()
    assert app.query_params["src"] == "L3H3" and app.query_params["matrix"] == "OV"
    app.selectbox(key=f"channels-dst-{RECEIVER}").set_value(HeadId(5, 3)).run()
    assert app.query_params["dst"] == "L5H3"
    app.segmented_control(key="channels-tab-components").set_value("heads").run()
    assert app.query_params["tab"] == "heads"


def test_what_a_link_names_wrongly_is_said_and_the_rest_is_shown(seeded: Store) -> None:
    app = open_page("channels", src="L99H0", dst="L0H1", comp="77", mode="X", strength="much")
    text = text_of(app)
    assert "This model has no head L99 H0" in text
    assert "L0 H1 is in the first layer" in text
    assert f"components 0–{N_COMPONENTS - 1}" in text
    assert "The link's mode could not be read" in text
    assert "The link's strength could not be read" in text
    assert len(chart(app, "Heatmap of composition, Q")[1]) > 0


def test_hostile_tokens_stay_texts(seeded: Store) -> None:
    for head in (HeadId(0, h) for h in range(N_HEADS)):
        app = open_page("channels", src=str(head), dst="L5H0")
        assert "<script>" not in html_of(app).replace("&lt;script&gt;", "")
        assert "<img" not in html_of(app)


def test_a_run_without_channels_says_what_fills_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tables()
    for name in ("composition", "component_composition", "head_components", "component_tokens",
                 "component_neurons", "component_attributions"):  # fmt: skip
        kept[name] = kept[name].slice(0, 0)
    store_copy(tmp_path, "old", kept)
    monkeypatch.setenv("EXPLORER_STORE", str(tmp_path))
    for tab in ("heads", "components"):
        text = text_of(open_page("channels", tab=tab))
        assert "This run holds no channels." in text
        assert "python -m precompute --model" in text and "--force" in text


def test_rotary_models_are_said_to_be_compared_without_rotation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_seeded_store(tmp_path, rotary=True)
    monkeypatch.setenv("EXPLORER_STORE", str(tmp_path))
    captions = [c.value for c in open_page("channels", mode="Q").caption]
    assert any("without their rotation" in c for c in captions)
    # Values are not rotated.
    captions = [c.value for c in open_page("channels", mode="V").caption]
    assert not any("without their rotation" in c for c in captions)


def test_the_head_page_divides_the_contribution(seeded: Store) -> None:
    head, neuron = _fed(seeded)
    for query in ({}, {"prompt": str(seeded.prompts(neuron, "train")["prompt_id"].iloc[0])}):
        app = open_page("head", neuron=str(neuron), head=str(head), split="train", **query)
        bars = widest(chart(app, "Parts of")[1], "component", "part")
        stored = seeded.component_parts(head, neuron, "train")
        if query:
            stored = stored.query(f"prompt_id == {query['prompt']}")
        total = float(np.mean(stored["contribution"].to_numpy(dtype=float)))
        assert sum(bars["part"].tolist()) == pytest.approx(total, abs=1e-5)
        links = [m.value for m in app.markdown]
        assert any(m.startswith("Component") and "on Channels" in m for m in links)


@pytest.mark.parametrize("strength", [-4.0, -0.25, 0.0, 22.5, 100.0])
def test_a_dial_in_a_link_comes_back_as_it_was(strength: float) -> None:
    chosen = Selection(tab="components", mode="K", src=SOURCE, dst=RECEIVER, matrix="QK", comp=3,
                       edit="set-all", strength=strength, items=5)  # fmt: skip
    assert parse(chosen.to_query()) == (chosen, ())


def test_hostile_channels_in_a_link_are_told_not_raised() -> None:
    bad = {"tab": "x", "mode": "q", "src": "L1N1", "dst": "'", "matrix": "OV;", "comp": "-1",
           "edit": "scale", "strength": "nan", "items": "1e9"}  # fmt: skip
    found, notes = parse(bad)
    assert found == Selection()
    assert len(notes) == len(bad)
