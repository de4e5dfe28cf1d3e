"""Run-wide queries give what plain loops over the tables give."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from statistics import median
from typing import Any

import pandas as pd
import pytest

from explorer.core.store import Store
from tests.explorer.seeded import N_HEADS, N_LAYERS, tables, write_seeded_store

Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    path = write_seeded_store(tmp_path_factory.mktemp("findings"), explainer="contrast")
    with Store.open(path) as opened:
        yield opened


@pytest.fixture(scope="module")
def rows() -> Rows:
    return {name: table.to_pylist() for name, table in tables(explainer="contrast").items()}


def test_scores_stand_beside_their_nulls(store: Store, rows: Rows) -> None:
    assert store.explainers()[0] == "contrast"
    assert sorted(store.explainers()) == sorted({r["explainer"] for r in rows["head_scores"]})
    keys = ("layer", "neuron", "head_layer", "head")
    nulls = {
        (*(z[k] for k in keys), z["null_kind"]): z
        for z in rows["score_nulls"]
        if z["explainer"] == "contrast"
    }
    kinds = {(n["layer"], n["neuron"]): n["kind"] for n in rows["studied_neurons"]}
    found = store.pair_scores("contrast").to_dict("records")
    wanted = [s for s in rows["head_scores"] if s["explainer"] == "contrast"]
    assert len(found) == len(wanted) > 5
    by_pair = {tuple(f[k] for k in keys): f for f in found}
    for score in wanted:
        pair = tuple(score[k] for k in keys)
        row = by_pair[pair]
        assert row["neuron_kind"] == kinds[pair[:2]]
        for name in ("tp", "fp", "tn", "fn", "n_missing", "score", "ci_low", "ci_high"):
            assert _same(row[name], score[name])
        for column, kind, name in (
            ("other_head", "other-head", "score"),
            ("shuffle", "shuffle", "score"),
            ("p_value", "shuffle", "p_value"),
        ):
            assert _same(row[column], nulls.get((*pair, kind), {}).get(name))
    assert store.pair_scores("no such explainer").empty


def _same(found: Any, wanted: Any) -> bool:
    return pd.isna(found) if wanted is None else found == pytest.approx(wanted)


@pytest.mark.parametrize("kind", ["zero-last", "mean-all"])
def test_removals_stand_beside_contribution_and_activity(
    store: Store, rows: Rows, kind: str
) -> None:
    heads = {a["prompt_id"]: a["heads"] for a in rows["head_attributions"]}
    active = {(a["prompt_id"], a["head_layer"], a["head"]) for a in rows["active_heads"]}
    wanted = {
        (a["prompt_id"], a["head_layer"], a["head"]): a
        for a in rows["ablations"]
        if a["kind"] == kind
    }
    found = store.removals(kind).to_dict("records")
    assert len(found) == len(wanted) > 50
    for row in found:
        where = (row["prompt_id"], row["head_layer"], row["head"])
        assert row["active"] == (where in active)
        flat = row["head_layer"] * N_HEADS + row["head"]
        assert row["contribution"] == pytest.approx(heads[row["prompt_id"]][flat], abs=1e-6)
        for name in ("delta_pre_activation", "delta_activation", "delta_probability"):
            assert row[name] == pytest.approx(wanted[where][name], abs=1e-6)
    assert {row["active"] for row in found} == {True, False}


def test_joint_removals_stand_beside_the_sum_of_single_ones(store: Store, rows: Rows) -> None:
    active = {(a["prompt_id"], a["head_layer"], a["head"]) for a in rows["active_heads"]}
    single: dict[int, list[float]] = {}
    for a in rows["ablations"]:
        where = (a["prompt_id"], a["head_layer"], a["head"])
        if a["kind"] == "zero-all" and where in active:
            single.setdefault(a["prompt_id"], []).append(a["delta_pre_activation"])
    found = store.joint_removals("zero-all").to_dict("records")
    together = {
        j["prompt_id"]: j["delta_pre_activation"]
        for j in rows["joint_ablations"]
        if j["kind"] == "zero-all"
    }
    assert [f["prompt_id"] for f in found] == sorted(together)
    for row in found:
        mine = single.get(row["prompt_id"], [])
        assert row["n_alone"] == len(mine) <= row["n_heads"]
        assert _same(row["alone"], sum(mine) if mine else None)
        assert row["together"] == pytest.approx(together[row["prompt_id"]], abs=1e-6)
    # A head that is always active is never studied, so that its own removal is not stored.
    assert {row["n_alone"] == row["n_heads"] for row in found} == {False}
    assert {row["n_alone"] > 0 for row in found} == {True, False}


def test_median_effects(store: Store, rows: Rows) -> None:
    neuron = {p["prompt_id"]: (p["layer"], p["neuron"]) for p in rows["prompts"]}
    lost: dict[tuple[int, ...], list[float]] = {}
    for a in rows["ablations"]:
        if a["kind"] == "zero-last":
            pair = (*neuron[a["prompt_id"]], a["head_layer"], a["head"])
            lost.setdefault(pair, []).append(-a["delta_pre_activation"])
    found = store.median_effects("zero-last").to_dict("records")
    assert len(found) == len(lost)
    for row in found:
        mine = lost[row["layer"], row["neuron"], row["head_layer"], row["head"]]
        assert row["effect"] == pytest.approx(median(mine), abs=1e-6)
        assert row["n_prompts"] == len(mine)


def test_every_token_has_one_best_neuron(store: Store, rows: Rows) -> None:
    wanted = Counter(t["layer"] for t in rows["token_neurons"] if t["rank"] == 1)
    found = store.best_neuron_layers()
    assert found["layer"].tolist() == list(range(N_LAYERS))
    assert found["n"].tolist() == [wanted[layer] for layer in range(N_LAYERS)]
    assert 0 in found["n"].tolist() or len(wanted) == N_LAYERS


def test_every_prompt_has_its_probability(store: Store, rows: Rows) -> None:
    found = store.prompt_probabilities()
    assert found["prompt_id"].tolist() == [p["prompt_id"] for p in rows["prompts"]]
    assert found["probability"].tolist() == pytest.approx(
        [p["probability"] for p in rows["prompts"]]
    )
    assert set(found["neuron_kind"]) == {"next-token", "random", "requested"}


def test_a_kind_that_there_is_not_is_a_callers_mistake(store: Store) -> None:
    for ask in (store.removals, store.joint_removals, store.median_effects):
        with pytest.raises(ValueError, match="kind of removal"):
            ask("zero'; DROP TABLE ablations")
