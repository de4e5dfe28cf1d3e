"""The blocks of a loaded model taken step by step, so that a run can begin anywhere and be changed.

The library runs a model from its first token to its logits. Re-runs with a head removed need less: from
that head's layer on, at the last position alone where nothing before it changes. Here a block is a few
tensor operations on the same folded weights; `Blocks` checks on a short run that they give what the
library gives, and refuses a model where they do not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from explorer.core.errors import UnsupportedModelError
from explorer.core.model import LanguageModel
from explorer.core.model_trace import Enough, hook
from explorer.core.types import NeuronId

_TOLERANCE = 1e-3
"""Of log-probabilities, as where the folded model is checked against its own code."""


@dataclass(frozen=True)
class Rotary:
    """Rotation of queries and keys by position: the first `rotary` entries, halves paired."""

    cos: Float[Tensor, "pos rotary"]
    sin: Float[Tensor, "pos rotary"]

    def turn(self, x: Float[Tensor, "row head pos d_head"], first: int) -> Tensor:
        """Rotate; `first` is the position of the first entry along `pos`."""
        places = slice(first, first + x.shape[2])
        cos, sin = self.cos[places], self.sin[places]
        turned, passed = x[..., : cos.shape[-1]], x[..., cos.shape[-1] :]
        low, high = turned.chunk(2, dim=-1)
        return torch.cat([turned * cos + torch.cat([-high, low], dim=-1) * sin, passed], dim=-1)


@dataclass(frozen=True)
class Sequences:
    """What a run starts from: embeddings, and how positions turn queries and keys where they do."""

    x: Float[Tensor, "row pos d_model"]
    rotary: Rotary | None


class Block:
    """One block's arithmetic on folded weights. `x` is the residual stream that enters it."""

    def __init__(self, model: LanguageModel, layer: int) -> None:
        block = model._bridge.blocks[layer]
        attention = block.attn
        shape = model.shape
        self.n_heads, self.d_head = shape.n_heads, shape.d_head
        self.is_parallel = shape.parallel_blocks
        self._ln1, self._ln2 = block.ln1, block.ln2
        weights = torch.stack([model.w_q[layer], model.w_k[layer], model.w_v[layer]])
        biases = torch.stack([attention.b_Q, attention.b_K, attention.b_V]).detach()
        # Rows: query, key and value of every head; one product gives all of them.
        self._w_qkv = weights.permute(0, 1, 3, 2).flatten(0, 2).contiguous()
        self._b_qkv = biases.flatten()
        self._w_o, self._b_o = model.w_o[layer].flatten(0, 1), model.b_o[layer]
        self._w_in, self._b_in = model.w_in(layer), model.b_in(layer)
        self._w_out, self._b_out = model.w_out(layer), block.mlp.b_out.detach()
        self._act: Callable[[Tensor], Tensor] = block.mlp.original_component.act
        self._eps = float(block.ln2.config.eps)
        by_layer = getattr(attention.config, "scale_attn_by_inverse_layer_idx", False)
        self._scale = self.d_head**-0.5 / (layer + 1 if by_layer else 1)

    def qkv(
        self, x: Float[Tensor, "row pos d_model"], rotary: Rotary | None, first: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each `[row head pos d_head]`; `x` begins at position `first`."""
        flat = functional.linear(self._ln1(x), self._w_qkv, self._b_qkv)
        q, k, v = flat.unflatten(-1, (3, self.n_heads, self.d_head)).permute(2, 0, 3, 1, 4)
        return (q, k, v) if rotary is None else (rotary.turn(q, first), rotary.turn(k, first), v)

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, *, causal: bool
    ) -> Float[Tensor, "row pos head d_head"]:
        """Value-weighted sums; `causal` where queries stand at all positions of the keys, otherwise
        one query at the last of them, which sees all."""
        z = functional.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=self._scale)
        return z.transpose(1, 2)

    def attention_out(
        self, z: Float[Tensor, "row pos head d_head"]
    ) -> Float[Tensor, "row pos d_model"]:
        return functional.linear(z.flatten(2), self._w_o.T, self._b_o)

    def mlp_reads(self, x: Tensor, attention_out: Tensor) -> Float[Tensor, "row pos d_model"]:
        """The residual that the layer norm before the MLP reads."""
        return x if self.is_parallel else x + attention_out

    def pre_activations(self, reads: Tensor) -> Float[Tensor, "row pos d_mlp"]:
        return functional.linear(self._ln2(reads), self._w_in.T, self._b_in)

    def activations(self, pre: Tensor) -> Float[Tensor, "row pos d_mlp"]:
        return self._act(pre)

    def mlp_out(self, post: Float[Tensor, "row pos d_mlp"]) -> Float[Tensor, "row pos d_model"]:
        """The MLP's output, output bias included."""
        return functional.linear(post, self._w_out.T, self._b_out)

    def ln_scale(self, reads: Float[Tensor, "row d_model"]) -> Float[Tensor, " row"]:
        """Divisor of the layer norm before the MLP, sqrt(var + eps)."""
        return (reads.var(-1, unbiased=False) + self._eps).sqrt()


class Blocks:
    """All blocks of a model, checked to give what the library gives."""

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        try:
            with torch.no_grad():
                self.blocks = [Block(model, n) for n in range(model.shape.n_layers)]
                gap = self._gap()
        except (AttributeError, KeyError, RuntimeError) as error:
            raise self._unsupported(str(error)) from error
        if not gap <= _TOLERANCE:
            raise self._unsupported(f"predictions differ by {gap:.3g}")

    def _unsupported(self, reason: str) -> UnsupportedModelError:
        first = (reason.strip().splitlines() or ["no reason given"])[0][:200]
        return UnsupportedModelError(
            f"{self.model.name}: its blocks cannot be run step by step ({first}), so heads cannot be "
            "removed; choose a GPT-2 or GPT-NeoX model"
        )

    def _gap(self) -> float:
        """Largest difference of log-probabilities from the library's own run of a short prompt."""
        n = min(6, self.model.max_prompt_tokens)
        tokens, last = self.model.batch(
            [[(11 * i + 3) % self.model.shape.d_vocab for i in range(n)]]
        )
        expected = self.model.trace(tokens, last, [NeuronId(0, 0)], logits=True).logits
        assert expected is not None
        start = self.start(tokens)
        x = start.x
        for block in self.blocks:
            q, k, v = block.qkv(x, start.rotary, 0)
            written = block.attention_out(block.attend(q, k, v, causal=True))
            post = block.activations(block.pre_activations(block.mlp_reads(x, written)))
            x = x + written + block.mlp_out(post)
        found = self.logits(self.final(x[:, -1]))
        return float((found.log_softmax(-1) - expected.log_softmax(-1)).abs().max())

    def start(self, tokens: Int[Tensor, "row pos"]) -> Sequences:
        """Embed tokens, BOS in front, as the library does; nothing after the embedding is run."""
        kept: dict[str, Tensor] = {}

        def keep(name: str, value: Tensor, hook: Any) -> None:
            kept[name] = value
            if name == "x":
                raise Enough

        hooks = [hook("blocks.0.hook_in", keep, "x")]
        if self.model.shape.rotary:
            hooks += [hook(f"rotary_emb.hook_{name}", keep, name) for name in ("cos", "sin")]
        self.model._run(tokens, hooks)
        rotary = Rotary(kept["cos"][0], kept["sin"][0]) if self.model.shape.rotary else None
        return Sequences(kept["x"], rotary)

    @torch.no_grad()
    def final(self, x: Float[Tensor, "row d_model"]) -> Float[Tensor, "row d_model"]:
        """The residual after the last block, through the final layer norm."""
        return self.model._bridge.ln_final(x)

    @torch.no_grad()
    def logits(self, final: Float[Tensor, "row d_model"]) -> Float[Tensor, "row vocab"]:
        return self.model._bridge.unembed(final)
