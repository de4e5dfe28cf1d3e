"""The best documents of each neuron, streamed: `update(batch)` -> `merge(other)` -> `result()`.

A document gives a neuron at most one prompt: its highest post-activation at any position but BOS,
in any window; only a positive peak counts; ties go to the earlier position, and between documents to
the lower id. Merging is associative, so that shards may be read by many workers in any order.

The same text gives the same number, but batches of other shapes round it otherwise. So that copies of
a text tie, whatever batch each was in, peaks carry a mark of what the model had read (`reading_marks`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt64

_ROUNDING = 1e-4
"""Relative: far more than batches of different shapes change a number."""


@dataclass(frozen=True)
class Peaks:
    """Where neurons peak: parallel arrays `[neuron rank]`, descending; doc_id -1 where there is none."""

    activation: Float[np.ndarray, "neuron rank"]
    doc_id: Int[np.ndarray, "neuron rank"]
    position: Int[np.ndarray, "neuron rank"]
    """Index of the peak token in the document, from 0, BOS and windows not counted."""
    mark: UInt64[np.ndarray, "neuron rank"] | None = None
    """Equal for peaks after the same tokens, which are then the same number; 0 or None: unknown."""


class TopDocuments:
    """The `k` best documents of each of `n_neurons` neurons so far."""

    def __init__(self, n_neurons: int, k: int) -> None:
        if k < 1:
            raise ValueError(f"expected at least one document to keep, got {k}")
        self._k = k
        self._activation = np.full((n_neurons, 0), -np.inf, dtype=np.float32)
        self._doc_id = np.full((n_neurons, 0), -1, dtype=np.int64)
        self._position = np.full((n_neurons, 0), -1, dtype=np.int64)
        self._mark = np.zeros((n_neurons, 0), dtype=np.uint64)

    def update(
        self,
        doc_ids: Int[np.ndarray, " document"],
        activation: Float[np.ndarray, "document neuron"],
        position: Int[np.ndarray, "document neuron"],
        mark: UInt64[np.ndarray, "document neuron"] | None = None,
    ) -> None:
        """Take in whole documents: each neuron's peak and where it is. Each document once."""
        shape = (activation.shape[1], len(doc_ids))
        marks = None if mark is None else mark.T
        self.merge(Peaks(activation.T, np.broadcast_to(doc_ids, shape), position.T, marks))

    def merge(self, other: Peaks) -> None:
        activation = np.concatenate([self._activation, other.activation], axis=1)
        doc_id = np.concatenate([self._doc_id, other.doc_id], axis=1).astype(np.int64)
        position = np.concatenate([self._position, other.position], axis=1).astype(np.int64)
        unknown = np.zeros(other.activation.shape, dtype=np.uint64)
        mark = np.concatenate(
            [self._mark, unknown if other.mark is None else other.mark], axis=1, dtype=np.uint64
        )
        # NaN never counts as a peak.
        none = ~(activation > 0) | (doc_id < 0)
        activation = np.where(none, -np.inf, activation).astype(np.float32)
        doc_id, position = np.where(none, -1, doc_id), np.where(none, -1, position)
        mark = np.where(none, np.uint64(0), mark)
        kept = _contenders(activation, self._k)
        activation, doc_id, position, mark = (
            np.take_along_axis(values, kept, 1) for values in (activation, doc_id, position, mark)
        )
        last = np.where(doc_id < 0, np.iinfo(np.int64).max, doc_id)
        activation = _one_number_a_mark(activation, last, mark)
        order = np.lexsort((last, -activation), axis=1)[:, : self._k]
        self._activation = np.take_along_axis(activation, order, 1)
        self._doc_id = np.take_along_axis(doc_id, order, 1)
        self._position = np.take_along_axis(position, order, 1)
        self._mark = np.take_along_axis(mark, order, 1)

    def result(self) -> Peaks:
        return Peaks(self._activation, self._doc_id, self._position, self._mark)


