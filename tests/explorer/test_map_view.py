"""The Map page shows every stored pair, in the orders that it names."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from explorer.resources.map_tables import map_tables, read_sort, shown_heads, similar_order
from tests.explorer.page_reader import (
    chart,
    html_of,
    open_page,
    store_copy,
    strips_of_page,
    text_of,
    widest,
)
from tests.explorer.seeded import N_PROMPTS, tables


def _domains(app: object) -> tuple[list[str], list[str]]:
    spec, _ = chart(app, "Heatmap of")  # type: ignore[arg-type]
    encoding = spec["layer"][0]["encoding"]
    return encoding["y"]["scale"]["domain"], encoding["x"]["scale"]["domain"]


def test_every_cell_is_a_stored_pair(seeded: Store) -> None:
    app = open_page("map")
    _, frames = chart(app, "Heatmap of")
    cells = widest(frames, "neuron", "head", "share").set_index(["neuron", "head"])
    pairs = seeded.pairs()
    assert len(cells) == len(pairs)
    for row in pairs.to_dict("records"):
        neuron = str(NeuronId(int(row["layer"]), int(row["neuron"])))
        cell = cells.loc[(neuron, HeadId(int(row["head_layer"]), int(row["head"])).label)]
        assert cell["share"] == pytest.approx(row["n_active"] / N_PROMPTS)
        assert cell["contribution"] == pytest.approx(row["mean_attribution"])


def test_what_cannot_be_reached_is_a_dot(seeded: Store) -> None:
    _, frames = chart(open_page("map"), "Heatmap of")
    dots = max((f for f in frames if list(f.columns) == ["row", "head"]), key=len)
    n_layer_4 = int((seeded.studied_neurons()["layer"] == 4).sum())
    assert len(dots) == n_layer_4 * 8
    assert set(dots["head"].str.split(" ").str[0]) == {"L5"}


def test_random_neurons_stand_in_a_block_below(seeded: Store) -> None:
    rows, _ = _domains(open_page("map"))
    spacer = rows.index("random neurons:")
    studied = seeded.studied_neurons()
    random = studied[studied["kind"] == "random"]
    labels = {NeuronId(int(a), int(b)).label for a, b in random[["layer", "neuron"]].to_numpy()}
    assert {" ".join(row.split(" ")[:2]) for row in rows[spacer + 1 :]} == labels
    assert len(rows) == len(studied) + 1


def test_sorting_rows_and_columns(seeded: Store) -> None:
    by_layer, heads = _domains(open_page("map"))
    assert [h for h in heads if h.startswith("L2")] == [f"L2 H{i}" for i in range(8)]
    rows, total = _domains(open_page("map", sort="token-total"))
    assert sorted(rows) == sorted(by_layer)
    named = rows[: rows.index("random neurons:")]
    tokens = [row.split(" ", 2)[2].lstrip("␣").lower() for row in named]
    assert tokens == sorted(tokens)
    shares = seeded.pairs().groupby(["head_layer", "head"])["share"].sum()
    sums = [shares[tuple(HeadId.parse(h).__dict__.values())] for h in total]
    assert sums == sorted(sums, reverse=True)
    assert heads != total


def test_the_card_shows_the_chosen_pair_and_two_prompts(seeded: Store) -> None:
    row = seeded.pairs().query("studied").iloc[0].to_dict()
    neuron = NeuronId(int(row["layer"]), int(row["neuron"]))
    head = HeadId(int(row["head_layer"]), int(row["head"]))
    app = open_page("map", neuron=str(neuron), head=str(head))
    text = text_of(app)
    assert f"{head.label} → {neuron.label}" in text
    assert f"{row['n_active']} of {N_PROMPTS}" in text
    (strips,) = strips_of_page(app)
    assert strips.count('class="row"') == 2
    assert "●" in strips
    assert "○" in strips


def test_the_measure_is_picked_and_kept_in_the_url(seeded: Store) -> None:
    app = open_page("map")
    spec, _ = chart(app, "Heatmap of")
    assert spec["layer"][0]["encoding"]["color"]["field"] == "share"
    app.button_group(key="map-measure-share").set_value("contribution").run()
    spec, _ = chart(app, "Heatmap of")
    assert spec["layer"][0]["encoding"]["color"]["field"] == "contribution"
    low, high = spec["layer"][0]["encoding"]["color"]["scale"]["domain"]
    assert low == -high
    assert app.query_params["measure"] == "contribution"


@pytest.mark.parametrize(("measure", "low"), [("score", 0.5), ("effect", None)])
def test_score_and_effect_of_each_studied_pair(
    seeded: Store, measure: str, low: float | None
) -> None:
    app = open_page("map", measure=measure)
    spec, frames = chart(app, "Heatmap of")
    colour = spec["layer"][0]["encoding"]["color"]["condition"]
    assert colour["field"] == measure
    assert colour["scale"]["domain"][0] == (low or -colour["scale"]["domain"][1])
    cells = widest(frames, "neuron", "head", measure).set_index(["neuron", "head"])
    found = cells[measure].dropna()
    if measure == "score":
        rows = seeded.pair_scores(str(seeded.main_explainer())).dropna(subset="score")
    else:
        rows = seeded.median_effects("zero-last")
    assert len(found) == len(rows) > 10
    for row in rows.to_dict("records"):
        pair = (
            str(NeuronId(int(row["layer"]), int(row["neuron"]))),
            HeadId(int(row["head_layer"]), int(row["head"])).label,
        )
        assert found[pair] == pytest.approx(row[measure], abs=1e-6)
    assert cells[measure].isna().any()  # pairs that are not studied have none
    assert f"{len(found)} pairs have one" in " ".join(c.value for c in app.caption)


def test_the_card_shows_words_score_and_nulls(seeded: Store) -> None:
    rows = seeded.pair_scores(str(seeded.main_explainer())).dropna(subset=["score", "shuffle"])
    row = rows.iloc[-1].to_dict()
    neuron = NeuronId(int(row["layer"]), int(row["neuron"]))
    head = HeadId(int(row["head_layer"]), int(row["head"]))
    text = text_of(open_page("map", neuron=str(neuron), head=str(head)))
    words = seeded.explanations(neuron, head)
    mine = words.loc[words["explainer"] == seeded.main_explainer(), "text"].tolist()[0]
    assert mine in text
    assert f"Score {row['score']:.2f}" in text
    n = row["tp"] + row["fp"] + row["tn"] + row["fn"]
    assert f"{row['tp'] + row['tn']} of {n} test prompts right" in text
    assert f"Shuffled activity {row['shuffle']:.2f}" in text


def test_a_run_without_words_or_removals_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = tables(explainer="none")
    changed["ablations"] = changed["ablations"].slice(0, 0)
    store_copy(tmp_path, "bare", changed)
    monkeypatch.setenv("EXPLORER_STORE", str(tmp_path))
    for measure in ("score", "effect"):
        app = open_page("map", measure=measure)
        assert "No pair has one." in " ".join(c.value for c in app.caption)
    assert "No explanation is stored for this pair." in text_of(app)


def test_no_neuron_no_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = tables()
    for name in ("studied_neurons", "head_activity"):
        changed[name] = changed[name].slice(0, 0)
    store_copy(tmp_path, "empty", changed)
    monkeypatch.setenv("EXPLORER_STORE", str(tmp_path))
    assert "No head can reach these neurons." in text_of(open_page("map"))


def test_too_many_cells_leave_the_columns_that_are_studied(seeded: Store) -> None:
    everything = map_tables(seeded, "train", "share", "layer", "layer")
    assert everything.note == ""
    few = map_tables(seeded, "train", "share", "layer", "layer", max_cells=500)
    pairs = seeded.pairs().query("studied")
    studied = {HeadId(int(a), int(b)).label for a, b in pairs[["head_layer", "head"]].to_numpy()}
    assert set(few.order.columns) == studied < set(everything.order.columns)
    assert f"the {len(studied)} that are studied for some neuron" in few.note
    fewer = map_tables(seeded, "train", "share", "layer", "layer", max_cells=60)
    n_rows = len(fewer.order.rows) + len(fewer.order.random_rows)
    assert n_rows * len(fewer.order.columns) <= 60
    counts = pairs.groupby(["head_layer", "head"]).size().sort_values(ascending=False)
    most = HeadId(*(int(v) for v in counts.index[0]))
    assert most.label in fewer.order.columns


def test_all_heads_are_shown_when_they_fit() -> None:
    pairs = pd.DataFrame({"neuron": ["a"], "head": ["L0 H1"], "share": [0.1], "studied": [False]})
    assert shown_heads(pairs, ["L0 H0", "L0 H1"], 2) == (["L0 H0", "L0 H1"], "")
    assert shown_heads(pairs, ["L0 H0", "L0 H1"], 1)[0] == ["L0 H1"]  # none is studied: by share


def test_like_neurons_stand_together() -> None:
    rows = {"a": [1.0, 0, 0], "b": [0, 1.0, 0.9], "c": [0.9, 0, 0.1], "d": [0, 0.9, 1.0]}
    table = pd.DataFrame.from_dict(rows, orient="index")
    order = similar_order(table)
    assert sorted(order[:2]) in (["a", "c"], ["b", "d"])
    assert order == similar_order(table)
    assert [*table.index] != order


def test_a_sort_that_cannot_be_read_is_by_layer() -> None:
    assert read_sort("token-total") == ("token", "total")
    assert read_sort("similar-nonsense") == ("similar", "layer")
    assert read_sort(None) == read_sort("<script>") == ("layer", "layer")


def test_hostile_texts_are_escaped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = tables()
    hostile = "<img src=x onerror=alert(1)>"
    texts = [hostile] * len(changed["tokens"])  # every token of every prompt, and every neuron's
    changed["tokens"] = changed["tokens"].set_column(1, "text", pa.array(texts))
    store_copy(tmp_path, "hostile", changed)
    monkeypatch.setenv("EXPLORER_STORE", str(tmp_path))
    app = open_page("map")
    seen = html_of(app) + "".join(strips_of_page(app))
    assert hostile[:5] not in seen
    assert "&lt;img" in html_of(app)
    assert "&lt;img" in strips_of_page(app)[0]
