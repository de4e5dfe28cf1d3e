"""Every number of a published store, worked out again from the contract's words by slow plain code.

`plain_model` runs the folder through Hugging Face alone, in float64 and without folding anything;
`plain_contract` is the contract, one loop a sentence. Two cases: blocks in sequence with documents held
out by parity, and parallel blocks with a second file.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.precompute import plain_contract as contract
from tests.precompute.contract_case import N_RANDOM, Case


def close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(
        np.asarray(found, dtype=float), np.asarray(expected, dtype=float), rtol=1e-4, atol=1e-4
    )


def test_the_corpus_brings_up_every_special_case(case: Case) -> None:
    """So that the comparisons below prove something about each rule."""
    prompts = case.found.prompts
    size = case.model.context - 1
    assert any(len(ids) > 2 * size for docs in case.splits.values() for ids in docs.values())
    assert any(len(ids) == 0 for docs in case.splits.values() for ids in docs.values())
    assert case.found.n_repeats > 0 and case.found.n_dropped > 0 and case.found.n_short > 0
    assert any(p.start > 0 for p in prompts) and any(p.start == 0 for p in prompts)
    assert any(len(p.kept) > 1 for p in prompts)
    assert any(len(p.curve) > len(p.kept) + 2 for p in prompts)
    windows = {p.token_ids[0] == case.splits[p.split][p.doc_id][0] for p in prompts}
    assert windows == {True, False}
    assert any(case.active) and not all(case.active)
    train = [values for key, values in expected_activity(case).items() if key[4] == "train"]
    shares = {on / n for on, n, *_ in train if n}
    assert shares >= {0, 1 / 4, 2 / 4}
    if case.options.top_k is not None:
        assert shares >= {3 / 4, 1}
        # Among the K largest are some that are not positive, and heads fewer than K.
        reachable = [case.model.n_reaching(p.neuron[0]) * case.model.n_heads for p in prompts]
        assert {0, 4, 8} == set(reachable)
        assert any(
            0 < len(active) < min(5, n) for active, n in zip(case.active, reachable, strict=True)
        )
    # No activation is close enough to its threshold for rounding to decide.
    assert all(
        abs(value - case.options.keep_ratio * p.activation) > 1e-5
        for p in prompts for start, value in p.curve.items() if start >= p.start
    )  # fmt: skip


def test_tokens(case: Case) -> None:
    assert case.rows("SELECT token_id, text FROM tokens ORDER BY 1") == list(
        enumerate(case.model.texts())
    )
    assert case.model.texts()[-6:] != [""] * 6 and case.model.texts()[-5:] == [""] * 5


def test_neuron_tokens(case: Case) -> None:
    order = contract.best_tokens(case.scores, case.model.texts())[..., :20]
    rows = case.rows("SELECT * FROM neuron_tokens ORDER BY layer, neuron, rank")
    expected = [(*at, rank + 1, int(order[at][rank]))
                for at in np.ndindex(order.shape[:2]) for rank in range(20)]  # fmt: skip
    assert [row[:4] for row in rows] == expected
    close([row[4] for row in rows], [case.scores[at, n, t] for at, n, _, t in expected])


def test_token_neurons(case: Case) -> None:
    d_mlp = case.scores.shape[1]
    flat = case.scores.reshape(-1, case.scores.shape[2])
    rows = case.rows("SELECT * FROM token_neurons ORDER BY token_id, rank")
    expected = [
        (token, rank + 1, *divmod(int(at), d_mlp))
        for token, text in enumerate(case.model.texts()) if text
        for rank, at in enumerate(np.argsort(-flat[:, token], kind="stable")[:20])
    ]  # fmt: skip
    assert [row[:4] for row in rows] == expected
    close([row[4] for row in rows], [case.scores[n, i, t] for t, _, n, i in expected])


def test_studied_neurons(case: Case) -> None:
    rows = case.rows("SELECT layer, neuron, token_id, kind, congruence FROM studied_neurons")
    expected = contract.studied(case.scores, case.model.texts(), case.options)
    chosen = {row[:2]: row[2:4] for row in rows if row[3] != "random"}
    assert chosen == expected
    assert {kind for _, kind in expected.values()} == {"next-token", "requested"}
    drawn = [row[:2] for row in rows if row[3] == "random"]
    assert len(set(drawn)) == len(drawn) and not set(drawn) & set(expected)
    assert sorted(layer for layer, _ in drawn) == sorted([*case.options.layers] * N_RANDOM)
    assert {row[:2]: row[2] for row in rows} == case.studied
    close([row[4] for row in rows], [case.scores[row[:3]] for row in rows])


def test_prompts(case: Case) -> None:
    for p, row in case.joined("doc_id, token_ids, start, activation, truncated_activation, "
                              "kept_activations", "prompts"):  # fmt: skip
        assert row[:3] == (p.doc_id, p.token_ids, p.start)
        close(row[3], p.activation)
        layer, index = p.neuron
        expected = case.model.run(p.kept).post[layer][1:, index]
        close(row[4], expected[-1])
        close(row[5], expected)


def test_probability_and_rank(case: Case) -> None:
    for p, row in case.joined("probability, token_rank", "prompts"):
        logits = case.model.run(p.kept).logits
        token = case.studied[p.neuron]
        weights = np.exp(logits - logits.max())
        close(row[0], weights[token] / weights.sum())
        assert row[1] == 1 + (logits > logits[token]).sum()


def test_truncation_curves(case: Case) -> None:
    for p, (starts, activations) in case.joined("starts, activations", "truncation_curves"):
        assert starts == sorted(p.curve)
        close(activations, [p.curve[start] for start in starts])


def test_head_attributions(case: Case) -> None:
    rows = case.joined(
        "heads, mlps, embedding, bias, pre_activation, ln_scale", "head_attributions"
    )
    for (_, row), parts in zip(rows, case.parts, strict=True):
        close(row[0], parts.heads.flatten())
        close(row[1], parts.mlps)
        close(row[2:], [parts.embedding, parts.bias, parts.pre_activation, parts.ln_scale])
        # The plain parts are exact as well, so that what they are compared with means something.
        total = parts.heads.sum() + parts.mlps.sum() + parts.embedding + parts.bias
        assert total == pytest.approx(parts.pre_activation, abs=1e-9)


def test_active_heads(case: Case) -> None:
    active = "(SELECT list((head_layer, head)) FROM active_heads a WHERE a.prompt_id = p.prompt_id)"
    rows = case.joined(active, "(FROM prompts SELECT prompt_id) p")
    for (_, (found,)), expected in zip(rows, case.active, strict=True):
        assert sorted(found or []) == sorted(expected)


def expected_activity(case: Case) -> dict[tuple, tuple]:
    found = {}
    prompts = list(zip(case.found.prompts, case.parts, case.active, strict=True))
    for layer, index in case.studied:
        for head in np.ndindex(case.model.n_reaching(layer), case.model.n_heads):
            counts = {}
            for split in ("train", "test"):
                mine = [(parts.heads[head], head in active) for p, parts, active in prompts
                        if p.neuron == (layer, index) and p.split == split]  # fmt: skip
                mean = float(np.mean([value for value, _ in mine])) if mine else None
                counts[split] = sum(on for _, on in mine), len(mine), mean
            on, n, _ = counts["train"]
            studied = n > 0 and 0.25 <= on / n <= 0.75
            for split, values in counts.items():
                found[(layer, index, *head, split)] = (*values, studied)
    return found


def test_head_activity(case: Case) -> None:
    rows = case.rows("SELECT * EXCLUDE (mean_attribution), mean_attribution FROM head_activity")
    expected = expected_activity(case)
    assert len(rows) == len(expected)
    assert {row[:5]: row[5:8] for row in rows} == {
        key: (on, n, studied) for key, (on, n, _, studied) in expected.items()
    }
    means = [(row[8], expected[row[:5]][2]) for row in rows]
    assert [found is None for found, _ in means] == [mean is None for _, mean in means]
    pairs = [pair for pair in means if pair[1] is not None]
    close(*zip(*pairs, strict=True))


def test_head_attention(case: Case) -> None:
    studied = {key[:4] for key, (*_, yes) in expected_activity(case).items() if yes}
    rows = case.joined(
        "heads", "(SELECT prompt_id, list((head_layer, head, weights)) AS heads "
        "FROM prompts LEFT JOIN head_attention USING (prompt_id) GROUP BY ALL)"
    )  # fmt: skip
    assert studied
    for p, (heads,) in rows:
        found = {(*p.neuron, *head[:2]): head[2] for head in heads if head[0] is not None}
        assert set(found) == {key for key in studied if key[:2] == p.neuron}
        for (_, _, layer, head), weights in found.items():
            expected = case.model.run(p.kept).attention[layer][head]
            assert len(weights) == len(p.kept) + 1
            close(weights, expected)


def test_manifest(case: Case) -> None:
    facts = {key: json.loads(value) for key, value in case.rows("SELECT * FROM manifest")}
    lists = {"tokens", "neurons"}
    for name, value in case.argv.items():
        found = ",".join(facts[name]).replace(" ", "␣") if name in lists else facts[name]
        assert found == (str(value) if isinstance(value, Path) else value)
    assert facts["documents"] == {name: len(docs) for name, docs in case.splits.items()}
    assert facts["tokens_read"] == {
        name: sum(map(len, docs.values())) for name, docs in case.splits.items()
    }
    counted = {n for n in facts["warnings"].values()}
    assert {case.found.n_repeats, case.found.n_dropped, case.found.n_short} <= counted


def test_random_neurons_are_drawn_with_the_seed(
    gpt2_folder: Path, write_corpus: Callable[..., Path], publish: Callable[..., Any]
) -> None:
    corpus = write_corpus(["a dog", "a cat"])
    few = ("--neurons-per-layer", 0, "--random-neurons-per-layer", 9, "--prompts", 1)

    def drawn(seed: int) -> list[tuple]:
        store = publish("--model", gpt2_folder, "--corpus", corpus, "--seed", seed, *few)
        return store.sql("SELECT layer, neuron, token_id, kind FROM studied_neurons").fetchall()

    first = drawn(1)
    assert drawn(1) == first
    assert len(first) == 9 and {row[3] for row in first} == {"random"}
    assert len(set(first) & set(drawn(2))) < 9
