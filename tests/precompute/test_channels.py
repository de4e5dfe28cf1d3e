"""The channel tables of a published store against whole matrices in float64, on both kinds of blocks.

One head of the GPT-2 has no query: it reads nothing, so that its z is undefined.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import torch

from explorer.core.model import LanguageModel, load_model

Publish = Callable[..., duckdb.DuckDBPyConnection]
OPTIONS = ("--layers", "1,2", "--neurons-per-layer", 3, "--random-neurons-per-layer", 1,
           "--prompts", 5, "--explainer", "none")  # fmt: skip
DUMB = (2, 3)
"""The GPT-2's head without a query."""
Head = tuple[int, int]


def _silence(folder: Path) -> None:
    from transformers import GPT2LMHeadModel

    model = GPT2LMHeadModel.from_pretrained(folder)
    d_head = model.config.n_embd // model.config.n_head
    columns = slice(DUMB[1] * d_head, (DUMB[1] + 1) * d_head)
    with torch.no_grad():
        model.transformer.h[DUMB[0]].attn.c_attn.weight[:, columns] = 0.0
    model.save_pretrained(folder)


@dataclass
class Case:
    """A store and the whole matrices of its model."""

    store: duckdb.DuckDBPyConnection
    model: LanguageModel

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self.store.sql(query).fetchall()

    @property
    def heads(self) -> list[Head]:
        shape = self.model.shape
        return [(layer, h) for layer in range(shape.n_layers) for h in range(shape.n_heads)]

    @cached_property
    def matrices(self) -> dict[tuple[Head, str], np.ndarray]:
        """OV and QK of every head, `d_model x d_model`, float64."""
        found = {}
        for layer, head in self.heads:
            q, k, v, o = (
                w[layer, head].double().numpy()
                for w in (self.model.w_q, self.model.w_k, self.model.w_v, self.model.w_o)
            )
            found[(layer, head), "OV"], found[(layer, head), "QK"] = v @ o, q @ k.T
        return found

    @cached_property
    def svd(self) -> dict[tuple[Head, str], tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Reads, singular values, writes by numpy, with the sign rule of the contract."""
        found, n = {}, self.model.shape.d_head
        for key, matrix in self.matrices.items():
            u, s, vh = np.linalg.svd(matrix)
            reads, writes = u.T[:n], vh[:n]
            at = np.abs(writes).argmax(1)
            sign = np.sign(writes[np.arange(n), at])[:, None]
            found[key] = (reads * sign, s[:n], writes * sign)
        return found

    def read_by(self, mode: str, receiver: Head) -> np.ndarray:
        qk, ov = self.matrices[receiver, "QK"], self.matrices[receiver, "OV"]
        return {"Q": qk, "K": qk.T, "V": ov}[mode]

    def is_dumb(self, receiver: Head, mode: str) -> bool:
        return not self.model.shape.parallel_blocks and receiver == DUMB and mode != "V"


@pytest.fixture(scope="module", params=["gpt2", "neox"])
def case(
    request: pytest.FixtureRequest,
    tiny_folder: Callable[..., Path],
    small_corpus: Path,
    publish: Publish,
) -> Case:
    folder = tiny_folder(request.param, seed=21, context=16)
    if request.param == "gpt2":
        _silence(folder)
    store = publish("--model", folder, "--corpus", small_corpus, *OPTIONS)
    return Case(store, load_model(folder, "cpu"))


def test_singular_values_are_those_of_the_whole_matrices(case: Case) -> None:
    rows = case.rows("SELECT layer, head, matrix, component, singular_value FROM head_components")
    found = {row[:4]: row[4] for row in rows}
    n = case.model.shape.d_head
    keys = [(*h, m, i) for h in case.heads for m in ("OV", "QK") for i in range(n)]
    assert len(rows) == len(found) and set(found) == set(keys)
    for layer, head, matrix, i in keys:
        expected = case.svd[(layer, head), matrix][1]
        assert found[layer, head, matrix, i] == pytest.approx(
            expected[i], abs=1e-5 * max(1.0, expected[0])
        )


def test_tokens_are_the_20_that_a_direction_meets_most(case: Case) -> None:
    rows = case.rows(
        """SELECT layer, head, matrix, side, component, list(token_id ORDER BY rank),
           list(value ORDER BY rank), list(rank ORDER BY rank)
           FROM component_tokens GROUP BY ALL"""
    )
    w_e, w_u = case.model.w_e.double().numpy().T, case.model.w_u.double().numpy()
    texts = case.model.token_texts
    allowed = np.array([bool(text) for text in texts])
    assert not allowed.all(), "no id past the vocabulary to stay away from"
    assert len(rows) == len(case.heads) * 4 * case.model.shape.d_head
    best_is_padding = 0
    for layer, head, matrix, side, i, ids, values, ranks in rows:
        reads, s, writes = case.svd[(layer, head), matrix]
        assert ranks == list(range(1, 21)) and all(texts[t] for t in ids) and len(set(ids)) == 20
        assert values == sorted(values, reverse=True)
        # Where singular values nearly meet, the directions are not fixed.
        gaps = np.abs(np.delete(s, i) - s[i])
        if s[i] < 1e-3 or gaps.min() < 0.02 * s[0]:
            continue
        direction = (writes if side == "write" else reads)[i]
        scores = direction @ (w_u if (matrix, side) == ("OV", "write") else w_e)
        best_is_padding += int(not allowed[scores.argmax()])
        scores[~allowed] = -np.inf
        assert np.allclose(values, np.sort(scores)[::-1][:20], atol=1e-3)
        assert np.allclose(values, scores[ids], atol=1e-3)
    assert best_is_padding > 0, "nothing was kept out"


def test_neurons_that_a_head_can_reach_and_no_others(case: Case) -> None:
    rows = case.rows(
        "SELECT layer, head, component, neuron_layer, neuron, value FROM component_neurons"
    )
    studied = case.rows("SELECT layer, neuron FROM studied_neurons")
    assert {layer for layer, _ in studied} == {1, 2}
    reach = 0 if case.model.shape.parallel_blocks else 1
    expected = {
        (layer, head, i, *n)
        for layer, head in case.heads
        for n in studied
        if layer < n[0] + reach
        for i in range(case.model.shape.d_head)
    }
    assert len(rows) == len(expected) and {row[:5] for row in rows} == expected
    for layer, head in case.heads:
        for neuron in studied:
            # Whatever the basis: together the components see all of W_O's part of the reader.
            mine = [r[5] for r in rows if r[:2] == (layer, head) and r[3:5] == neuron]
            if mine:
                w_in = case.model.w_in(neuron[0])[:, neuron[1]].double().numpy()
                writes = case.svd[(layer, head), "OV"][2]
                assert np.sort(np.abs(mine)) == pytest.approx(
                    np.sort(np.abs(writes @ w_in)), abs=1e-3
                )


def test_components_sum_to_the_stored_contribution_of_each_studied_head(case: Case) -> None:
    n_heads = case.model.shape.n_heads
    rows = case.rows(
        """SELECT a.prompt_id, head_layer, head, components, heads FROM component_attributions a
           JOIN head_attributions USING (prompt_id)"""
    )
    studied = case.rows("SELECT prompt_id, head_layer, head FROM head_attention")
    assert len(rows) >= 10 and sorted(row[:3] for row in rows) == sorted(studied)
    gaps = []
    for _, layer, head, components, heads in rows:
        assert len(components) == case.model.shape.d_head
        assert sum(components) == pytest.approx(heads[layer * n_heads + head], abs=1e-4)
        gaps.append(abs(components[-1]))
    assert max(gaps) > 1e-3, "the last component never matters: the sum proves little"


def test_each_part_is_the_activation_times_what_the_neuron_reads(case: Case) -> None:
    """The stored parts again, from a trace of the prompt's kept tokens and numpy's directions."""
    rows = case.rows(
        """SELECT layer, neuron, token_ids[start + 1:], head_layer, head, components, ln_scale
           FROM component_attributions JOIN prompts USING (prompt_id)
           JOIN head_attributions USING (prompt_id)"""
    )
    from explorer.core.types import NeuronId

    model = case.model
    for layer, index, kept, head_layer, head, components, scale in rows[:: max(1, len(rows) // 12)]:
        tokens, last = model.batch([kept])
        z = model.trace(tokens, last, [NeuronId(layer, index)]).z[0, head_layer, head]
        out = z.double().numpy() @ model.w_o[head_layer, head].double().numpy()
        writes = case.svd[(head_layer, head), "OV"][2]
        w_in = model.w_in(layer)[:, index].double().numpy()
        assert components == pytest.approx((writes @ out) * (writes @ w_in) / scale, abs=2e-3)


def test_every_earlier_head_is_scored_with_every_later_one(case: Case) -> None:
    rows = case.rows(
        "SELECT mode, src_layer, src_head, dst_layer, dst_head, score FROM composition"
    )
    expected = {
        (mode, *src, *dst)
        for mode in "QKV" for src in case.heads for dst in case.heads if src[0] < dst[0]
    }  # fmt: skip
    assert len(rows) == len(expected) and {row[:5] for row in rows} == expected
    norm = np.linalg.norm
    for mode, *src, dst_layer, dst_head, score in rows:
        dst = (dst_layer, dst_head)
        ov, read = case.matrices[(src[0], src[1]), "OV"], case.read_by(mode, dst)
        if case.is_dumb(dst, mode):
            assert score == 0
        else:
            assert score == pytest.approx(norm(ov @ read) / norm(ov) / norm(read), abs=1e-5)


def test_the_50_highest_components_with_their_z_among_all(case: Case) -> None:
    rows = case.rows(
        """SELECT mode, dst_layer, dst_head, list(score ORDER BY score DESC),
           list(z ORDER BY score DESC), list([src_layer, src_head, src_component] ORDER BY score DESC)
           FROM component_composition GROUP BY ALL"""
    )
    assert {row[:3] for row in rows} == {
        (mode, *head) for mode in "QKV" for head in case.heads if head[0] > 0
    }
    nulls = 0
    for mode, dst_layer, dst_head, scores, zs, sources in rows:
        dst, n = (dst_layer, dst_head), case.model.shape.d_head
        senders = [head for head in case.heads if head[0] < dst_layer]
        assert len(scores) == min(50, len(senders) * n)
        if case.is_dumb(dst, mode):
            nulls += 1
            assert set(zs) == {None} and set(scores) == {0.0}
            first = [[*head, i] for head in senders for i in range(n)][:50]
            assert sorted(sources) == first, "ties go to the earlier one"
            continue
        read = case.read_by(mode, dst)
        every = np.array([
            np.linalg.norm(direction @ read) / np.linalg.norm(read)
            for head in senders for direction in case.svd[head, "OV"][2]
        ])  # fmt: skip
        assert np.allclose(scores, np.sort(every)[::-1][:50], atol=1e-4)
        for score, (layer, head, i) in zip(scores, sources, strict=True):
            flat = (layer * case.model.shape.n_heads + head) * n + i
            assert score == pytest.approx(every[flat], abs=1e-4)
        middle = np.median(every)
        mad = 1.4826 * np.median(np.abs(every - middle))
        assert np.allclose(zs, (np.array(scores) - middle) / mad, atol=1e-2)
    assert nulls == (0 if case.model.shape.parallel_blocks else 2)


def test_the_stage_is_timed(case: Case) -> None:
    ((seconds,),) = case.rows("SELECT value FROM manifest WHERE key = 'seconds'")
    assert json.loads(seconds)["channels"] > 0
