"""The best documents of each neuron: streamed in any order equals sorted whole."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from explorer.core.accumulate import Peaks, TopDocuments, document_peaks

NAN, INF = float("nan"), float("inf")
# Few distinct values, so that ties between documents are everywhere; and what never counts.
VALUES = st.sampled_from([-1.0, 0.0, -0.0, 0.5, 1.0, 1.5, 2.0, NAN, -INF])
MANY = settings(max_examples=200, deadline=None)
Best = list[list[tuple[float, int, int]]]


@st.composite
def documents(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids (distinct, in any order), activations and positions of some documents."""
    n, n_neurons = draw(st.integers(1, 25)), draw(st.integers(1, 4))
    ids = draw(st.lists(st.integers(0, 200), min_size=n, max_size=n, unique=True))
    activation = draw(hnp.arrays(np.float32, (n, n_neurons), elements=VALUES))
    position = draw(hnp.arrays(np.int64, (n, n_neurons), elements=st.integers(0, 50)))
    return np.array(ids), activation, position


def by_brute_force(found: tuple[np.ndarray, np.ndarray, np.ndarray], k: int) -> Best:
    ids, activation, position = found
    best = []
    for neuron in range(activation.shape[1]):
        rows = [
            (float(a), int(d), int(p))
            for a, d, p in zip(activation[:, neuron], ids, position[:, neuron], strict=True)
            if a > 0
        ]
        best.append(sorted(rows, key=lambda row: (-row[0], row[1]))[:k])
    return best


def listed(peaks: Peaks) -> Best:
    """Real documents per neuron; checks that what is not one is marked and comes last."""
    best = []
    for activation, ids, position in zip(
        peaks.activation, peaks.doc_id, peaks.position, strict=True
    ):
        n = int((ids >= 0).sum())
        assert (ids[n:] == -1).all()
        assert (position[n:] == -1).all()
        assert (activation[n:] == -INF).all()
        rows = zip(activation[:n].tolist(), ids[:n].tolist(), position[:n].tolist(), strict=True)
        best.append(list(rows))
    return best


def part(found: tuple[np.ndarray, np.ndarray, np.ndarray], rows: list[int], k: int) -> TopDocuments:
    best = TopDocuments(found[1].shape[1], k)
    best.update(*(array[rows] for array in found))
    return best


@MANY
@given(documents(), st.integers(1, 30), st.randoms(), st.integers(1, 6))
def test_shards_in_any_order_equal_a_sort_of_the_whole(
    found: tuple[np.ndarray, np.ndarray, np.ndarray], k: int, rng: random.Random, n_shards: int
) -> None:
    rows = list(range(len(found[0])))
    rng.shuffle(rows)
    whole = TopDocuments(found[1].shape[1], k)
    for shard in range(n_shards):
        whole.update(*(array[rows[shard::n_shards]] for array in found))
    assert listed(whole.result()) == by_brute_force(found, k)


@MANY
@given(documents(), st.integers(1, 10), st.integers(0, 25), st.integers(0, 25))
def test_merging_is_associative_and_order_independent(
    found: tuple[np.ndarray, np.ndarray, np.ndarray], k: int, first: int, second: int
) -> None:
    n = len(found[0])
    edges = [0, *sorted((min(first, n), min(second, n))), n]
    pieces = [list(range(a, b)) for a, b in pairwise(edges)]
    results = []
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        left = part(found, pieces[order[0]], k)
        left.merge(part(found, pieces[order[1]], k).result())
        left.merge(part(found, pieces[order[2]], k).result())
        tail = part(found, pieces[order[1]], k)
        tail.merge(part(found, pieces[order[2]], k).result())
        right = part(found, pieces[order[0]], k)
        right.merge(tail.result())
        results += [listed(left.result()), listed(right.result())]
    assert all(result == by_brute_force(found, k) for result in results)


def test_ties_go_to_the_lower_document_whichever_comes_first() -> None:
    for order in ([7, 3, 5], [3, 5, 7], [5, 7, 3]):
        best = TopDocuments(1, 2)
        for doc in order:
            best.update(np.array([doc]), np.array([[1.5]]), np.array([[10 * doc]]))
        assert listed(best.result()) == [[(1.5, 3, 30), (1.5, 5, 50)]]


def test_what_is_no_positive_number_never_counts() -> None:
    best = TopDocuments(1, 5)
    for doc, value in enumerate([NAN, -1.0, 0.0, -INF, 1e-30, NAN]):
        best.update(np.array([doc]), np.array([[value]]), np.array([[0]]))
    (row,) = listed(best.result())
    assert [doc for _, doc, _ in row] == [4]


def test_nothing_at_all_is_an_empty_result_and_keeping_nothing_a_mistake() -> None:
    assert listed(TopDocuments(2, 3).result()) == [[], []]
    with pytest.raises(ValueError, match="at least one document"):
        TopDocuments(2, 0)


# --- windows of a document -------------------------------------------------------------------------


@st.composite
def windows(draw: st.DrawFn) -> list[tuple[int, int, list[float]]]:
    """Documents cut into windows of 4: (document, offset, activation at each token), shuffled."""
    texts = draw(st.lists(st.lists(VALUES.filter(lambda v: v == v), max_size=14), max_size=5))
    cut = [
        (doc, offset, text[offset : offset + 4])
        for doc, text in enumerate(texts)
        for offset in range(0, len(text), 4)
    ]
    return draw(st.permutations(cut))


@MANY
@given(windows())
def test_windows_join_to_documents_at_the_earliest_highest_token(
    cut: list[tuple[int, int, list[float]]],
) -> None:
    n_documents = 6
    highest = [max(values) for *_, values in cut]
    first = [values.index(top) for (*_, values), top in zip(cut, highest, strict=True)]
    found, where = document_peaks(
        n_documents,
        np.array([doc for doc, *_ in cut], dtype=np.int64),
        np.array([offset for _, offset, _ in cut], dtype=np.int64),
        np.array(highest, dtype=np.float32)[:, None],
        np.array(first, dtype=np.int64)[:, None],
    )
    for doc in range(n_documents):
        mine = sorted((offset, values) for d, offset, values in cut if d == doc)
        text = [value for _, values in mine for value in values]
        if not text or max(text) == -INF:
            assert (found[doc, 0], where[doc, 0]) == (-INF, -1)
        else:
            assert (found[doc, 0], where[doc, 0]) == (max(text), text.index(max(text)))


def test_each_neuron_has_a_window_of_its_own() -> None:
    """Two windows, two neurons, each at its best in another window; a tie goes to the earlier."""
    activation = np.array([[1.0, 5.0, 2.0], [3.0, 4.0, 2.0]], dtype=np.float32)
    position = np.array([[0, 2, 3], [1, 0, 0]])
    found, where = document_peaks(1, np.array([0, 0]), np.array([0, 4]), activation, position)
    assert found.tolist() == [[3.0, 5.0, 2.0]]
    assert where.tolist() == [[5, 2, 3]]
    backwards = document_peaks(
        1, np.array([0, 0]), np.array([4, 0]), activation[::-1], position[::-1]
    )
    assert backwards[1].tolist() == where.tolist()
