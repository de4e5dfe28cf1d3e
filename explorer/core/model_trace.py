"""One forward pass, read through hooks: what the attribution of many rows' neurons needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from explorer.core.attribution import Attribution, NeuronReader, attribute
from explorer.core.types import ModelShape, NeuronId

Hook = tuple[str, Callable[..., Tensor | None]]


class Enough(Exception):
    """Raised inside the last hook that is needed: nothing after it is computed."""


@dataclass(frozen=True)
class Trace:
    """What one forward pass left at each row's last position (and where said, at all positions).

    Rows are right-padded sequences; `last` is each row's own last position. Everything is read at
    `last` but `activations`.
    """

    z: Float[Tensor, "batch layer head d_head"]
    """Value-weighted sums of the heads, value biases folded away; layers that can reach only."""
    mlp_out: Float[Tensor, "batch layer d_model"]
    """Output of each MLP below the deepest neuron, output bias included."""
    embedding: Float[Tensor, "batch d_model"]
    """Token and position embedding together."""
    ln_scale: Float[Tensor, " batch"]
    """Observed divisor of the layer norm before the neuron's MLP, sqrt(var + eps)."""
    pre_activation: Float[Tensor, " batch"]
    activations: Float[Tensor, "batch pos"]
    """Post-activation of the row's neuron at every position, BOS included; padding is not masked."""
    attention: Float[Tensor, "batch layer head pos"] | None
    """Attention of the last position; None unless asked for."""
    logits: Float[Tensor, "batch vocab"] | None
    """Logits after the last position; None unless asked for."""

    def attribute(self, rows: slice, reader: NeuronReader, neuron_layer: int) -> Attribution:
        """The parts of one neuron's pre-activation, for consecutive rows that are all its own."""
        n = reader.heads.shape[0]
        return attribute(
            self.z[rows, :n],
            self.mlp_out[rows, :neuron_layer],
            self.embedding[rows],
            self.ln_scale[rows],
            reader,
        )


class Tracer:
    """Collects one `Trace` through hooks; lives for one forward pass."""

    def __init__(
        self,
        run: Callable[[Tensor, list[Hook]], Tensor | None],
        shape: ModelShape,
        tokens: Tensor,
        last: Tensor,
        neurons: Sequence[NeuronId],
        attention: bool,
        logits: bool,
    ) -> None:
        self._run_model, self.shape, self.tokens, self.last = run, shape, tokens, last
        self.want_attention, self.want_logits = attention, logits
        self.layers, self.indices = columns(neurons, tokens.device)
        self.rows = torch.arange(len(neurons), device=tokens.device)
        self.deepest = int(self.layers.max())
        self.n_reaching = shape.n_reaching_layers(self.deepest)
        n, zeros = len(neurons), torch.zeros
        self.scale, self.pre = zeros(n, device=tokens.device), zeros(n, device=tokens.device)
        self.post = zeros(tokens.shape, device=tokens.device)
        self.kept: dict[str, Tensor] = {}

    def _at_last(self, key: str, value: Tensor, hook: Any) -> None:
        self.kept[key] = value[self.rows, self.last]

    def _attention(self, key: str, value: Tensor, hook: Any) -> None:
        self.kept[key] = value[self.rows, :, self.last]

    def _mine(self, layer: int) -> Tensor:
        return (self.layers == layer).nonzero()[:, 0]

    def _scale(self, layer: int, value: Tensor, hook: Any) -> None:
        rows = self._mine(layer)
        self.scale[rows] = value[rows, self.last[rows], 0].float()

    def _pre(self, layer: int, value: Tensor, hook: Any) -> None:
        rows = self._mine(layer)
        self.pre[rows] = value[rows, self.last[rows], self.indices[rows]].float()

    def _post(self, layer: int, value: Tensor, hook: Any) -> None:
        rows = self._mine(layer)
        self.post[rows] = value[rows, :, self.indices[rows]].float()
        if layer == self.deepest and not self.want_logits:
            raise Enough

    def _last_only(self, _: int, value: Tensor, hook: Any) -> Tensor:
        # The unembedding, the widest product of all, is taken at one position a row.
        return value[self.rows, self.last][:, None]

    def _hooks(self) -> list[Hook]:
        hooks = [hook("blocks.0.hook_in", self._at_last, "embedding")]
        for n in range(self.n_reaching):
            hooks.append(hook(f"blocks.{n}.attn.hook_z", self._at_last, f"z{n}"))
            if self.want_attention:
                hooks.append(hook(f"blocks.{n}.attn.hook_pattern", self._attention, f"a{n}"))
        for n in range(self.deepest):
            hooks.append(hook(f"blocks.{n}.mlp.hook_out", self._at_last, f"mlp{n}"))
        for n in sorted(set(self.layers.tolist())):
            hooks.append(hook(f"blocks.{n}.ln2.hook_scale", self._scale, n))
            hooks.append(hook(f"blocks.{n}.mlp.hook_pre", self._pre, n))
            hooks.append(hook(f"blocks.{n}.mlp.hook_post", self._post, n))
        if self.want_logits:
            hooks.append(hook("unembed.hook_in", self._last_only, 0))
        return hooks

    def _stack(self, prefix: str, count: int, empty: tuple[int, ...]) -> Tensor:
        if count == 0:
            return torch.zeros((len(self.rows), 0, *empty), device=self.tokens.device)
        return torch.stack([self.kept[f"{prefix}{n}"] for n in range(count)], dim=1).float()

    def run(self) -> Trace:
        logits = self._run_model(self.tokens, self._hooks())
        shape = self.shape
        n_pos = self.tokens.shape[1]
        return Trace(
            z=self._stack("z", self.n_reaching, (shape.n_heads, shape.d_head)),
            mlp_out=self._stack("mlp", self.deepest, (shape.d_model,)),
            embedding=self.kept["embedding"].float(),
            ln_scale=self.scale,
            pre_activation=self.pre,
            activations=self.post,
            attention=self._stack("a", self.n_reaching, (shape.n_heads, n_pos))
            if self.want_attention
            else None,
            logits=None if logits is None else logits[:, 0].float(),
        )


def hook(name: str, act: Callable[..., Any], key: Any) -> Hook:
    def run(value: Tensor, hook: Any) -> Tensor | None:
        return act(key, value, hook)

    return name, run


def columns(neurons: Sequence[NeuronId], device: torch.device) -> tuple[Tensor, Tensor]:
    layers = torch.tensor([n.layer for n in neurons], device=device)
    return layers, torch.tensor([n.index for n in neurons], device=device)
