"""One forward pass, read through hooks at one position: all neurons, all heads, the next token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from explorer.core.model_trace import Hook, hook
from explorer.core.types import ModelShape


@dataclass(frozen=True)
class FlowTrace:
    """What one forward pass of one prompt left at one position."""

    z: Float[Tensor, "layer head d_head"]
    """Value-weighted sums of the heads, value biases folded away."""
    ln_scale: Float[Tensor, " layer"]
    """Observed divisor of the layer norm before each MLP, sqrt(var + eps)."""
    pre_activations: Float[Tensor, "layer d_mlp"]
    activations: Float[Tensor, "layer d_mlp"]
    """After the non-linearity."""
    final_scale: float
    """Observed divisor of the final layer norm."""
    logits: Float[Tensor, " vocab"]
    """Logits after the position."""


def trace_flow(
    run: Callable[[Tensor, list[Hook]], Tensor | None],
    shape: ModelShape,
    tokens: Tensor,
    position: int,
) -> FlowTrace:
    """Run one row of tokens (BOS in front) and read everything at `position` of the row."""
    kept: dict[str, Tensor] = {}

    def keep(key: str, value: Tensor, hook: Any) -> None:
        kept[key] = value[0, position].float()

    def last_only(_: str, value: Tensor, hook: Any) -> Tensor:
        # The unembedding, the widest product of all, is taken at one position.
        return value[:, position : position + 1]

    hooks = [hook("ln_final.hook_scale", keep, "final"), hook("unembed.hook_in", last_only, "")]
    for n in range(shape.n_layers):
        hooks += [
            hook(f"blocks.{n}.attn.hook_z", keep, f"z{n}"),
            hook(f"blocks.{n}.ln2.hook_scale", keep, f"scale{n}"),
            hook(f"blocks.{n}.mlp.hook_pre", keep, f"pre{n}"),
            hook(f"blocks.{n}.mlp.hook_post", keep, f"post{n}"),
        ]
    logits = run(tokens, hooks)
    assert logits is not None

    def stack(prefix: str) -> Tensor:
        return torch.stack([kept[f"{prefix}{n}"] for n in range(shape.n_layers)])

    return FlowTrace(
        z=stack("z"),
        ln_scale=stack("scale")[:, 0],
        pre_activations=stack("pre"),
        activations=stack("post"),
        final_scale=float(kept["final"][0]),
        logits=logits[0, 0].float(),
    )
