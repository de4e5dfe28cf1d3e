"""Reading in bfloat16: what is stored is float32 all the same, and what it changes is measured and said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from explorer.core.accumulate import Peaks
from explorer.core.model import LanguageModel, load_model
from explorer.core.types import NeuronId
from precompute.stages.precision import FACT, overlap
from tests.precompute.calling import Outcome, call, manifest, tables

EVERY_DOCUMENT = 16


@pytest.fixture(scope="module")
def model(quick_model: Path) -> LanguageModel:
    return load_model(quick_model, "cpu")


@pytest.fixture(scope="module")
def rough(quick_call: tuple[object, ...], tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return call(*quick_call, "--dtype", "bfloat16", "--out", tmp_path_factory.mktemp("rough"))


def peaks(rows: list[list[int]]) -> Peaks:
    ids = np.array(rows)
    return Peaks(np.where(ids < 0, -np.inf, 1.0), ids, ids)


def test_overlap_counts_what_is_found_and_what_keeps_its_rank() -> None:
    exact, rough = peaks([[5, 3, 8], [1, -1, -1]]), peaks([[5, 8, 2], [4, 1, -1]])
    # Of the two best, 5 keeps its rank and 3 is lost; of the other neuron, 1 is found one rank lower.
    assert overlap(exact, rough, 2) == ([True, False, True], [True, False, False])
    assert overlap(exact, exact, 3) == ([True] * 4, [True] * 4)


def test_autocast_changes_activations_and_nothing_after_it(model: LanguageModel) -> None:
    tokens, _ = model.batch([[5, 9, 200, 31], [7, 7, 100, 12]])
    neurons = {2: torch.arange(64)}
    exact = model.activations(tokens, neurons)[2]
    rough = model.activations(tokens, neurons, torch.bfloat16)[2].float()
    assert not torch.equal(exact, rough)
    assert float((exact - rough).abs().max()) < 0.1 * float(exact.abs().max())
    assert torch.equal(model.activations(tokens, neurons)[2], exact)


def test_what_is_stored_is_read_in_float32(rough: Outcome, model: LanguageModel) -> None:
    rows = tables(rough.store)["prompts"]
    assert rows
    for _, layer, neuron, _, _, _, ids, start, activation, truncated, *_ in rows:
        for tokens, stored in ((ids, activation), (ids[start:], truncated)):
            batch, last = model.batch([tokens])
            found = model.activation_at_last(batch, last, [NeuronId(layer, neuron)])
            assert float(found) == pytest.approx(stored, rel=1e-5, abs=1e-5)


def test_the_order_is_that_of_float32(rough: Outcome) -> None:
    best: dict[tuple[object, ...], float] = {}
    for _, layer, neuron, split, _, _, _, _, activation, *_ in tables(rough.store)["prompts"]:
        assert activation <= best.get((layer, neuron, split), np.inf)
        best[layer, neuron, split] = activation


def test_what_it_changes_is_said_and_noted(rough: Outcome, quick_run: Outcome) -> None:
    assert "bfloat16, measured against float32: of the best documents" in rough.stderr
    facts = manifest(rough.store)
    effect = facts[FACT]
    assert facts["dtype"] == "bfloat16" and effect["n_documents"] == EVERY_DOCUMENT
    assert effect["n_prompts"] == len(tables(rough.store)["prompts"])
    shares = ("best_found", "best_in_place", "same_active_heads", "same_token_rank")
    assert all(0 <= effect[name] <= 1 for name in shares) and effect["best_found"] > 0.5
    # Another run than the one in float32, which says nothing of it.
    assert rough.store.stem != quick_run.store.stem
    assert FACT not in manifest(quick_run.store) and "bfloat16" not in quick_run.stderr
