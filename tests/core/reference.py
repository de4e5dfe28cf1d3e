"""A plain second opinion on a model: Hugging Face's own code in float64, caught by forward hooks.

Nothing of the product is used here: weights are read raw (nothing folded, nothing centred), and the
direct parts of a pre-activation are put together by hand from what the modules passed along.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class RawRun:
    """What one sequence (BOS included) left behind, at every position; raw, float64."""

    embedding: Tensor
    """`[pos d_model]`: what the first block reads."""
    z: Tensor
    """`[layer pos head d_head]`: value-weighted sums, biases included."""
    attention: Tensor
    """`[layer head pos pos]`."""
    mlp_in: Tensor
    """`[layer pos d_model]`: the residual that the layer norm before the MLP reads."""
    mlp_out: Tensor
    """`[layer pos d_model]`."""
    pre: Tensor
    """`[layer pos d_mlp]`."""
    post: Tensor
    """`[layer pos d_mlp]`."""
    logits: Tensor
    """`[pos vocab]`."""


@dataclass(frozen=True)
class RawParts:
    """The direct parts of one pre-activation, for all layers of heads that were asked for."""

    heads: Tensor
    mlps: Tensor
    embedding: float
    bias: float
    scale: float


class RawModel:
    """A GPT-2 or GPT-NeoX folder as Hugging Face reads it."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModelForCausalLM

        self.hf: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float64, attn_implementation="eager"
        ).eval()
        self.is_gpt2 = self.hf.config.model_type == "gpt2"
        self.is_parallel = not self.is_gpt2 and self.hf.config.use_parallel_residual
        self.blocks = list(self.hf.transformer.h if self.is_gpt2 else self.hf.gpt_neox.layers)
        self.n_layers = len(self.blocks)
        self.n_heads = self.hf.config.num_attention_heads
        self.d_model = self.hf.config.hidden_size
        self.d_head = self.d_model // self.n_heads

    # --- modules and raw weights ---------------------------------------------------------------

    def attention_out(self, layer: int) -> Any:
        """The module that applies W_O: it reads the heads' value-weighted sums side by side."""
        attention = self._attention(layer)
        return attention.c_proj if self.is_gpt2 else attention.dense

    def _attention(self, layer: int) -> Any:
        return self.blocks[layer].attn if self.is_gpt2 else self.blocks[layer].attention

    def mlp_norm(self, layer: int) -> Any:
        block = self.blocks[layer]
        return block.ln_2 if self.is_gpt2 else block.post_attention_layernorm

    def mlp_first(self, layer: int) -> Any:
        mlp = self.blocks[layer].mlp
        return mlp.c_fc if self.is_gpt2 else mlp.dense_h_to_4h

    def mlp_last(self, layer: int) -> Any:
        mlp = self.blocks[layer].mlp
        return mlp.c_proj if self.is_gpt2 else mlp.dense_4h_to_h

    def _in_by_out(self, module: Any) -> Tensor:
        """A weight whose rows are inputs: GPT-2's own layout, the transpose of the usual one."""
        return (module.weight if self.is_gpt2 else module.weight.T).detach()

    def w_in(self, layer: int) -> Tensor:
        return self._in_by_out(self.mlp_first(layer))

    def w_out(self, layer: int) -> Tensor:
        return self._in_by_out(self.mlp_last(layer))

    def w_o(self, layer: int) -> Tensor:
        """`[head d_head d_model]`."""
        weight = self._in_by_out(self.attention_out(layer))
        return weight.reshape(self.n_heads, self.d_head, self.d_model)

    def value_bias(self, layer: int) -> Tensor:
        """`[head d_head]`: what every value holds whatever is read, so that attention cannot change
        it: the value bias, and the bias of the layer norm before it read through W_V."""
        attention = self._attention(layer)
        fused = attention.c_attn if self.is_gpt2 else attention.query_key_value
        norm = self.blocks[layer].ln_1 if self.is_gpt2 else self.blocks[layer].input_layernorm
        always = (fused.bias + norm.bias @ self._in_by_out(fused)).detach()
        if self.is_gpt2:
            return always[2 * self.d_model :].view(self.n_heads, self.d_head)
        return always.view(self.n_heads, 3, self.d_head)[:, 2]

    def final_norm(self) -> Any:
        return self.hf.transformer.ln_f if self.is_gpt2 else self.hf.gpt_neox.final_layer_norm

    # --- runs ------------------------------------------------------------------------------------

    def run(self, ids: Sequence[int]) -> RawRun:
        """One sequence, BOS in front as given."""
        seen: dict[str, list[Tensor]] = {}

        def reads(name: str) -> Callable[..., None]:
            def hook(module: Any, args: tuple, kwargs: dict) -> None:
                value = args[0] if args else kwargs["hidden_states"]
                seen.setdefault(name, []).append(value[0])

            return hook

        def writes(name: str) -> Callable[..., None]:
            def hook(module: Any, args: tuple, value: Tensor) -> None:
                seen.setdefault(name, []).append(value[0])

            return hook

        handles = [self.blocks[0].register_forward_pre_hook(reads("embedding"), with_kwargs=True)]
        for layer in range(self.n_layers):
            for name, module in (("z", self.attention_out), ("mlp_in", self.mlp_norm),
                                 ("post", self.mlp_last)):  # fmt: skip
                handles.append(
                    module(layer).register_forward_pre_hook(reads(name), with_kwargs=True)
                )
            handles.append(self.mlp_first(layer).register_forward_hook(writes("pre")))
            handles.append(self.mlp_last(layer).register_forward_hook(writes("mlp_out")))
        with torch.no_grad():
            out = self.hf(torch.tensor([list(ids)]), output_attentions=True)
        for handle in handles:
            handle.remove()
        stacked = {name: torch.stack(values) for name, values in seen.items()}
        z = stacked.pop("z").unflatten(-1, (self.n_heads, self.d_head))
        return RawRun(
            embedding=stacked.pop("embedding")[0],
            z=z,
            attention=torch.cat(out.attentions),
            logits=out.logits[0],
            **stacked,
        )

    @contextmanager
    def head_replaced(self, layer: int, head: int, position: int, z: Tensor) -> Iterator[None]:
        """Put `z` in the place of one head's value-weighted sum at one position."""
        first = head * self.d_head

        def hook(module: Any, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            changed = args[0].clone()
            changed[:, position, first : first + self.d_head] = z
            return (changed, *args[1:])

        handle = self.attention_out(layer).register_forward_pre_hook(hook)
        yield
        handle.remove()

    # --- by hand -----------------------------------------------------------------------------------

    def scale(self, residual: Tensor, layer: int) -> float:
        """The divisor of the layer norm before the MLP: sqrt(var + eps)."""
        variance = residual.var(unbiased=False)
        return float((variance + self.mlp_norm(layer).eps).sqrt())

    def pre_activation(self, residual: Tensor, layer: int, neuron: int, scale: float) -> float:
        """The neuron's input for a residual, its layer norm frozen at `scale`."""
        norm = self.mlp_norm(layer)
        normed = (residual - residual.mean()) / scale * norm.weight + norm.bias
        bias = self.mlp_first(layer).bias[neuron]
        return float((normed @ self.w_in(layer)[:, neuron] + bias).detach())

    def parts(self, run: RawRun, position: int, layer: int, neuron: int) -> RawParts:
        """Direct parts of one pre-activation. Heads of all layers up to the neuron's own."""
        norm = self.mlp_norm(layer)
        w_in = self.w_in(layer)[:, neuron]
        scale = self.scale(run.mlp_in[layer, position], layer)
        read = norm.weight.detach() * w_in / scale

        def part(vector: Tensor) -> Tensor:
            return (vector - vector.mean(-1, keepdim=True)) @ read

        last = layer if self.is_parallel else layer + 1
        heads = torch.zeros(last, self.n_heads, dtype=torch.float64)
        bias = norm.bias.detach() @ w_in + self.mlp_first(layer).bias.detach()[neuron]
        for n in range(last):
            own = run.z[n, position] - self.value_bias(n)
            heads[n] = part(torch.einsum("hk,hkd->hd", own, self.w_o(n)))
            bias = bias + part(self.attention_out(n).bias.detach())
            bias = bias + part(torch.einsum("hk,hkd->d", self.value_bias(n), self.w_o(n)))
        mlps = torch.stack([part(run.mlp_out[n, position]) for n in range(layer)] or [read[:0]])
        return RawParts(
            heads, mlps.flatten(), float(part(run.embedding[position])), float(bias), scale
        )
