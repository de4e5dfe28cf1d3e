"""The best documents of each neuron, streamed: `update(batch)` -> `merge(other)` -> `result()`.

A document gives a neuron at most one prompt: its highest post-activation at any position but BOS,
in any window; only a positive peak counts; ties go to the earlier position, and between documents to
the lower id. Merging is associative, so that shards may be read by many workers in any order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True)
class Peaks:
    """Where neurons peak: parallel arrays `[neuron rank]`, descending; doc_id -1 where there is none."""

    activation: Float[np.ndarray, "neuron rank"]
    doc_id: Int[np.ndarray, "neuron rank"]
    position: Int[np.ndarray, "neuron rank"]
    """Index of the peak token in the document, from 0, BOS and windows not counted."""


class TopDocuments:
    """The `k` best documents of each of `n_neurons` neurons so far."""

    def __init__(self, n_neurons: int, k: int) -> None:
        if k < 1:
            raise ValueError(f"expected at least one document to keep, got {k}")
        self._k = k
        self._activation = np.full((n_neurons, 0), -np.inf, dtype=np.float32)
        self._doc_id = np.full((n_neurons, 0), -1, dtype=np.int64)
        self._position = np.full((n_neurons, 0), -1, dtype=np.int64)

    def update(
        self,
        doc_ids: Int[np.ndarray, " document"],
        activation: Float[np.ndarray, "document neuron"],
        position: Int[np.ndarray, "document neuron"],
    ) -> None:
        """Take in whole documents: each neuron's peak and where it is. Each document once."""
        shape = (activation.shape[1], len(doc_ids))
        self.merge(Peaks(activation.T, np.broadcast_to(doc_ids, shape), position.T))

    def merge(self, other: Peaks) -> None:
        activation = np.concatenate([self._activation, other.activation], axis=1)
        doc_id = np.concatenate([self._doc_id, other.doc_id], axis=1).astype(np.int64)
        position = np.concatenate([self._position, other.position], axis=1).astype(np.int64)
        # NaN never counts as a peak.
        none = ~(activation > 0) | (doc_id < 0)
        activation = np.where(none, -np.inf, activation).astype(np.float32)
        doc_id, position = np.where(none, -1, doc_id), np.where(none, -1, position)
        last = np.where(none, np.iinfo(np.int64).max, doc_id)
        order = np.lexsort((last, -activation), axis=1)[:, : self._k]
        self._activation = np.take_along_axis(activation, order, 1)
        self._doc_id = np.take_along_axis(doc_id, order, 1)
        self._position = np.take_along_axis(position, order, 1)

    def result(self) -> Peaks:
        return Peaks(self._activation, self._doc_id, self._position)


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
