"""Queries about channels give what plain loops over the tables give."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import mean
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from tests.explorer.page_reader import store_copy
from tests.explorer.seeded import N_HEADS, tables, write_seeded_store
from tests.explorer.seeded_channels import (
    MODES,
    PLANTED_COMPONENT,
    PLANTED_RECEIVER,
    PLANTED_SOURCE,
)

Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    path = write_seeded_store(tmp_path_factory.mktemp("channels"))
    with Store.open(path) as opened:
        yield opened


@pytest.fixture(scope="module")
def rows() -> Rows:
    return {name: table.to_pylist() for name, table in tables().items()}


def _studied_pair(rows: Rows) -> tuple[HeadId, NeuronId]:
    """A head and a neuron for which parts are stored."""
    row = rows["component_attributions"][0]
    prompt = next(p for p in rows["prompts"] if p["prompt_id"] == row["prompt_id"])
    return HeadId(row["head_layer"], row["head"]), NeuronId(prompt["layer"], prompt["neuron"])


@pytest.mark.parametrize("mode", MODES)
def test_pairs_come_strongest_first(store: Store, rows: Rows, mode: str) -> None:
    found = store.composition(mode)
    wanted = sorted((r["score"] for r in rows["composition"] if r["mode"] == mode), reverse=True)
    assert np.allclose(found["score"], wanted)
    earlier = zip(found["src_layer"], found["dst_layer"], strict=True)
    assert all(src < dst for src, dst in earlier)
    assert store.largest_composition() == pytest.approx(
        max(r["score"] for r in rows["composition"])
    )


def test_the_planted_channel_is_the_receivers_first(store: Store) -> None:
    first = store.component_composition("Q", HeadId(*PLANTED_RECEIVER)).iloc[0]
    assert (first["src_layer"], first["src_head"]) == PLANTED_SOURCE
    assert first["src_component"] == PLANTED_COMPONENT
    assert first["z"] > 4
    # The same receiver's values do not read it: the plant is in its queries alone.
    other = store.component_composition("V", HeadId(*PLANTED_RECEIVER)).iloc[0]
    assert (other["src_layer"], other["src_head"], other["src_component"]) != (
        *PLANTED_SOURCE,
        PLANTED_COMPONENT,
    )


def test_components_and_their_tokens(store: Store, rows: Rows) -> None:
    head = HeadId(2, 5)
    values = store.singular_values(head, "QK")
    wanted = [
        (r["component"], r["singular_value"])
        for r in rows["head_components"]
        if (r["layer"], r["head"], r["matrix"]) == (2, 5, "QK")
    ]
    assert values["component"].tolist() == [c for c, _ in sorted(wanted)]
    assert np.allclose(values["singular_value"], [v for _, v in sorted(wanted)])
    texts = {r["token_id"]: r["text"] for r in rows["tokens"]}
    tokens = store.component_tokens(head, "OV", 1)
    for side in ("read", "write"):
        mine = tokens.query("side == @side")
        expected = {
            r["rank"]: texts[r["token_id"]]
            for r in rows["component_tokens"]
            if (r["layer"], r["head"], r["matrix"], r["component"], r["side"])
            == (2, 5, "OV", 1, side)
        }
        assert dict(zip(mine["rank"], mine["text"], strict=True)) == expected
        assert len(expected) == 20


def test_neurons_by_size_and_components_of_a_neuron(store: Store, rows: Rows) -> None:
    head, neuron = _studied_pair(rows)
    found = store.component_neurons(head, 0)
    sizes = found["value"].abs().tolist()
    assert sizes == sorted(sizes, reverse=True)
    mine = {
        r["component"]: r["value"]
        for r in rows["component_neurons"]
        if (r["layer"], r["head"], r["neuron_layer"], r["neuron"])
        == (head.layer, head.index, neuron.layer, neuron.index)
    }
    by_component = store.neuron_components(head, neuron)
    assert dict(
        zip(by_component["component"], by_component["value"], strict=True)
    ) == pytest.approx(mine)
    row = found.query("layer == @neuron.layer and neuron == @neuron.index")
    assert row["value"].tolist() == pytest.approx([mine[0]])


def test_parts_stand_beside_the_heads_own_contribution(store: Store, rows: Rows) -> None:
    head, neuron = _studied_pair(rows)
    heads = {r["prompt_id"]: r["heads"] for r in rows["head_attributions"]}
    active = {(r["prompt_id"], r["head_layer"], r["head"]) for r in rows["active_heads"]}
    for split in ("train", "test"):
        found = store.component_parts(head, neuron, split)
        assert found["rank"].tolist() == sorted(found["rank"])
        wanted = [
            p["prompt_id"]
            for p in rows["prompts"]
            if (p["layer"], p["neuron"], p["split"]) == (neuron.layer, neuron.index, split)
        ]
        assert sorted(found["prompt_id"]) == sorted(wanted)
        for row in found.to_dict("records"):
            own = heads[row["prompt_id"]][head.layer * N_HEADS + head.index]
            assert row["contribution"] == pytest.approx(own)
            assert sum(row["components"]) == pytest.approx(own, abs=1e-6)
            assert row["active"] == ((row["prompt_id"], head.layer, head.index) in active)


def test_means_of_a_component(store: Store, rows: Rows) -> None:
    head, neuron = _studied_pair(rows)
    means = store.component_means(head, 1)
    train = store.component_parts(head, neuron, "train")
    row = means.query("layer == @neuron.layer and neuron == @neuron.index").iloc[0]
    assert row["part"] == pytest.approx(mean(parts[1] for parts in train["components"]))
    assert row["contribution"] == pytest.approx(mean(train["contribution"]))
    assert row["n_prompts"] == len(train)
    assert means["part"].abs().tolist() == sorted(means["part"].abs(), reverse=True)


def test_an_activation_makes_its_part_again(store: Store, rows: Rows) -> None:
    """Activation times v . w_in over the layer norm's scale is the part that is stored."""
    head, neuron = _studied_pair(rows)
    scales = {r["prompt_id"]: r["ln_scale"] for r in rows["head_attributions"]}
    value = store.neuron_components(head, neuron)["value"].tolist()[1]
    parts = store.component_parts(head, neuron, "test").set_index("prompt_id")["components"]
    found = store.component_activations(head, 1, neuron, "test")
    assert len(found) == len(parts) > 0
    for prompt, activation in zip(found["prompt_id"], found["activation"], strict=True):
        assert activation * value / scales[prompt] == pytest.approx(parts[prompt][1], rel=1e-5)


