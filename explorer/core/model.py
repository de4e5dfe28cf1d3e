"""The one file that knows the model library: load a transformer, read its weights, trace a run.

Weights are folded and centred (layer norms into what reads them, value biases into the attention
output bias, writing weights and unembedding centred), so that the sum of parts is exact. A model
with a property that the mathematics does not cover is refused by name, never computed wrongly.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from explorer.core.attribution import Attribution, NeuronReader, attribute, neuron_reader
from explorer.core.errors import UnsupportedModelError
from explorer.core.model_files import load_parts, resolve_device, sha256_of_weights
from explorer.core.model_support import check_completeness, check_supported, shape_of
from explorer.core.tokenizer import TextTokenizer
from explorer.core.types import ModelShape, NeuronId

Hook = tuple[str, Callable[..., Tensor | None]]


class _Enough(Exception):
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
        return attribute(self.z[rows, :n], self.mlp_out[rows, :neuron_layer], self.embedding[rows],
                         self.ln_scale[rows], reader)


class LanguageModel:
    """A loaded model. Not safe for two threads at once: callers hold `lock`."""

    def __init__(self, bridge: Any, shape: ModelShape, tokenizer: TextTokenizer, *, name: str,
                 source: str, revision: str | None, weights_sha256: str) -> None:
        self._bridge = bridge
        self.shape = shape
        self.tokenizer = tokenizer
        self.name = name
        self.source = source
        self.revision = revision
        self.weights_sha256 = weights_sha256
        self.device = torch.device(bridge.cfg.device)
        self.lock = threading.RLock()

    # --- text -------------------------------------------------------------------------------

    @cached_property
    def token_texts(self) -> list[str]:
        """Text of every token id; empty past the tokenizer's vocabulary."""
        return self.tokenizer.texts(self.shape.d_vocab)

    def encode(self, text: str) -> list[int]:
        """Token ids without BOS; special-token strings are plain text."""
        return self.tokenizer.encode(text)

    @property
    def max_prompt_tokens(self) -> int:
        """How many tokens fit beside BOS."""
        return self.shape.n_ctx - 1

    # --- weights ----------------------------------------------------------------------------

    def _mlp(self, layer: int) -> Any:
        return self._bridge.blocks[layer].mlp

    def w_in(self, layer: int) -> Float[Tensor, "d_model d_mlp"]:
        return self._mlp(layer).W_in.detach()

    def b_in(self, layer: int) -> Float[Tensor, " d_mlp"]:
        return self._mlp(layer).b_in.detach()

    def w_out(self, layer: int) -> Float[Tensor, "d_mlp d_model"]:
        return self._mlp(layer).W_out.detach()

    @cached_property
    def w_o(self) -> Float[Tensor, "layer head d_head d_model"]:
        return self._bridge.W_O.detach()

    @cached_property
    def b_o(self) -> Float[Tensor, "layer d_model"]:
        return self._bridge.b_O.detach()

    @cached_property
    def w_u(self) -> Float[Tensor, "d_model vocab"]:
        return self._bridge.W_U.detach()

    def reader(self, neuron: NeuronId) -> NeuronReader:
        """How a neuron reads what the heads that reach it write."""
        n = self.shape.n_reaching_layers(neuron.layer)
        return neuron_reader(
            self.w_in(neuron.layer)[:, neuron.index], float(self.b_in(neuron.layer)[neuron.index]),
            self.w_o[:n], self.b_o[:n],
        )

    # --- runs -------------------------------------------------------------------------------

    def batch(self, prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Right-padded tokens with BOS in front, and each row's last position.

        Causal attention never sees the padding to the right of a row's last position.
        """
        if not prompts or min(len(p) for p in prompts) == 0:
            raise ValueError("expected prompts of at least one token each")
        longest = max(len(p) for p in prompts)
        if longest > self.max_prompt_tokens:
            raise ValueError(f"expected at most {self.max_prompt_tokens} tokens, got {longest}")
        tokens = torch.full((len(prompts), longest + 1), self.tokenizer.bos_id)
        for row, prompt in enumerate(prompts):
            tokens[row, 1 : len(prompt) + 1] = torch.as_tensor(list(prompt))
        last = torch.tensor([len(p) for p in prompts])
        return tokens.to(self.device), last.to(self.device)

    def _run(self, tokens: Tensor, hooks: list[Hook]) -> Tensor | None:
        with torch.no_grad():
            try:
                return self._bridge.run_with_hooks(tokens, fwd_hooks=hooks)
            except _Enough:
                return None

    def activations(
        self, tokens: Int[Tensor, "batch pos"], neurons: Mapping[int, Int[Tensor, " n"]]
    ) -> dict[int, Float[Tensor, "batch pos n"]]:
        """Post-activations of the chosen neurons of each layer, at every position.

        The pass stops at the deepest layer asked for.
        """
        found: dict[int, Tensor] = {}
        deepest = max(neurons)

        def keep(layer: int, value: Tensor, hook: Any) -> None:
            found[layer] = value.index_select(-1, neurons[layer])
            if layer == deepest:
                raise _Enough

        self._run(tokens, [_hook(f"blocks.{n}.mlp.hook_post", keep, n) for n in neurons])
        return found

    def activation_at_last(
        self, tokens: Int[Tensor, "batch pos"], last: Int[Tensor, " batch"],
        neurons: Sequence[NeuronId],
    ) -> Float[Tensor, " batch"]:
        """Post-activation of each row's own neuron at the row's own last position."""
        layers, indices = _columns(neurons, tokens.device)
        out = torch.zeros(len(neurons), device=tokens.device)
        deepest = int(layers.max())

        def keep(layer: int, value: Tensor, hook: Any) -> None:
            rows = (layers == layer).nonzero()[:, 0]
            out[rows] = value[rows, last[rows], indices[rows]].float()
            if layer == deepest:
                raise _Enough

        wanted = sorted(set(layers.tolist()))
        self._run(tokens, [_hook(f"blocks.{n}.mlp.hook_post", keep, n) for n in wanted])
        return out

    def trace(
        self, tokens: Int[Tensor, "batch pos"], last: Int[Tensor, " batch"],
        neurons: Sequence[NeuronId], *, attention: bool = False, logits: bool = False,
    ) -> Trace:
        """Everything that the attribution of each row's neuron at its last position needs."""
        return _Tracer(self, tokens, last, neurons, attention, logits).run()


class _Tracer:
    """Collects one `Trace` through hooks; lives for one forward pass."""

    def __init__(self, model: LanguageModel, tokens: Tensor, last: Tensor,
                 neurons: Sequence[NeuronId], attention: bool, logits: bool) -> None:
        self.model, self.tokens, self.last = model, tokens, last
        self.want_attention, self.want_logits = attention, logits
        self.layers, self.indices = _columns(neurons, tokens.device)
        self.rows = torch.arange(len(neurons), device=tokens.device)
        self.deepest = int(self.layers.max())
        self.n_reaching = model.shape.n_reaching_layers(self.deepest)
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
            raise _Enough

    def _last_only(self, _: int, value: Tensor, hook: Any) -> Tensor:
        # The unembedding, the widest product of all, is taken at one position a row.
        return value[self.rows, self.last][:, None]

    def _hooks(self) -> list[Hook]:
        hooks = [_hook("blocks.0.hook_in", self._at_last, "embedding")]
        for n in range(self.n_reaching):
            hooks.append(_hook(f"blocks.{n}.attn.hook_z", self._at_last, f"z{n}"))
            if self.want_attention:
                hooks.append(_hook(f"blocks.{n}.attn.hook_pattern", self._attention, f"a{n}"))
        for n in range(self.deepest):
            hooks.append(_hook(f"blocks.{n}.mlp.hook_out", self._at_last, f"mlp{n}"))
        for n in sorted(set(self.layers.tolist())):
            hooks.append(_hook(f"blocks.{n}.ln2.hook_scale", self._scale, n))
            hooks.append(_hook(f"blocks.{n}.mlp.hook_pre", self._pre, n))
            hooks.append(_hook(f"blocks.{n}.mlp.hook_post", self._post, n))
        if self.want_logits:
            hooks.append(_hook("unembed.hook_in", self._last_only, 0))
        return hooks

    def _stack(self, prefix: str, count: int, empty: tuple[int, ...]) -> Tensor:
        if count == 0:
            return torch.zeros((len(self.rows), 0, *empty), device=self.tokens.device)
        return torch.stack([self.kept[f"{prefix}{n}"] for n in range(count)], dim=1).float()

    def run(self) -> Trace:
        logits = self.model._run(self.tokens, self._hooks())
        shape = self.model.shape
        n_pos = self.tokens.shape[1]
        return Trace(
            z=self._stack("z", self.n_reaching, (shape.n_heads, shape.d_head)),
            mlp_out=self._stack("mlp", self.deepest, (shape.d_model,)),
            embedding=self.kept["embedding"].float(),
            ln_scale=self.scale,
            pre_activation=self.pre,
            activations=self.post,
            attention=self._stack("a", self.n_reaching, (shape.n_heads, n_pos))
            if self.want_attention else None,
            logits=None if logits is None else logits[:, 0].float(),
        )


def _hook(name: str, act: Callable[..., Any], key: Any) -> Hook:
    def run(value: Tensor, hook: Any) -> Tensor | None:
        return act(key, value, hook)

    return name, run


def _columns(neurons: Sequence[NeuronId], device: torch.device) -> tuple[Tensor, Tensor]:
    layers = torch.tensor([n.layer for n in neurons], device=device)
    return layers, torch.tensor([n.index for n in neurons], device=device)


def load_model(source: str | Path, device: str = "auto") -> LanguageModel:
    """Load a local Hugging Face folder or a hub name, fold and centre its weights, and check it.

    Raises ModelNotFoundError where there is nothing to load and UnsupportedModelError with the
    property that is missing; the sum of parts is checked on a short run before the model is used.
    """
    parts = load_parts(str(source), resolve_device(device))
    check_supported(parts.bridge)
    probe = torch.arange(1, 9)[None] % parts.bridge.cfg.d_vocab
    with torch.no_grad():
        before = cast(Tensor, parts.bridge(probe.to(parts.bridge.cfg.device))).log_softmax(-1)
        parts.bridge.enable_compatibility_mode()
        after = cast(Tensor, parts.bridge(probe.to(parts.bridge.cfg.device))).log_softmax(-1)
    if not torch.allclose(before, after, atol=1e-2):
        raise UnsupportedModelError(
            f"{source}: folding changes the model's predictions; choose a GPT-2 or GPT-NeoX model"
        )
    model = LanguageModel(
        parts.bridge, shape_of(parts.bridge), TextTokenizer(parts.tokenizer), name=parts.name,
        source=str(source), revision=parts.revision, weights_sha256=sha256_of_weights(parts.folder),
    )
    check_completeness(model)
    return model


@lru_cache(maxsize=1)
def library_versions() -> dict[str, str]:
    """Versions of the libraries that made the numbers, for the manifest."""
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "transformer-lens", "transformers")}