def _contenders(
    activation: Float[np.ndarray, "neuron document"], k: int
) -> Int[np.ndarray, "neuron few"]:
    """Columns that can be among each row's k best, or equal one of them but for rounding: what is
    left is short to sort."""
    n = activation.shape[1]
    if n <= k:
        return np.broadcast_to(np.arange(n), activation.shape)
    kth = np.partition(activation, n - k, axis=1)[:, n - k, None]
    near = (activation >= kth * (1 - _ROUNDING)) & (activation > 0)
    return np.argsort(~near, axis=1, kind="stable")[:, : max(k, int(near.sum(1).max(initial=0)))]


def _one_number_a_mark(
    activation: Float[np.ndarray, "neuron document"],
    doc_id: Int[np.ndarray, "neuron document"],
    mark: UInt64[np.ndarray, "neuron document"],
) -> Float[np.ndarray, "neuron document"]:
    """Of peaks with one mark in a row, all take the activation of the lowest document."""
    order = np.lexsort((doc_id, mark), axis=1)
    marks = np.take_along_axis(mark, order, 1)
    is_first = np.ones(marks.shape, dtype=bool)
    is_first[:, 1:] = (marks[:, 1:] != marks[:, :-1]) | (marks[:, 1:] == 0)
    first = np.maximum.accumulate(np.where(is_first, np.arange(marks.shape[1]), 0), axis=1)
    equal = np.empty_like(activation)
    ordered = np.take_along_axis(activation, order, 1)
    np.put_along_axis(equal, order, np.take_along_axis(ordered, first, 1), 1)
    return equal


def reading_marks(
    documents: Sequence[Sequence[int]], size: int, position: Int[np.ndarray, "document neuron"]
) -> UInt64[np.ndarray, "document neuron"]:
    """A fingerprint of the tokens from the start of the window to the position, included.

    `size` is the length of a window; 0 where the position is -1. Each token is mixed with its place
    in the window to 64 bits; the fingerprint is their sum.
    """
    lengths = np.array([len(ids) for ids in documents], dtype=np.int64)
    begin = np.cumsum(lengths) - lengths
    tokens = np.concatenate([np.zeros(0, np.uint64), *(np.array(i, np.uint64) for i in documents)])
    place = (np.arange(len(tokens)) - np.repeat(begin, lengths)) % size
    sums = np.cumsum(_mixed((tokens << np.uint64(32)) | place.astype(np.uint64)), dtype=np.uint64)
    sums = np.concatenate([np.zeros(1, np.uint64), sums])
    at = np.where(position < 0, 0, begin[:, None] + position)
    window = at - np.where(position < 0, 0, position % size)
    return np.where(position < 0, np.uint64(0), sums[at + 1] - sums[window])


def _mixed(values: UInt64[np.ndarray, " n"]) -> UInt64[np.ndarray, " n"]:
    """SplitMix64: every bit of the result depends on every bit of the value."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def document_peaks(
    n_documents: int,
    document: Int[np.ndarray, " window"],
    offset: Int[np.ndarray, " window"],
    activation: Float[np.ndarray, "window neuron"],
    position: Int[np.ndarray, "window neuron"],
) -> tuple[Float[np.ndarray, "document neuron"], Int[np.ndarray, "document neuron"]]:
    """Join windows to documents: each neuron's highest peak in any window of a document.

    `document` is each window's document (0 to `n_documents` - 1), `offset` the index of the window's
    first token in its document, `position` the peak's index in the window. Ties go to the earlier
    position. Documents without a window have activation -inf and position -1.
    """
    n_neurons = activation.shape[1]
    best = np.full((n_documents, n_neurons), -np.inf, dtype=np.float32)
    where = np.full((n_documents, n_neurons), -1, dtype=np.int64)
    for row in np.lexsort((offset, document)):
        doc = document[row]
        better = activation[row] > best[doc]
        best[doc] = np.where(better, activation[row], best[doc])
        where[doc] = np.where(better, position[row] + offset[row], where[doc])
    return best, where