def test_an_activation_that_cannot_be_told_is_missing(rows: Rows, tmp_path: Any) -> None:
    head, neuron = _studied_pair(rows)
    changed = tables()
    table = changed["component_neurons"]
    values = [0.0 if r["component"] == 0 else r["value"] for r in table.to_pylist()]
    at = table.schema.get_field_index("value")
    changed["component_neurons"] = table.set_column(
        at, table.schema.field(at), pa.array(values, pa.float32())
    )
    with Store.open(store_copy(tmp_path, "flat", changed)) as flat:
        assert (
            flat.component_activations(head, 0, neuron, "train")["activation"]
            .isna()
            .tolist()
            .count(False)
            == 0
        )
        assert (
            flat.component_activations(head, 1, neuron, "train")["activation"]
            .isna()
            .tolist()
            .count(True)
            == 0
        )


def test_a_run_without_channels_answers_with_nothing(tmp_path: Any) -> None:
    kept = tables()
    for name in ("composition", "component_composition", "head_components", "component_tokens",
                 "component_neurons", "component_attributions"):  # fmt: skip
        kept[name] = kept[name].slice(0, 0)
    with Store.open(store_copy(tmp_path, "old", kept)) as old:
        assert not old.has_channels()
        assert old.largest_composition() is None
        assert old.composition("Q").empty
        assert old.component_parts(HeadId(1, 1), NeuronId(4, 3), "train").empty


def test_what_is_no_mode_or_matrix_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="expected one of"):
        store.composition("Q' OR 1=1")
    with pytest.raises(ValueError, match="expected one of"):
        store.singular_values(HeadId(0, 0), "OV;")
