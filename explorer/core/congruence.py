"""Congruence: how far a neuron's output weights point at a token.

`s = W_out[i] . W_U[:, t]`, a raw dot product on folded and centred weights, in logits per unit of
activation before the final layer norm's division. Source: Neo, Cohen and Barez 2024. The matrix of
all neurons and tokens is never held: `BestPairs` streams over chunks of neurons and keeps both
directions' best.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

N_BEST = 20


def congruence(
    w_out: Float[Tensor, "neuron d_model"], w_u: Float[Tensor, "d_model vocab"]
) -> Float[Tensor, "neuron vocab"]:
    """Dot product of each neuron's output weights with each token's unembedding."""
    return w_out @ w_u


def best(
    scores: Float[Tensor, "row column"], k: int
) -> tuple[Float[Tensor, "row k"], Int[Tensor, "row k"]]:
    """The k highest scores of each row, descending, ties to the lower column.

    `topk` leaves open which of several equal scores it takes: rows with a tie at the boundary are
    sorted whole.
    """
    k = min(k, scores.shape[1])
    values, columns = scores.topk(min(k + 1, scores.shape[1]), dim=1)
    tied = (values[:, k - 1 : k] == values[:, k : k + 1]).any(1)
    values, columns = values[:, :k].clone(), columns[:, :k].clone()
    if bool(tied.any()):
        ordered = scores[tied].sort(dim=1, descending=True, stable=True)
        values[tied], columns[tied] = ordered.values[:, :k], ordered.indices[:, :k]
    by_column = columns.argsort(dim=1)
    values, columns = values.gather(1, by_column), columns.gather(1, by_column)
    order = values.sort(dim=1, descending=True, stable=True)
    return order.values, columns.gather(1, order.indices)


@dataclass(frozen=True)
class BestOf:
    """A ranking for each row: scores descending, and what scored. Equal scores: lower index first."""

    scores: Float[Tensor, "row k"]
    indices: Int[Tensor, "row k"]


def best_tokens(
    scores: Float[Tensor, "neuron vocab"], allowed: Bool[Tensor, " vocab"], k: int = N_BEST
) -> BestOf:
    """Each neuron's best tokens among the allowed ones."""
    k = min(k, int(allowed.sum()))
    return BestOf(*best(scores.masked_fill(~allowed, -torch.inf), k))


class BestNeurons:
    """Each token's best neurons so far. `update` in any order of chunks; `merge` is associative.

    Neurons are flat indices (`layer * d_mlp + neuron`), so that ties go to the earlier layer.
    """

    def __init__(self, k: int = N_BEST) -> None:
        self._k = k
        self._result: BestOf | None = None

    def update(self, scores: Float[Tensor, "neuron vocab"], first: int) -> None:
        """Take in the scores of consecutive neurons, the first of flat index `first`."""
        values, rows = best(scores.T, self._k)
        self.merge(BestOf(values, rows + first))

    def merge(self, other: BestOf) -> None:
        if self._result is None:
            self._result = other
            return
        values = torch.cat([self._result.scores, other.scores], dim=1)
        indices = torch.cat([self._result.indices, other.indices], dim=1)
        by_index = indices.argsort(dim=1)
        values, indices = values.gather(1, by_index), indices.gather(1, by_index)
        order = values.sort(dim=1, descending=True, stable=True).indices[:, : self._k]
        self._result = BestOf(values.gather(1, order), indices.gather(1, order))

    def result(self) -> BestOf:
        if self._result is None:
            raise ValueError("expected at least one chunk of neurons, got none")
        return self._result
