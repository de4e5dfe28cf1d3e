"""The stage that removes heads: on the planted circuit it kills what the circuit makes and nothing
else; it continues where it stopped; what cannot be measured is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from explorer.core.errors import UnsupportedModelError
from explorer.core.live_ablation import single_head_effects
from explorer.core.model import load_model
from explorer.core.model_blocks import Blocks
from explorer.core.types import NeuronId
from precompute.stages import ablations
from tests.precompute import planted
from tests.precompute.calling import call, tables

CONTEXTS = [words for words in ("storm", "feast", "") * 5 for _ in range(2)]
OPTIONS = ("--layers", 2, "--neurons-per-layer", 1, "--random-neurons-per-layer", 0)
OTHER = "L0N7"
"""A noise neuron, studied so that the planted one's means have prompts to stand on."""

Publish = Callable[..., duckdb.DuckDBPyConnection]
Write = Callable[..., Path]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planted.write_folder(tmp_path_factory.mktemp("planted-off") / "planted-gpt2")


@pytest.fixture(scope="module")
def corpus(write_corpus: Write) -> Path:
    return write_corpus(planted.documents(CONTEXTS, seed=3))


@pytest.fixture(scope="module")
def store(folder: Path, corpus: Path, publish: Publish) -> duckdb.DuckDBPyConnection:
    return publish("--model", folder, "--corpus", corpus, *OPTIONS, "--neurons", OTHER)


def removals(store: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """Single removals from the planted neuron's prompts, with what is known of each prompt."""
    found = store.sql(
        f"""
        SELECT a.*, truncated_activation, probability, token_ids[start + 1:] AS kept,
               (head_layer, head) IN (SELECT (head_layer, head) FROM active_heads h
                                      WHERE h.prompt_id = a.prompt_id) AS active
        FROM ablations a JOIN prompts p USING (prompt_id)
        WHERE (layer, neuron) = {planted.NEURON} ORDER BY ALL
        """
    )
    return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]


def test_removing_the_planted_head_kills_the_neuron_and_the_token(
    store: duckdb.DuckDBPyConnection,
) -> None:
    rows = [row for row in removals(store) if row["active"]]
    # 10 prompts a head, both splits together, in four kinds.
    assert len(rows) == 2 * 10 * 4
    assert {row["kind"] for row in rows} == {"zero-last", "zero-all", "mean-last", "mean-all"}
    for row in rows:
        left = row["truncated_activation"] + row["delta_activation"]
        assert row["truncated_activation"] > 2 and abs(left) < 0.2
        assert row["probability"] > 0.99
        assert row["probability"] + row["delta_probability"] < 0.2


def test_removing_the_head_of_the_other_context_does_nothing(
    store: duckdb.DuckDBPyConnection,
) -> None:
    rows = [row for row in removals(store) if not row["active"]]
    assert len(rows) == 2 * 10 * 4
    for row in rows:
        assert abs(row["delta_activation"]) < 0.1 * row["truncated_activation"]
        assert abs(row["delta_probability"]) < 0.02


def test_the_only_active_head_alone_is_all_active_heads_together(
    store: duckdb.DuckDBPyConnection,
) -> None:
    columns = "delta_pre_activation, delta_activation, delta_probability"
    alone = {
        (row["prompt_id"], row["kind"]): [row[name] for name in columns.split(", ")]
        for row in removals(store)
        if row["active"]
    }
    joint = store.sql(
        f"SELECT prompt_id, kind, n_heads, {columns} FROM joint_ablations "
        f"JOIN prompts USING (prompt_id) WHERE (layer, neuron) = {planted.NEURON}"
    ).fetchall()
    assert {row[2] for row in joint} == {1}
    assert {row[:2] for row in joint} == set(alone)
    for prompt_id, kind, _, *deltas in joint:
        np.testing.assert_allclose(deltas, alone[prompt_id, kind], rtol=0, atol=1e-5)


def test_the_neuron_itself_carries_the_token(store: duckdb.DuckDBPyConnection) -> None:
    rows = store.sql(
        "SELECT probability, delta_probability FROM neuron_ablations JOIN prompts USING (prompt_id) "
        f"WHERE (layer, neuron) = {planted.NEURON}"
    ).fetchall()
    assert len(rows) == 20
    assert all(before > 0.99 and before + delta < 0.2 for before, delta in rows)
    ((n,),) = store.sql("SELECT count(*) FROM neuron_ablations").fetchall()
    assert store.sql("SELECT count(*) FROM prompts").fetchall() == [(n,)]


