"""The job's stages as a notebook does them, plainly: one prompt at a time, everything cached, one head
removed at a time. The baseline of the benchmark; nothing of the job or of the core is used.

Congruence, prompts, attribution and ablation follow the published notebooks of Neo, Cohen and Barez 2024 in
spirit: `run_with_cache` on one sequence, bisection for the truncation, a hook for each head.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

Neuron = tuple[int, int]
Head = tuple[int, int]


class Notebook:
    """A model as a notebook holds it."""

    def __init__(self, folder: Path, device: str) -> None:
        from transformer_lens.model_bridge import TransformerBridge
        from transformers import AutoModelForCausalLM, AutoTokenizer

        hf = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager"
        )
        tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model: Any = TransformerBridge.boot_transformers(
            str(folder), device=device, hf_model=hf.to(device), tokenizer=tokenizer
        )
        self.tokenizer = tokenizer
        with torch.no_grad():
            self.model.enable_compatibility_mode()
        self.device = device
        self.bos = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else 0
        self.context = int(self.model.cfg.n_ctx)
        self.n_layers = int(self.model.cfg.n_layers)
        self.n_heads = int(self.model.cfg.n_heads)
        # Stacked once, as a notebook would: the library stacks them at every access.
        self.w_o = self.model.W_O.detach()
        self.w_in = self.model.W_in.detach()

    def tokens(self, ids: Sequence[int]) -> Tensor:
        return torch.tensor([[self.bos, *ids]], device=self.device)

    def encode(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    @torch.no_grad()
    def cached(self, ids: Sequence[int]) -> tuple[Tensor, Any]:
        """Logits and every activation of a run."""
        return self.model.run_with_cache(self.tokens(ids))

    def document_maxima(self, text: str) -> Tensor:
        """Highest post-activation of every neuron, `[layer d_mlp]`; the text cut to the context."""
        ids = self.encode(text)[: self.context - 1]
        if not ids:
            return torch.zeros(self.w_in.shape[0], self.w_in.shape[2])
        _, cache = self.cached(ids)
        post = torch.stack([cache[f"blocks.{n}.mlp.hook_post"][0] for n in range(self.n_layers)])
        return post[:, 1:].max(dim=1).values.cpu()

    def last_activation(self, ids: Sequence[int], neuron: Neuron) -> float:
        _, cache = self.cached(ids)
        return float(cache[f"blocks.{neuron[0]}.mlp.hook_post"][0, -1, neuron[1]])

    def bisected(self, ids: list[int], neuron: Neuron, ratio: float) -> int:
        """Length of a suffix that keeps `ratio` of the activation, by bisection: as if a longer suffix
        never kept less. It is not always so, and then another suffix is found than the shortest."""
        threshold = ratio * self.last_activation(ids, neuron)
        low, high = 1, len(ids)
        while low < high:
            middle = (low + high) // 2
            if self.last_activation(ids[-middle:], neuron) >= threshold:
                high = middle
            else:
                low = middle + 1
        return high

    def attributions(self, ids: Sequence[int], neuron: Neuron, token: int) -> tuple[Tensor, float]:
        """Each head's output through W_O at the last position onto the neuron's input weights, over the
        layer norm's divisor, `[layer head]`; and the probability of the token."""
        layer, index = neuron
        logits, cache = self.cached(ids)
        scale = float(cache[f"blocks.{layer}.ln2.hook_scale"][0, -1, 0])
        w_in = self.w_in[layer, :, index]
        found = torch.zeros(self.n_layers, self.n_heads)
        for n in range(layer + 1):
            z = cache[f"blocks.{n}.attn.hook_z"][0, -1]
            for head in range(self.n_heads):
                found[n, head] = float((z[head] @ self.w_o[n, head]) @ w_in) / scale
        return found, float(logits[0, -1].softmax(-1)[token])

    @torch.no_grad()
    def read(
        self, ids: Sequence[int], neuron: Neuron, token: int, hooks: list[tuple[str, Callable]]
    ) -> Tensor:
        """Pre-activation, activation and probability of the token in a run with hooks."""
        layer, index = neuron
        seen: dict[str, Tensor] = {}

        def keep(name: str) -> tuple[str, Callable]:
            def act(value: Tensor, hook: Any) -> None:
                seen[name] = value[0, -1, index]

            return f"blocks.{layer}.mlp.hook_{name}", act

        logits = self.model.run_with_hooks(
            self.tokens(ids), fwd_hooks=[*hooks, keep("pre"), keep("post")]
        )
        probability = logits[0, -1].softmax(-1)[token]
        return torch.stack([seen["pre"], seen["post"], probability]).cpu()

    def removed(
        self, ids: Sequence[int], neuron: Neuron, token: int, heads: Sequence[Head], kind: str,
        means: Tensor,
    ) -> Tensor:  # fmt: skip
        """The three in a run with these heads removed. `means`: `[layer head d_head]`, what the mean kinds
        put in their place."""
        first = {"zero-all": 0, "mean-all": 1}.get(kind, len(ids))

        def change_of(layer: int, head: int) -> tuple[str, Callable]:
            def act(value: Tensor, hook: Any) -> Tensor:
                value = value.clone()
                value[:, first:, head] = means[layer, head] if kind.startswith("mean") else 0.0
                return value

            return f"blocks.{layer}.attn.hook_z", act

        return self.read(ids, neuron, token, [change_of(*head) for head in heads])

    def neuron_removed(self, ids: Sequence[int], neuron: Neuron, token: int) -> Tensor:
        """The three with the neuron's activation set to 0 at the last position."""
        layer, index = neuron

        def act(value: Tensor, hook: Any) -> Tensor:
            value = value.clone()
            value[:, -1, index] = 0.0
            return value

        return self.read(ids, neuron, token, [(f"blocks.{layer}.mlp.hook_post", act)])
