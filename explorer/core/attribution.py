"""What each part of the model adds to a neuron's pre-activation, directly; and which heads count.

Source: METHOD of Neo, Cohen and Barez 2024 (head output through W_O onto the neuron's input
weights), made exact: the layer norm is frozen at its observed divisor, weights are folded and
reading weights centred, so that

    sum(heads) + sum(mlps) + embedding + bias = pre_activation.

Direct is not causal: what a head adds on its own path says nothing of what later parts would do
without it. Pure: tensors in, values out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from explorer.core.types import ActiveRule

MIN_HEADS_FOR_2SD = 6
"""With fewer heads no value can exceed mean + 2 sample SD: the largest z is (n - 1) / sqrt(n)."""


@dataclass(frozen=True)
class NeuronReader:
    """How a neuron reads the residual stream: its input weights, taken through each head's W_O."""

    w_in: Float[Tensor, " d_model"]
    """Input weights, layer-norm gain folded in, centred over d_model."""
    heads: Float[Tensor, "layer head d_head"]
    """`W_O . w_in` of every head of the layers that reach the neuron."""
    attention_bias: float
    """Attention output biases of those layers, read through `w_in`; before the division."""
    b_in: float
    """The neuron's own bias; never divided by the layer norm's scale."""


def read_through_heads(
    w_in: Float[Tensor, "neuron d_model"], w_o: Float[Tensor, "layer head d_head d_model"]
) -> Float[Tensor, "neuron layer head d_head"]:
    """`W_O . w_in` of every head for every neuron: one pass over `W_O`, however many neurons."""
    return torch.einsum("lhkd,nd->nlhk", w_o, w_in)


def neuron_reader(
    w_in: Float[Tensor, " d_model"],
    b_in: float,
    w_o: Float[Tensor, "layer head d_head d_model"],
    b_o: Float[Tensor, "layer d_model"],
) -> NeuronReader:
    """The reader of one neuron; `w_o` and `b_o` of the layers that reach it alone."""
    return NeuronReader(
        w_in, read_through_heads(w_in[None], w_o)[0], float((b_o @ w_in).sum()), b_in
    )


@dataclass(frozen=True)
class Attribution:
    """Parts of the pre-activation, in its units; positive raises it. Batched over rows."""

    heads: Float[Tensor, "batch layer head"]
    mlps: Float[Tensor, "batch layer"]
    embedding: Float[Tensor, " batch"]
    bias: Float[Tensor, " batch"]

    def __post_init__(self) -> None:
        for name in ("heads", "mlps", "embedding", "bias"):
            if not bool(torch.isfinite(getattr(self, name)).all()):
                raise ValueError(f"expected finite contributions, got others in {name}")

    @property
    def total(self) -> Float[Tensor, " batch"]:
        """The sum of all parts: equals the pre-activation."""
        return self.heads.sum((1, 2)) + self.mlps.sum(1) + self.embedding + self.bias


def attribute(
    z: Float[Tensor, "batch layer head d_head"],
    mlp_out: Float[Tensor, "batch layer d_model"],
    embedding: Float[Tensor, "batch d_model"],
    ln_scale: Float[Tensor, " batch"],
    reader: NeuronReader,
) -> Attribution:
    """Contribution of every part that reaches one neuron, for a batch of prompts.

    `z` are the heads' value-weighted sums at the position studied (layers that reach the neuron
    alone), `mlp_out` the MLPs' outputs with their output biases, `ln_scale` = sqrt(var + eps), the
    divisor observed there. Everything but `b_in` is divided by it. In float64, so that the sum is
    limited by the model's own arithmetic.
    """
    n_reaching = reader.heads.shape[0]
    if z.shape[1] != n_reaching:
        raise ValueError(f"expected {n_reaching} layers of heads that reach, got {z.shape[1]}")
    w_in = reader.w_in.double()
    divisor = ln_scale.double()
    heads = torch.einsum("blhk,lhk->blh", z.double(), reader.heads.double())
    return Attribution(
        heads=heads / divisor[:, None, None],
        mlps=(mlp_out.double() @ w_in) / divisor[:, None],
        embedding=(embedding.double() @ w_in) / divisor,
        bias=reader.attention_bias / divisor + reader.b_in,
    )


def attribute_heads(
    z: Float[Tensor, "layer head d_head"],
    readers: Float[Tensor, "neuron layer head d_head"],
    ln_scale: Float[Tensor, " neuron"],
) -> Float[Tensor, "neuron layer head"]:
    """Contribution of all heads of one prompt to many neurons at once.

    `readers` holds each neuron's `NeuronReader.heads`, zero for layers that do not reach it;
    `ln_scale` is the divisor observed at each neuron's layer.
    """
    return torch.einsum("lhk,nlhk->nlh", z, readers) / ln_scale[:, None, None]


def active_heads(
    heads: Float[Tensor, "batch reachable"], rule: ActiveRule
) -> Bool[Tensor, "batch reachable"]:
    """Which of the heads that can reach the neuron are active in each prompt.

    `mean+2sd`: contribution above mean + 2 sample standard deviations over these heads (needs
    `MIN_HEADS_FOR_2SD` heads, else none is). `top:K`: the K largest positive contributions, ties to
    the lower index. Evaluated on float32 contributions, as the store keeps them.
    """
    values = heads.float().double()
    if rule.top_k is None:
        if values.shape[1] < MIN_HEADS_FOR_2SD:
            return torch.zeros_like(values, dtype=torch.bool)
        threshold = values.mean(1, keepdim=True) + 2 * values.std(1, keepdim=True)
        return values > threshold
    order = values.sort(dim=1, descending=True, stable=True).indices[:, : rule.top_k]
    mask = torch.zeros_like(values, dtype=torch.bool)
    mask.scatter_(1, order, True)
    return mask & (values > 0)


def is_studied(n_active: int, n_prompts: int) -> bool:
    """Whether a head is studied for a neuron: active in 25 % to 75 % of its train prompts, both
    included, so that context decides."""
    return n_prompts > 0 and n_prompts <= 4 * n_active <= 3 * n_prompts
