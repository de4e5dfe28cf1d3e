"""The edge to the model library: load a transformer, read its weights, run it.

With `model_files` (loading), `model_support` (what is refused) and `model_trace` (hook names) this is
all that knows the library.

Weights are folded and centred (layer norms into what reads them, value biases into the attention
output bias, writing weights and unembedding centred), so that the sum of parts is exact. A model
with a property that the mathematics does not cover is refused by name, never computed wrongly.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from explorer.core.attribution import NeuronReader, neuron_reader
from explorer.core.errors import UnsupportedModelError
from explorer.core.halving import Halver
from explorer.core.model_files import (
    LIBRARY_ERRORS,
    ModelParts,
    load_parts,
    resolve_device,
    unsupported,
)
from explorer.core.model_flow import FlowTrace, trace_flow
from explorer.core.model_lean import make_lean
from explorer.core.model_support import check_completeness, check_supported, shape_of
from explorer.core.model_trace import Enough, Hook, Trace, Tracer, columns, hook
from explorer.core.tokenizer import TextTokenizer
from explorer.core.types import ModelShape, NeuronId


class LanguageModel:
    """A loaded model. Not safe for two threads at once: callers hold `lock`."""

    def __init__(
        self,
        bridge: Any,
        shape: ModelShape,
        tokenizer: TextTokenizer,
        *,
        name: str,
        source: str,
        revision: str | None,
        weights_sha256: str,
    ) -> None:
        self._bridge = bridge
        self.shape = shape
        self.tokenizer = tokenizer
        self.name = name
        self.source = source
        self.revision = revision
        self.weights_sha256 = weights_sha256
        self.device = torch.device(bridge.cfg.device)
        self.lock = threading.RLock()
        self.halver = Halver()
        """Runs batches, and halves those that do not fit into memory."""

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
    def w_q(self) -> Float[Tensor, "layer head d_model d_head"]:
        return self._bridge.W_Q.detach()

    @cached_property
    def w_k(self) -> Float[Tensor, "layer head d_model d_head"]:
        return self._bridge.W_K.detach()

    @cached_property
    def w_v(self) -> Float[Tensor, "layer head d_model d_head"]:
        return self._bridge.W_V.detach()

    @cached_property
    def w_o(self) -> Float[Tensor, "layer head d_head d_model"]:
        return self._bridge.W_O.detach()

    @cached_property
    def b_o(self) -> Float[Tensor, "layer d_model"]:
        return self._bridge.b_O.detach()

    @cached_property
    def w_e(self) -> Float[Tensor, "vocab d_model"]:
        """The token embedding, centred over `d_model`; positions are not in it."""
        return self._bridge.W_E.detach()

    @cached_property
    def w_u(self) -> Float[Tensor, "d_model vocab"]:
        return self._bridge.W_U.detach()

    def reader(self, neuron: NeuronId) -> NeuronReader:
        """How a neuron reads what the heads that reach it write."""
        n = self.shape.n_reaching_layers(neuron.layer)
        return neuron_reader(
            self.w_in(neuron.layer)[:, neuron.index],
            float(self.b_in(neuron.layer)[neuron.index]),
            self.w_o[:n],
            self.b_o[:n],
        )

    # --- precision --------------------------------------------------------------------------

    @contextmanager
    def precision(self, dtype: torch.dtype) -> Iterator[None]:
        """Take matrix products in this type; the weights and the residual stream stay float32."""
        with torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32):
            yield

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
            except Enough:
                return None

    def _watch_activations(
        self, tokens: Tensor, layers: Iterable[int], keep: Callable[[int, Tensor], None]
    ) -> None:
        """Hand the post-activations of each layer to `keep`; nothing after the deepest is run."""
        wanted = list(layers)
        deepest = max(wanted)

        def act(layer: int, value: Tensor, hook: Any) -> None:
            keep(layer, value)
            if layer == deepest:
                raise Enough

        self._run(tokens, [hook(f"blocks.{n}.mlp.hook_post", act, n) for n in wanted])

    def activations(
        self,
        tokens: Int[Tensor, "batch pos"],
        neurons: Mapping[int, Int[Tensor, " n"]],
        dtype: torch.dtype = torch.float32,
    ) -> dict[int, Float[Tensor, "batch pos n"]]:
        """Post-activations of the chosen neurons of each layer, at every position.

        The pass stops at the deepest layer asked for. `dtype` bfloat16 takes products in it, and is
        for finding, not for numbers that are kept.
        """
        found: dict[int, Tensor] = {}

        def keep(layer: int, value: Tensor) -> None:
            found[layer] = value.index_select(-1, neurons[layer])

        with self.precision(dtype):
            self._watch_activations(tokens, neurons, keep)
        return found

    def activation_at_last(
        self,
        tokens: Int[Tensor, "batch pos"],
        last: Int[Tensor, " batch"],
        neurons: Sequence[NeuronId],
    ) -> Float[Tensor, " batch"]:
        """Post-activation of each row's own neuron at the row's own last position."""
        layers, indices = columns(neurons, tokens.device)
        out = torch.zeros(len(neurons), device=tokens.device)

        def keep(layer: int, value: Tensor) -> None:
            rows = (layers == layer).nonzero()[:, 0]
            out[rows] = value[rows, last[rows], indices[rows]].float()

        self._watch_activations(tokens, sorted(set(layers.tolist())), keep)
        return out

    def trace(
        self,
        tokens: Int[Tensor, "batch pos"],
        last: Int[Tensor, " batch"],
        neurons: Sequence[NeuronId],
        *,
        attention: bool = False,
        logits: bool = False,
    ) -> Trace:
        """Everything that the attribution of each row's neuron at its last position needs."""
        return Tracer(self._run, self.shape, tokens, last, neurons, attention, logits).run()

    def trace_flow(self, tokens: Int[Tensor, "1 pos"], position: int) -> FlowTrace:
        """All heads, all neurons and the next token at one position of one prompt (BOS is 0)."""
        return trace_flow(self._run, self.shape, tokens, position)