def test_live_agrees_with_the_store_and_names_the_one_head_that_matters(
    store: duckdb.DuckDBPyConnection, folder: Path
) -> None:
    blocks, token = Blocks(load_model(folder, "cpu")), planted.WORDS.index(planted.TOKEN)
    by_prompt: dict[int, list[dict[str, Any]]] = {}
    for row in removals(store):
        if row["kind"] in ("zero-last", "zero-all"):
            by_prompt.setdefault(row["prompt_id"], []).append(row)
    for rows in list(by_prompt.values())[:6]:
        for row in rows:
            effects = single_head_effects(
                blocks, row["kept"], NeuronId(*planted.NEURON), token, None, row["kind"]
            )
            flat = row["head_layer"] * planted.N_HEADS + row["head"]
            live = [values[flat] for values in effects.__dict__.values()]
            stored = [row[name] for name in effects.__dict__]
            np.testing.assert_allclose(live, stored, rtol=0, atol=1e-5)
            if row["active"]:
                others = np.delete(effects.delta_pre_activation, flat)
                assert effects.delta_pre_activation[flat] < -10 * np.abs(others).max()


def test_a_neuron_without_others_has_no_means_and_it_is_said(
    folder: Path, corpus: Path, publish: Publish
) -> None:
    store = publish("--model", folder, "--corpus", corpus, *OPTIONS)
    for table in ("ablations", "joint_ablations"):
        kinds = store.sql(f"SELECT DISTINCT kind FROM {table} ORDER BY 1").fetchall()
        assert kinds == [("zero-all",), ("zero-last",)]
    ((warnings,),) = store.sql("SELECT value FROM manifest WHERE key = 'warnings'").fetchall()
    assert [n for kind, n in json.loads(warnings).items() if "mean" in kind] == [1]


def test_without_prompts_the_tables_are_there_and_empty(
    folder: Path, publish: Publish, write_corpus: Write
) -> None:
    corpus = write_corpus(planted.documents([""] * 8, seed=3))
    store = publish("--model", folder, "--corpus", corpus, *OPTIONS)
    for table in ("ablations", "joint_ablations", "neuron_ablations"):
        found = store.sql(f"FROM {table}")
        assert found.fetchall() == []
        assert found.columns[0] == "prompt_id" and found.columns[-1] == "delta_probability"
    ((warnings,),) = store.sql("SELECT value FROM manifest WHERE key = 'warnings'").fetchall()
    assert not [kind for kind in json.loads(warnings) if "mean" in kind]


def one_neuron_a_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("precompute.cutting.NEURONS_A_SHARD", 1)


def stop_at(monkeypatch: pytest.MonkeyPatch, count: int) -> list[int]:
    """Stop the job, as Ctrl-C does, when the stage begins its shard of that number, from 1; 0: never.
    The list counts the shards begun."""
    real, begun = ablations.measured, []

    def measured(*arguments: Any) -> Any:
        begun.append(1)
        if len(begun) == count:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(ablations, "measured", measured)
    return begun


def test_a_stopped_stage_continues_and_ends_with_the_same_numbers(
    quick_call: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_neuron_a_shard(monkeypatch)
    with monkeypatch.context() as patch:
        begun = stop_at(patch, 0)
        whole = call(*quick_call, "--out", tmp_path / "whole")
        n_shards = len(begun)
    with monkeypatch.context() as patch:
        stop_at(patch, 3)
        assert call(*quick_call, "--out", tmp_path / "cut").status == 1
    with monkeypatch.context() as patch:
        begun = stop_at(patch, 0)
        continued = call(*quick_call, "--out", tmp_path / "cut")
        assert len(begun) == n_shards - 2
    assert tables(continued.store) == tables(whole.store)
    assert len(tables(whole.store)["ablations"]) + len(tables(whole.store)["neuron_ablations"]) > 4


def test_shards_of_another_rule_are_not_taken_over(
    quick_call: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_neuron_a_shard(monkeypatch)
    with monkeypatch.context() as patch:
        stop_at(patch, 4)
        assert call(*quick_call, "--out", tmp_path / "cut").status == 1
    rule = ("--active-rule", "top:2")
    found = call(*quick_call, *rule, "--out", tmp_path / "cut")
    expected = call(*quick_call, *rule, "--out", tmp_path / "whole")
    assert tables(found.store) == tables(expected.store)
    assert tables(found.store)["joint_ablations"]


def test_a_model_that_cannot_be_stepped_is_published_without(
    quick_call: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(model: Any) -> Any:
        raise UnsupportedModelError("its blocks differ; choose a GPT-2")

    monkeypatch.setattr("precompute.worker.Blocks", refuse)
    found = tables(call(*quick_call, "--out", tmp_path).store)
    assert found["ablations"] == found["joint_ablations"] == found["neuron_ablations"] == []
    ((_, _, reason),) = [row for row in found["failures"] if row[0] == "ablations"]
    assert reason == "its blocks differ; choose a GPT-2"
    assert found["prompts"]
