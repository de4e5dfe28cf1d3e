"""Queries about one pair return its own rows alone, in order, with what the other tables say of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from explorer.core.schema import write_store
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from tests.explorer.seeded import N_PROMPTS, tables, write_seeded_store
from tests.explorer.seeded_effects import KINDS, TWICE_EXPLAINED

NEURON = NeuronId(*TWICE_EXPLAINED)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store.open(write_seeded_store(tmp_path_factory.mktemp("pairs"))) as opened:
        yield opened


@pytest.fixture(scope="module")
def head(store: Store) -> HeadId:
    """A studied head of the neuron, which both explainers explained."""
    first = (
        store.head_activity(NEURON).sort_values(by=["head_layer", "head"]).query("studied").iloc[0]
    )
    return HeadId(int(first["head_layer"]), int(first["head"]))


def _rows(name: str, neuron: NeuronId, head: HeadId) -> list[dict]:
    """The pair's rows of a table, straight from what was written."""
    keys = (neuron.layer, neuron.index, head.layer, head.index)
    names = ("layer", "neuron", "head_layer", "head")
    return [r for r in tables()[name].to_pylist() if tuple(r[n] for n in names) == keys]


def test_explanations_are_the_pairs_own(store: Store, head: HeadId) -> None:
    written = {r["explainer"]: r["text"] for r in _rows("explanations", NEURON, head)}
    found = store.explanations(NEURON, head)
    assert found["explainer"].tolist() == sorted(written) == ["contrast", "openai"]
    assert dict(zip(found["explainer"], found["text"], strict=True)) == written
    assert store.explanations(NEURON, HeadId(0, 0)).empty


def test_verdicts_come_by_rank_and_for_one_explainer(store: Store, head: HeadId) -> None:
    written = {
        r["prompt_id"]: (r["active"], r["predicted"])
        for r in _rows("classifications", NEURON, head)
        if r["explainer"] == "openai"
    }
    found = store.classifications(NEURON, head, "openai")
    seen = dict(
        zip(found["prompt_id"], zip(found["active"], found["predicted"], strict=True), strict=True)
    )
    assert seen == written and 0 < len(written) <= N_PROMPTS
    assert found["rank"].tolist() == sorted(found["rank"])
    assert store.classifications(NEURON, head, "x' OR '1'='1").empty


def test_scores_and_nulls_are_those_written(store: Store, head: HeadId) -> None:
    written = {r["explainer"]: r for r in _rows("head_scores", NEURON, head)}
    for row in store.head_scores(NEURON, head).to_dict("records"):
        expected = written.pop(row["explainer"])
        assert (row["tp"], row["fp"], row["tn"], row["fn"]) == tuple(
            expected[n] for n in ("tp", "fp", "tn", "fn")
        )
        assert row["score"] == pytest.approx(expected["score"])
    assert not written
    nulls = store.score_nulls(NEURON, head, "contrast").set_index("null_kind")
    assert list(nulls.index) == ["other-head", "shuffle"]
    for row in _rows("score_nulls", NEURON, head):
        if row["explainer"] == "contrast":
            assert nulls.loc[row["null_kind"], "score"] == pytest.approx(row["score"])


def test_scores_of_a_head_go_over_its_neurons(store: Store, head: HeadId) -> None:
    written = {
        (r["layer"], r["neuron"]): r["tp"] + r["fp"] + r["tn"] + r["fn"]
        for r in tables()["head_scores"].to_pylist()
        if (r["head_layer"], r["head"], r["explainer"]) == (head.layer, head.index, "contrast")
    }
    found = store.scores_of_head(head, "contrast")
    assert {(r["layer"], r["neuron"]): r["n_test"] for r in found.to_dict("records")} == written
    assert (NEURON.layer, NEURON.index) in written


def test_mean_scores_leave_out_pairs_without_a_score(store: Store) -> None:
    all_tables = tables()
    kinds = {
        (r["layer"], r["neuron"]): r["kind"] for r in all_tables["studied_neurons"].to_pylist()
    }
    rows = [r for r in all_tables["head_scores"].to_pylist() if r["explainer"] == "contrast"]
    assert any(r["score"] is None for r in rows)
    for found in store.mean_scores("contrast").to_dict("records"):
        values = [
            r["score"]
            for r in rows
            if r["score"] is not None and kinds[r["layer"], r["neuron"]] == found["kind"]
        ]
        assert found["n"] == len(values) > 0
        assert found["score"] == pytest.approx(sum(values) / len(values))


def test_ablations_carry_the_clean_value_and_the_activity(store: Store, head: HeadId) -> None:
    found = store.ablations(NEURON, head)
    assert len(found) == len(KINDS) * 2 * N_PROMPTS
    assert found["kind"].drop_duplicates().tolist() == sorted(KINDS)
    all_tables = tables()
    active = {
        r["prompt_id"]
        for r in all_tables["active_heads"].to_pylist()
        if (r["head_layer"], r["head"]) == (head.layer, head.index)
    }
    clean = {r["prompt_id"]: r for r in all_tables["head_attributions"].to_pylist()}
    for row in found.to_dict("records"):
        assert row["active"] == (row["prompt_id"] in active)
        assert row["pre_activation"] == pytest.approx(clean[row["prompt_id"]]["pre_activation"])
    assert 0 < found["active"].tolist().count(True) < len(found)
    assert found[found["kind"] == "zero-last"]["split"].tolist() == ["train"] * 6 + ["test"] * 6


def test_joint_and_neuron_removals_are_those_of_the_neurons_prompts(store: Store) -> None:
    mine = {
        r["prompt_id"]
        for r in tables()["prompts"].to_pylist()
        if (r["layer"], r["neuron"]) == (NEURON.layer, NEURON.index)
    }
    assert set(store.neuron_ablations(NEURON)["prompt_id"]) == mine
    joint = store.joint_ablations(NEURON)
    assert set(joint["prompt_id"]) <= mine
    assert min(joint["n_heads"].tolist()) >= 1


def test_a_run_without_the_stages_answers_with_nothing(tmp_path: Path, head: HeadId) -> None:
    left_out = ("explanations", "classifications", "head_scores", "score_nulls", "ablations",
                "joint_ablations", "neuron_ablations")  # fmt: skip
    path = tmp_path / "bare.duckdb"
    write_store(path, {name: t for name, t in tables().items() if name not in left_out})
    with Store.open(path) as bare:
        assert bare.explanations(NEURON, head).empty
        assert bare.explanation_counts().empty
        assert bare.ablations(NEURON, head).empty
        assert not bare.has_rows("ablations")


def test_has_rows_and_counts(store: Store) -> None:
    assert store.has_rows("ablations") and store.has_rows("explanations")
    counts = store.explanation_counts().set_index("explainer")["n"]
    assert counts["contrast"] + counts["openai"] == tables()["explanations"].num_rows
