"""The three tables of removals beside the contract's words, removed one by one in float64.

Every row is there and no other; the numbers of a sample are worked out again.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.precompute.contract_case import Case
from tests.precompute.plain_contract import Head, Neuron, Prompt
from tests.precompute.plain_removals import KINDS, Means, neuron_removed, removed

N_SAMPLED = 60
"""Rows of a table that are worked out again, spread evenly over it."""


@pytest.fixture(scope="session")
def means(case: Case) -> Means:
    return Means(case.model, case.found.prompts)


def studied_heads(case: Case) -> dict[Neuron, list[Head]]:
    """Active in 25 % to 75 % of the neuron's train prompts."""
    found: dict[Neuron, list[Head]] = {}
    for neuron in case.studied:
        mine = [
            active for p, active in zip(case.found.prompts, case.active, strict=True)
            if p.neuron == neuron and p.split == "train"
        ]  # fmt: skip
        for head in sorted(set().union(*mine)) if mine else []:
            if 0.25 <= sum(head in active for active in mine) / len(mine) <= 0.75:
                found.setdefault(neuron, []).append(head)
    return found


def stored(case: Case, columns: str, table: str) -> dict[tuple, tuple]:
    """Rows by neuron, split and rank of their prompt and the first of `columns`."""
    rows = case.rows(f"SELECT layer, neuron, split, rank, {columns} FROM {table} "
                     "JOIN prompts USING (prompt_id)")  # fmt: skip
    n = 4 + len(columns.split(",")) - len([c for c in columns.split(",") if "delta" in c])
    assert len({row[:n] for row in rows}) == len(rows)
    return {row[:n]: row[n:] for row in rows}


def key_of(p: Prompt) -> tuple:
    return (*p.neuron, p.split, p.rank)


def sampled(keys: list) -> list:
    return keys[:: max(1, len(keys) // N_SAMPLED)]


DELTAS = "delta_pre_activation, delta_activation, delta_probability"


def test_each_studied_pair_on_every_kept_prompt(case: Case, means: Means) -> None:
    heads = studied_heads(case)
    found = stored(case, f"head_layer, head, kind, {DELTAS}", "ablations")
    expected = {
        (*key_of(p), *head, kind): (p, head, kind)
        for p in case.found.prompts
        for head, kind in itertools.product(heads.get(p.neuron, ()), KINDS)
    }
    assert set(found) == set(expected) and len(found) > 100
    for key in sampled(sorted(expected)):
        p, head, kind = expected[key]
        deltas = removed(case.model, p.kept, [head], kind, means, p.neuron, case.studied[p.neuron])
        np.testing.assert_allclose(found[key], deltas, rtol=0, atol=1e-4)
    assert np.abs([row[0] for row in found.values()]).max() > 0.1


def test_all_active_heads_at_once(case: Case, means: Means) -> None:
    found = stored(case, f"kind, n_heads, {DELTAS}", "joint_ablations")
    expected = {
        (*key_of(p), kind, len(active)): (p, active, kind)
        for p, active in zip(case.found.prompts, case.active, strict=True)
        for kind in KINDS
        if active
    }
    assert set(found) == set(expected)
    counts = {key[-1] for key in found}
    # Under mean + 2 SD with 12 heads one is active; under top:5 several.
    assert counts == {1} if case.options.top_k is None else max(counts) > 2
    for key in sampled(sorted(expected)):
        p, active, kind = expected[key]
        deltas = removed(case.model, p.kept, active, kind, means, p.neuron, case.studied[p.neuron])
        np.testing.assert_allclose(found[key], deltas, rtol=0, atol=1e-4)


def test_the_neuron_off(case: Case) -> None:
    found = stored(case, "delta_probability", "neuron_ablations")
    assert set(found) == {key_of(p) for p in case.found.prompts}
    for p in sampled(case.found.prompts):
        delta = neuron_removed(case.model, p.kept, p.neuron, case.studied[p.neuron])
        assert found[key_of(p)][0] == pytest.approx(delta, abs=1e-4)


def test_control_own_prompts_in_the_mean_would_show(case: Case, means: Means) -> None:
    """Leaving a neuron's own prompts out changes what the mean kinds put in, far more than rounding."""
    everyone = Means(case.model, ())
    everyone._z = [((-1, -1), z) for _, z in means._z]
    gaps = []
    for kind, neuron in itertools.product(("mean-last", "mean-all"), case.studied):
        own, all_ = means.of(kind, neuron), everyone.of(kind, neuron)
        assert own is not None and all_ is not None
        gaps.append(np.abs(own - all_).max())
    assert np.median(gaps) > 1e-2
