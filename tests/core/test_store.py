"""Queries of a store give what plain Python finds in the rows that were written."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from tests.explorer.seeded import N_HEADS, N_LAYERS, PADDING_IDS, VOCABULARY, manifest, tables

Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def rows() -> Rows:
    return {name: table.to_pylist() for name, table in tables().items()}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    from explorer.core.schema import write_store

    path = tmp_path_factory.mktemp("store") / "seeded.duckdb"
    write_store(path, tables())
    with Store.open(path) as opened:
        yield opened


def neurons(rows: Rows) -> list[NeuronId]:
    return [NeuronId(row["layer"], row["neuron"]) for row in rows["studied_neurons"]]


def of(rows: list[dict[str, Any]], neuron: NeuronId, **more: Any) -> list[dict[str, Any]]:
    wanted = {"layer": neuron.layer, "neuron": neuron.index, **more}
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def records(frame: Any) -> list[dict[str, Any]]:
    """A data frame as rows of plain values; NULL as None."""

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return value.tolist()
        return None if value is None or value != value else value

    return [{k: plain(v) for k, v in row.items()} for row in frame.to_dict("records")]


def test_run_id_shape_and_manifest(store: Store) -> None:
    assert store.run_id == "seeded"
    assert store.manifest == manifest()
    assert store.manifest["active_rule"] == "mean+2sd"
    shape = store.shape
    assert (shape.n_layers, shape.n_heads, shape.parallel_blocks) == (N_LAYERS, N_HEADS, False)


def test_token_texts_are_in_order_with_padding_empty(store: Store) -> None:
    assert store.token_texts == [*VOCABULARY, *[""] * PADDING_IDS]


def test_row_counts(store: Store, rows: Rows) -> None:
    counts = store.row_counts()
    assert {table: n for table, n in counts.items() if n} == {
        table: len(found) for table, found in rows.items()
    }
    assert counts["task_results"] == 0  # a stage left out: its table is there and empty


def test_a_token_s_neurons(store: Store, rows: Rows) -> None:
    kinds = {NeuronId(r["layer"], r["neuron"]): r["kind"] for r in rows["studied_neurons"]}
    come = VOCABULARY.index(" come")
    for token_id in (come, 0, 5):
        expected = []
        ranked = [row for row in rows["token_neurons"] if row["token_id"] == token_id]
        for row in sorted(ranked, key=lambda r: r["rank"]):
            neuron = NeuronId(row["layer"], row["neuron"])
            own = sorted(of(rows["neuron_tokens"], neuron), key=lambda r: r["rank"])[:3]
            expected.append({
                "rank": row["rank"], "layer": row["layer"], "neuron": row["neuron"],
                "congruence": row["congruence"], "kind": kinds.get(neuron),
                "writes": [r["token_id"] for r in own],
            })  # fmt: skip
        assert records(store.token_neurons(token_id)) == expected
        assert len(expected) == 20
    assert set(store.token_neurons(come)["kind"].dropna()) >= {"next-token"}
    assert store.token_neurons(len(VOCABULARY)).empty


def test_where_a_token_s_neurons_sit(store: Store, rows: Rows) -> None:
    come = VOCABULARY.index(" come")
    found = records(store.neurons_per_layer(come))
    assert [row["layer"] for row in found] == list(range(N_LAYERS))
    assert sum(row["n"] for row in found) == 20
    assert sum(row["mean_n"] for row in found) == pytest.approx(20)
    n_tokens = len({row["token_id"] for row in rows["token_neurons"]})
    for row in found:
        mine = [r for r in rows["token_neurons"] if r["layer"] == row["layer"]]
        assert row["n"] == sum(r["token_id"] == come for r in mine)
        assert row["mean_n"] == pytest.approx(len(mine) / n_tokens)
    # A token of no neuron has none in any layer, and the same means.
    nothing = records(store.neurons_per_layer(len(VOCABULARY)))
    assert [row["n"] for row in nothing] == [0] * N_LAYERS
    assert [row["mean_n"] for row in nothing] == [row["mean_n"] for row in found]


def test_a_neuron_s_tokens_and_prompts(store: Store, rows: Rows) -> None:
    order = sorted(neurons(rows))
    studied = records(store.studied_neurons())
    assert [NeuronId(row["layer"], row["neuron"]) for row in studied] == order
    for neuron in order[::3]:
        best = sorted(of(rows["neuron_tokens"], neuron), key=lambda r: r["rank"])
        found = records(store.neuron_tokens(neuron, 7))
        assert found == [{k: r[k] for k in ("rank", "token_id", "congruence")} for r in best[:7]]
        for split in ("train", "test"):
            mine = of(rows["prompts"], neuron, split=split)
            assert records(store.prompts(neuron, split)) == sorted(mine, key=lambda r: r["rank"])
            assert mine
    assert store.prompts(NeuronId(0, 0), "train").empty
    with pytest.raises(ValueError, match="expected a split"):
        store.prompts(order[0], "train' OR '1'='1")


def test_mean_probabilities(store: Store, rows: Rows) -> None:
    for split in ("train", "test"):
        found = records(store.mean_probabilities(split))
        assert [NeuronId(r["layer"], r["neuron"]) for r in found] == sorted(neurons(rows))
        for row in found:
            neuron = NeuronId(row["layer"], row["neuron"])
            mine = [r["probability"] for r in of(rows["prompts"], neuron, split=split)]
            assert row["probability"] == pytest.approx(sum(mine) / len(mine))


def test_truncation_curves(store: Store, rows: Rows) -> None:
    for row in rows["truncation_curves"][::5]:
        found = records(store.truncation_curve(row["prompt_id"]))
        pairs = zip(row["starts"], row["activations"], strict=True)
        assert found == [{"start": s, "activation": a} for s, a in pairs]
        assert found[0]["start"] == 0
    assert store.truncation_curve(10**6).empty


def test_attributions_with_their_active_heads(store: Store, rows: Rows) -> None:
    parts = {row["prompt_id"]: row for row in rows["head_attributions"]}
    some_active = 0
    for neuron in neurons(rows):
        for split in ("train", "test"):
            mine = sorted(of(rows["prompts"], neuron, split=split), key=lambda r: r["rank"])
            found = records(store.attributions(neuron, split))
            assert [row["prompt_id"] for row in found] == [row["prompt_id"] for row in mine]
            for row in found:
                prompt_id = row["prompt_id"]
                expected = sorted(
                    h["head_layer"] * N_HEADS + h["head"]
                    for h in rows["active_heads"]
                    if h["prompt_id"] == prompt_id
                )
                assert row["active"] == expected
                some_active += len(expected)
                assert {k: row[k] for k in parts[prompt_id]} == parts[prompt_id]
    assert some_active == len(rows["active_heads"]) > 0


def test_head_activity_puts_studied_heads_first(store: Store, rows: Rows) -> None:
    for neuron in neurons(rows)[::2]:
        for split in ("train", "test"):
            mine = of(rows["head_activity"], neuron, split=split)
            expected = sorted(
                mine,
                key=lambda r: (
                    not r["studied"], -r["n_active"] / r["n_prompts"], -r["mean_attribution"],
                    r["head_layer"], r["head"],
                ),
            )  # fmt: skip
            found = records(store.head_activity(neuron, split))
            names = [(row["head_layer"], row["head"]) for row in found]
            assert names == [(row["head_layer"], row["head"]) for row in expected]
            for row, want in zip(found, expected, strict=True):
                assert row["share"] == want["n_active"] / want["n_prompts"]
                assert row["studied"] == want["studied"]
            assert len(found) == (neuron.layer + 1) * N_HEADS


def test_pairs_and_a_head_s_neurons(store: Store, rows: Rows) -> None:
    pairs = records(store.pairs("train"))
    train = [row for row in rows["head_activity"] if row["split"] == "train"]
    assert len(pairs) == len(train)
    head = next(HeadId(r["head_layer"], r["head"]) for r in train if r["studied"])
    found = records(store.head_neurons(head))
    mine = [r for r in train if (r["head_layer"], r["head"]) == (head.layer, head.index)]
    expected = sorted(
        mine,
        key=lambda r: (
            not r["studied"], -r["n_active"] / r["n_prompts"], -r["mean_attribution"],
        ),
    )  # fmt: skip
    assert [(r["layer"], r["neuron"]) for r in found] == [
        (r["layer"], r["neuron"]) for r in expected
    ]
    tokens = {(r["layer"], r["neuron"]): r["token_id"] for r in rows["studied_neurons"]}
    assert all(r["token_id"] == tokens[r["layer"], r["neuron"]] for r in found)
    assert store.head_neurons(HeadId(99, 0)).empty


def test_head_attention(store: Store, rows: Rows) -> None:
    studied = next(r for r in rows["head_activity"] if r["studied"])
    neuron = NeuronId(studied["layer"], studied["neuron"])
    head = HeadId(studied["head_layer"], studied["head"])
    ids = {row["prompt_id"] for row in of(rows["prompts"], neuron)}
    expected = [
        {"prompt_id": r["prompt_id"], "weights": r["weights"]}
        for r in rows["head_attention"]
        if r["prompt_id"] in ids and (r["head_layer"], r["head"]) == (head.layer, head.index)
    ]
    found = records(store.head_attention(neuron, head))
    assert found == sorted(expected, key=lambda r: r["prompt_id"])
    assert {row["prompt_id"] for row in found} == ids


# --- searching tokens -----------------------------------------------------------------------------


def texts(store: Store, query: str, limit: int = 12) -> list[str]:
    return store.find_tokens(query, limit)["text"].tolist()


def test_search_puts_the_leading_space_first_then_other_case_then_beginnings(store: Store) -> None:
    assert texts(store, "come") == [" come", "come", " Come", " came_back"][:3]
    assert texts(store, " come") == [" come", "come", " Come"]
    assert texts(store, "␣come") == texts(store, " come")
    assert texts(store, "TOGETHER") == ["together", "Together", " together"]
    assert texts(store, "ver") == [" river"]
    assert texts(store, "o", limit=3) == texts(store, "o")[:3]
    assert texts(store, "no such token") == []


@pytest.mark.parametrize(
    "query",
    ["'; DROP TABLE tokens; --", "' OR '1'='1", "%", "\\", "\x00", "\ud800", "a\udfff", "$bare",
     "?", "a" * 100_000, "\u202e", "   "],
)  # fmt: skip
def test_search_text_is_bound_and_matches_nothing_else(store: Store, query: str) -> None:
    """Nothing of it is a command or a pattern: only tokens that contain it would come back."""
    assert texts(store, query) == []
    assert store.token_id(query) is None
    assert store.row_counts()["tokens"] == len(VOCABULARY) + PADDING_IDS


def test_patterns_match_themselves_alone(store: Store) -> None:
    assert set(texts(store, "_")) == {text for text in VOCABULARY if "_" in text}
    assert texts(store, "<script>") == ["<script>"]
    assert texts(store, "\n") == ["\n"]
    assert texts(store, "`[a](b)$") == [" *_`[a](b)$"]
    assert texts(store, "") == [t for t in texts(store, "", 1000) if t][:12]


def test_token_ids_by_exact_text(store: Store) -> None:
    for text in (" come", "come", " Come", "\n", "<0xE2>"):
        assert store.token_id(text) == VOCABULARY.index(text)
    assert store.token_id("") is None
    assert store.token_id(" COME") is None


def test_values_given_to_sql_are_bound(store: Store) -> None:
    found = store.sql("SELECT ? AS a, $1 AS b", ("'; DROP TABLE tokens; --",))
    assert found["a"].tolist() == ["'; DROP TABLE tokens; --"]
    assert store.sql("SELECT $x AS x", {"x": 3})["x"].tolist() == [3]
    with pytest.raises(duckdb.Error):
        store.sql("SELECT no_such_column FROM tokens")


def test_threads_may_share_a_store(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: store.token_neurons(i % 40)["congruence"].sum(), range(40)))
    assert found == [store.token_neurons(i % 40)["congruence"].sum() for i in range(40)]


def test_a_store_opens_again_after_closing(store: Store, tmp_path: Path) -> None:
    with Store.open(store.path) as second:
        assert second.row_counts() == store.row_counts()
    assert store.token_id(" come") is not None