def load_model(
    source: str | Path, device: str = "auto", expected_sha256: str | None = None
) -> LanguageModel:
    """Load a local Hugging Face folder or a hub name, fold and centre its weights, and check it.

    Raises ModelNotFoundError where there is nothing to load, OtherWeightsError before it loads weights
    without the expected checksum, and UnsupportedModelError with the property that is missing; the sum
    of parts is checked on a short run before the model is used.
    """
    parts = load_parts(str(source), resolve_device(device), expected_sha256)
    try:
        check_supported(parts.bridge)
        model = _folded(parts, str(source))
        check_completeness(model)
    except (*LIBRARY_ERRORS, MemoryError) as error:
        raise unsupported(str(source), error) from error
    return model


def _folded(parts: ModelParts, source: str) -> LanguageModel:
    """Fold and centre; check that the predictions are still those of the model's own code."""
    with torch.no_grad():
        parts.bridge.enable_compatibility_mode()
        make_lean(parts.bridge)
        found = cast(Tensor, parts.bridge(parts.probe.to(parts.bridge.cfg.device)))
    if not torch.allclose(found.log_softmax(-1).cpu(), parts.predictions, atol=1e-2):
        raise UnsupportedModelError(
            f"{source}: the folded model predicts otherwise than the model's own code; choose a GPT-2 "
            "or GPT-NeoX model"
        )
    shape, tokenizer = shape_of(parts.bridge), TextTokenizer(parts.tokenizer)
    if tokenizer.n_ids > shape.d_vocab:
        raise UnsupportedModelError(
            f"{source}: the tokenizer has ids up to {tokenizer.n_ids - 1}, the model's embedding "
            f"{shape.d_vocab} rows; give --model a folder whose tokenizer is the model's own"
        )
    return LanguageModel(
        parts.bridge,
        shape,
        tokenizer,
        name=parts.name,
        source=source,
        revision=parts.revision,
        weights_sha256=parts.weights_sha256,
    )


@lru_cache(maxsize=1)
def library_versions() -> dict[str, str]:
    """Versions of the libraries that made the numbers, for the manifest."""
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "transformer-lens", "transformers")}
