"""Rankings of neurons and tokens: streamed equals sorted whole; and congruence by hand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from explorer.core.congruence import BestNeurons, BestOf, best, best_tokens, congruence
from tests.core.conftest import Pair

# Few distinct values, so that exact ties are everywhere, at the boundary of the ranking too.
TIED = st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, 3.0])
LOOSE = st.floats(-100, 100, width=32)
MANY = settings(max_examples=150, deadline=None)


def matrices(max_rows: int = 24, max_columns: int = 24) -> st.SearchStrategy[np.ndarray]:
    """`[neuron token]`, with some neurons exact copies of others."""
    shapes = st.tuples(st.integers(1, max_rows), st.integers(1, max_columns))
    whole = shapes.flatmap(lambda s: hnp.arrays(np.float32, s, elements=TIED | LOOSE))

    def copy_rows(scores: np.ndarray, seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        sources = np.where(rng.random(len(scores)) < 0.4, rng.integers(0, len(scores)), -1)
        return np.where(sources[:, None] >= 0, scores[sources], scores)

    return st.builds(copy_rows, whole, st.integers(0, 1000))


def ranking(scores: np.ndarray, k: int) -> tuple[list[list[float]], list[list[int]]]:
    """By brute force, per row: descending, ties to the lower column."""
    orders = [sorted(range(len(row)), key=lambda i: (-row[i], i))[:k] for row in scores]
    return [[float(r[i]) for i in o] for r, o in zip(scores, orders, strict=True)], orders


def as_lists(found: BestOf) -> tuple[list[list[float]], list[list[int]]]:
    return found.scores.tolist(), found.indices.tolist()


def cut(n: int, cuts: list[int]) -> list[tuple[int, int]]:
    """Consecutive pieces of range(n)."""
    edges = sorted({0, n, *(c % (n + 1) for c in cuts)})
    return list(pairwise(edges))


@MANY
@given(matrices(), st.integers(1, 30))
def test_best_equals_a_stable_sort_of_the_whole(scores: np.ndarray, k: int) -> None:
    values, columns = best(torch.from_numpy(scores), k)
    assert (values.tolist(), columns.tolist()) == ranking(scores, k)


@MANY
@given(matrices(), st.integers(1, 24), st.lists(st.integers(0, 1000)), st.randoms())
def test_streamed_neurons_equal_a_stable_sort_of_the_whole(
    scores: np.ndarray, k: int, cuts: list[int], random
) -> None:
    """Whatever the chunks, and in whatever order they come."""
    chunks = cut(len(scores), cuts)
    random.shuffle(chunks)
    found = BestNeurons(k)
    for first, end in chunks:
        found.update(torch.from_numpy(scores[first:end]), first)
    assert as_lists(found.result()) == ranking(scores.T, k)


@MANY
@given(matrices(), st.integers(1, 24), st.lists(st.integers(0, 1000), min_size=2, max_size=6))
def test_merging_is_associative(scores: np.ndarray, k: int, cuts: list[int]) -> None:
    chunks = cut(len(scores), cuts)

    def of(piece: tuple[int, int]) -> BestNeurons:
        one = BestNeurons(k)
        one.update(torch.from_numpy(scores[piece[0] : piece[1]]), piece[0])
        return one

    left = of(chunks[0])
    for piece in chunks[1:]:
        left.merge(of(piece).result())
    right = of(chunks[-1])
    for piece in reversed(chunks[:-1]):
        before = of(piece)
        before.merge(right.result())
        right = before
    assert as_lists(left.result()) == as_lists(right.result()) == ranking(scores.T, k)


@MANY
@given(matrices(), st.integers(1, 24), st.integers(0, 2**24 - 1))
def test_only_allowed_tokens_are_ranked(scores: np.ndarray, k: int, mask: int) -> None:
    allowed = [bool(mask >> column & 1) for column in range(scores.shape[1])]
    found = best_tokens(torch.from_numpy(scores), torch.tensor(allowed), k)
    columns = [column for column, is_allowed in enumerate(allowed) if is_allowed]
    values, orders = ranking(scores[:, columns], k)
    assert as_lists(found) == (values, [[columns[i] for i in order] for order in orders])


def test_planted_ties_go_to_the_lower_neuron_also_at_the_boundary() -> None:
    """Thirty equal neurons, and one better one that comes last: which are kept is not left open."""
    scores = torch.full((31, 4), 2.0)
    scores[30] = 2.5
    found = BestNeurons(5)
    for first in (24, 16, 8, 0):
        found.update(scores[first : first + 8], first)
    assert found.result().indices.tolist() == [[30, 0, 1, 2, 3]] * 4


def test_no_chunk_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least one chunk"):
        BestNeurons().result()


# --- truth: congruence of a real model, by hand from Hugging Face's raw weights --------------------


def centred(matrix: torch.Tensor, dim: int) -> torch.Tensor:
    return matrix - matrix.mean(dim, keepdim=True)


def hand_made(pair: Pair, layer: int) -> torch.Tensor:
    """Final gain folded into the unembedding, which is centred over d_model and over all its rows
    (padding rows included); output weights centred over d_model."""
    gain = pair.raw.final_norm().weight.detach()
    unembedding = pair.raw.hf.lm_head.weight.detach().T * gain[:, None]
    unembedding = centred(centred(unembedding, 0), 1)
    return centred(pair.raw.w_out(layer), 1) @ unembedding


def test_congruence_equals_the_one_by_hand(pair: Pair) -> None:
    for layer in range(pair.raw.n_layers):
        found = congruence(pair.model.w_out(layer), pair.model.w_u).double()
        torch.testing.assert_close(found, hand_made(pair, layer), atol=1e-5, rtol=1e-5)


def test_control_every_step_of_folding_shows(pair: Pair) -> None:
    """Leaving out the gain, either centring of the unembedding, or padding rows, is seen."""
    found = congruence(pair.model.w_out(1), pair.model.w_u).double()
    gain = pair.raw.final_norm().weight.detach()
    rows = pair.raw.hf.lm_head.weight.detach().T
    w_out = centred(pair.raw.w_out(1), 1)
    folded = rows * gain[:, None]
    without_padding = centred(folded, 0)
    without_padding = without_padding - without_padding[:, :-5].mean(1, keepdim=True)
    wrong = {
        "no gain": w_out @ centred(centred(rows, 0), 1),
        "not centred over rows": w_out @ centred(folded, 0),
        "padding rows left out": w_out @ without_padding,
        "raw": pair.raw.w_out(1) @ rows,
    }
    for name, scores in wrong.items():
        assert float((found - scores).abs().max()) > 1e-3, name
    # The centring over d_model of one factor is enough for the product; weights show each.
    assert float((pair.model.w_u.double() - centred(folded, 1)).abs().max()) > 1e-2


def test_weights_are_centred_where_a_norm_feeds_them_or_reads_them(pair: Pair) -> None:
    model = pair.model
    for layer in range(model.shape.n_layers):
        assert float(model.w_in(layer).mean(0).abs().max()) < 1e-6
        assert float(model.w_out(layer).mean(1).abs().max()) < 1e-6
        assert float(pair.raw.w_in(layer).mean(0).abs().max()) > 1e-3
        assert float(pair.raw.w_out(layer).mean(1).abs().max()) > 1e-3
    assert float(model.w_o.mean(-1).abs().max()) < 1e-6
    assert float(model.b_o.mean(-1).abs().max()) < 1e-6
    assert float(model.w_u.mean(0).abs().max()) < 1e-6
    assert float(model.w_u.mean(1).abs().max()) < 1e-6


def test_reading_weights_have_the_gain_folded_in(pair: Pair) -> None:
    for layer in range(pair.model.shape.n_layers):
        norm = pair.raw.mlp_norm(layer)
        gain, shift = norm.weight.detach(), norm.bias.detach()
        folded = centred(pair.raw.w_in(layer) * gain[:, None], 0)
        torch.testing.assert_close(pair.model.w_in(layer).double(), folded, atol=1e-6, rtol=1e-5)
        bias = pair.raw.mlp_first(layer).bias.detach() + shift @ pair.raw.w_in(layer)
        torch.testing.assert_close(pair.model.b_in(layer).double(), bias, atol=1e-5, rtol=1e-5)


def test_value_biases_are_folded_into_the_attention_output_bias(pair: Pair) -> None:
    raw = pair.raw
    for layer in range(raw.n_layers):
        own = raw.attention_out(layer).bias.detach()
        folded = own + torch.einsum("hk,hkd->d", raw.value_bias(layer), raw.w_o(layer))
        torch.testing.assert_close(
            pair.model.b_o[layer].double(), centred(folded, 0), atol=1e-5, rtol=1e-5
        )
        assert float((centred(own, 0) - centred(folded, 0)).abs().max()) > 1e-2
