"""Singular components of attention heads: the few directions along which a head reads and writes.

Row vectors: a head adds `x W_V W_O` for each position it attends to, and scores a query `x` against a
key `y` by `x W_Q W_K^T y^T`. Each product has rank `d_head`, so that

    OV = W_V W_O = sum_i s_i u_i v_i^T,    QK = W_Q W_K^T = sum_i s_i u_i v_i^T

with `d_head` components, by descending singular value, exact: a thin QR of both factors leaves a
`d_head x d_head` core whose SVD is that of the product. OV reads along `u_i` and writes along `v_i`;
QK reads the query along `u_i` and the key along `v_i`. Weights are folded and centred.

Signs are arbitrary (`u_i` and `v_i` may both turn round). The rule: the entry of `v_i` with the largest
size is positive. Source: Merullo, Eickhoff and Pavlick 2024; the sign rule and the link to neurons
are ours. Pure: tensors in, values out, in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Components:
    """The components of the heads of one layer, `component` from 0 by descending singular value."""

    reads: Float[Tensor, "head component d_model"]
    """Unit directions `u_i` (OV: what is read; QK: the query's side)."""
    singular_values: Float[Tensor, "head component"]
    writes: Float[Tensor, "head component d_model"]
    """Unit directions `v_i` (OV: what is written; QK: the key's side)."""

    def __post_init__(self) -> None:
        for name in ("reads", "singular_values", "writes"):
            if not bool(torch.isfinite(getattr(self, name)).all()):
                raise ValueError(f"expected finite components, got others in {name}")


def components(
    left: Float[Tensor, "head d_model d_head"], right: Float[Tensor, "head d_head d_model"]
) -> Components:
    """The singular components of `left @ right`, which is never formed.

    Directions are orthonormal within a head also where singular values are 0.
    """
    q_left, r_left = torch.linalg.qr(left.double())
    q_right, r_right = torch.linalg.qr(right.double().mT)
    u, s, vh = torch.linalg.svd(r_left @ r_right.mT)
    reads, writes = (q_left @ u).mT, vh @ q_right.mT
    largest = writes.abs().argmax(-1, keepdim=True)
    sign = torch.where(writes.gather(-1, largest) < 0, -1.0, 1.0)
    return Components(reads * sign, s, writes * sign)


def ov_components(
    w_v: Float[Tensor, "head d_model d_head"], w_o: Float[Tensor, "head d_head d_model"]
) -> Components:
    """What a head reads from where it attends and what it writes for it. Exact in every model: the
    value bias is folded into the attention's output bias."""
    return components(w_v, w_o)


def qk_components(
    w_q: Float[Tensor, "head d_model d_head"], w_k: Float[Tensor, "head d_model d_head"]
) -> Components:
    """Which directions of query and key raise an attention score; before the division by
    sqrt(d_head). Query and key biases are left out, and so is the rotation of rotary models: there
    it is the score at distance 0, and how it fades with distance is not said."""
    return components(w_q, w_k.mT)


def component_activations(
    z: Float[Tensor, "*batch d_head"],
    w_o: Float[Tensor, "d_head d_model"],
    writes: Float[Tensor, "component d_model"],
) -> Float[Tensor, "*batch component"]:
    """How far a head writes along each of its OV components: the coefficients of `v_i` in `z W_O`.

    `z` is the head's value-weighted sum at a position. The coefficient is also `s_i u_i` times the
    attention-weighted mean of what the head reads (normalised residual, before W_V), as
    `W_V W_O v_i = s_i u_i`. Units of the residual stream; the sign is that of the rule above.
    """
    return z.double() @ (w_o.double() @ writes.double().mT)


def component_neurons(
    writes: Float[Tensor, "*head component d_model"], w_in: Float[Tensor, "d_model neuron"]
) -> Float[Tensor, "*head component neuron"]:
    """`v_i . w_in`: pre-activation of a neuron per unit of the component's activation, before the
    division by the layer norm's scale; positive raises it."""
    return writes.double() @ w_in.double()


def attribute_components(
    z: Float[Tensor, "batch d_head"],
    w_o: Float[Tensor, "d_head d_model"],
    writes: Float[Tensor, "component d_model"],
    w_in: Float[Tensor, " d_model"],
    ln_scale: Float[Tensor, " batch"],
) -> Float[Tensor, "batch component"]:
    """A head's contribution to a neuron's pre-activation, split over the head's OV components.

    Activation times `v_i . w_in`, over the divisor observed at the neuron's layer norm. The sum over
    components is the head's contribution (`attribution.attribute`): the `v_i` span all that W_O can
    write.
    """
    weights = component_neurons(writes, w_in[:, None])[:, 0]
    return component_activations(z, w_o, writes) * weights / ln_scale.double()[:, None]
