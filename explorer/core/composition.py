"""How much of what an earlier head writes a later head reads, from the weights alone.

Row vectors, Frobenius norms. For head 1 earlier than head 2 the score is

    Q: |OV1 QK2| / (|OV1| |QK2|)    K: |OV1 QK2^T| / (|OV1| |QK2|)    V: |OV1 OV2| / (|OV1| |OV2|)

and a component's score has its unit output direction `v_i` in the place of OV1 (whose norm is then 1).
All lie between 0 and 1. No `d_model x d_model` product is formed: with a thin QR of the receiver's second
factor, `B^T = Q' R'`, `|x A B| = |x A R'^T|` for every `x`, and `A R'^T` is `d_model x d_head`. A head's
score follows from its components', as `|OV1 M|^2 = sum_i s_i^2 |v_i M|^2`.

An isotropic random direction scores about `1/sqrt(d_model)`. Query and key biases and the rotation of
rotary models are left out. Source: Elhage et al. 2021; for components Merullo, Eickhoff and Pavlick 2024;
z by median and MAD is ours. Direct paths alone: what layer norms and the parts in between do is left out.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from explorer.core.composition_modes import MODES, Mode, random_level  # noqa: F401 one place for all

MAD_TO_SD = 1.4826
"""The median absolute deviation of a normal distribution times this is its standard deviation."""


def reading_matrix(
    left: Float[Tensor, "head d_model d_head"], right: Float[Tensor, "head d_head d_model"]
) -> Float[Tensor, "head d_model d_head"]:
    """M of unit Frobenius norm with `|x left right| / |left right| = |x M|` for every row `x`.

    All zeros where `left right` is zero: nothing composes with a head that reads nothing. Float64.
    """
    r_right = torch.linalg.qr(right.double().mT).R
    matrix = left.double() @ r_right.mT
    norm = torch.linalg.matrix_norm(matrix)[:, None, None]
    return torch.where(norm > 0, matrix / norm.clamp_min(torch.finfo(norm.dtype).tiny), 0.0)


def reading_matrices(
    w_q: Float[Tensor, "head d_model d_head"],
    w_k: Float[Tensor, "head d_model d_head"],
    w_v: Float[Tensor, "head d_model d_head"],
    w_o: Float[Tensor, "head d_head d_model"],
) -> dict[Mode, Float[Tensor, "head d_model d_head"]]:
    """How the heads of a layer read through their queries (QK), keys (QK^T) and values (OV)."""
    return {
        "Q": reading_matrix(w_q, w_k.mT),
        "K": reading_matrix(w_k, w_q.mT),
        "V": reading_matrix(w_v, w_o),
    }


def component_composition(
    writes: Float[Tensor, "sender component d_model"],
    receivers: Float[Tensor, "receiver d_model d_head"],
) -> Float[Tensor, "receiver sender component"]:
    """Score of each sender's components with each receiver: `|v_i M|`, from 0 to 1.

    `writes` are unit output directions of OV components, `receivers` what `reading_matrices` gives
    for one mode. One product for all pairs, in the type of `writes`.
    """
    n_senders, n_components, d_model = writes.shape
    n_receivers, _, d_head = receivers.shape
    flat = receivers.to(writes.dtype).permute(1, 0, 2).reshape(d_model, n_receivers * d_head)
    read = (writes.reshape(-1, d_model) @ flat).reshape(-1, n_receivers, d_head)
    scores = torch.linalg.vector_norm(read, dim=2)
    return scores.T.reshape(n_receivers, n_senders, n_components)


def head_composition(
    scores: Float[Tensor, "receiver sender component"],
    singular_values: Float[Tensor, "sender component"],
) -> Float[Tensor, "receiver sender"]:
    """Score of whole heads from that of their components: root mean square, weighted by the squared
    singular values. 0 for a sender that writes nothing."""
    weights = singular_values.to(scores.dtype).square()
    total = weights.sum(1)
    mean = (scores.square() * weights).sum(2) / total.clamp_min(torch.finfo(total.dtype).tiny)
    return mean.sqrt()


def component_cosine(
    writes: Float[Tensor, "component d_model"], reads: Float[Tensor, "other d_model"]
) -> Float[Tensor, "component other"]:
    """Component to component: the absolute cosine of unit directions written and read."""
    return (writes @ reads.mT).abs()


def _median(values: Float[Tensor, "row column"]) -> Float[Tensor, "row 1"]:
    """The middle value, or the mean of the two middle ones."""
    n = values.shape[1]
    ordered = values.sort(dim=1).values
    return (ordered[:, (n - 1) // 2] + ordered[:, n // 2])[:, None] / 2


def robust_z(scores: Float[Tensor, "receiver column"]) -> Float[Tensor, "receiver column"]:
    """How far each score stands out of its row: (score - median) / (1.4826 MAD).

    A row holds the scores of all components of all earlier heads with one receiver in one mode. NaN
    where the row's MAD is 0. Ours.
    """
    if scores.shape[1] == 0:
        return scores
    values = scores.double()
    centred = values - _median(values)
    spread = MAD_TO_SD * _median(centred.abs())
    return torch.where(spread > 0, centred / spread, torch.nan)
