"""One sweep up the blocks for many re-runs of many prompts of one length.

The prompts themselves run once, clean. A re-run joins the sweep at the lowest layer that it changes,
with the clean residual stream that enters there: nothing below is computed again. Re-runs that change
the last position alone carry only that position and attend to the clean keys and values before it
(nothing before it can change in a causal model). In the last block everything shrinks to the last
position, the only one that is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from explorer.core.ablation import (
    NEURON,
    HeadEdits,
    Removal,
    Replacements,
    is_everywhere,
    replaced,
)
from explorer.core.model_blocks import Block, Blocks, Rotary
from explorer.core.model_trace import Trace


@dataclass(frozen=True)
class Swept:
    """What the re-runs left at the last position, in the order of the removals."""

    pre_activation: Float[Tensor, " row"]
    activation: Float[Tensor, " row"]
    clean_pre_activation: Float[Tensor, " row"]
    """Of each removal's neuron in the clean run of its prompt."""
    clean_activation: Float[Tensor, " row"]
    final: Float[Tensor, "row d_model"]
    """The stream after the final layer norm: what the unembedding reads."""
    prompt: Int[Tensor, " row"]
    """Which prompt each removal is of."""
    clean_final: Float[Tensor, "prompt d_model"]
    traces: list[Trace] | None
    """One trace of one row for each removal, logits included; None unless asked for."""


class _Runs:
    """Runs that go up the blocks together: all at all positions, or all at the last one alone."""

    def __init__(
        self, removals: Sequence[tuple[int, Removal, int]], replacements: Replacements,
        prompt_of: Sequence[int], n_clean: int, device: torch.device,
    ) -> None:  # fmt: skip
        """`removals`: place in the answer, removal, layer at which it joins; ascending layers.

        The first `n_clean` rows are the prompts themselves, which nothing changes."""
        self.order = [place for place, _, _ in removals]
        self.joins = [layer for _, _, layer in removals]
        self.n_clean, self.n_in, self.x = n_clean, 0, torch.zeros(0)
        long = {"dtype": torch.long, "device": device}
        self.prompt = torch.tensor([prompt_of[i] for i in self.order], **long)
        self.neuron_layer = torch.tensor([r.neuron.layer for _, r, _ in removals], **long)
        self.neuron_index = torch.tensor([r.neuron.index for _, r, _ in removals], **long)
        self.takes_neuron = torch.tensor(
            [r.kind == NEURON for _, r, _ in removals], dtype=torch.bool, device=device
        )
        entries: dict[int, list[tuple[int, int, int, bool]]] = {}
        for row, (_, removal, _) in enumerate(removals):
            source = replacements.row(removal)
            for head in removal.heads:
                entry = (n_clean + row, head.index, source, removal.kind == "mean-all")
                entries.setdefault(head.layer, []).append(entry)
        self.edits: dict[int, HeadEdits] = {}
        for layer, found in entries.items():
            rows, heads, sources, keeps = (
                torch.tensor(c, device=device) for c in zip(*found, strict=True)
            )
            values = replacements.take(sources, layer, heads)
            self.edits[layer] = HeadEdits(rows, heads, values, keeps)
        n = len(removals)
        self.pre, self.post = torch.zeros(n, device=device), torch.zeros(n, device=device)
        self.clean_pre, self.clean_post = self.pre.clone(), self.post.clone()
        self.scale = torch.zeros(n, device=device)
        self.z: list[Tensor] = []
        self.mlp_out: list[Tensor] = []

    def join(self, layer: int, clean: Float[Tensor, "prompt pos d_model"]) -> None:
        """Take in the runs that begin to differ in this layer."""
        last = next((i for i, n in enumerate(self.joins) if n > layer), len(self.joins))
        new = clean[self.prompt[self.n_in : last]]
        self.x = torch.cat([self.x, new]) if self.x.dim() == 3 else new
        self.n_in = last

    def note_clean(self, layer: int, pre: Tensor, post: Tensor) -> None:
        """What the neurons of this layer did in the clean runs; a run that has not joined yet is
        clean itself."""
        mine = self._mine(layer)
        at = self.prompt[mine], self.neuron_index[mine]
        self.clean_pre[mine], self.clean_post[mine] = pre[at], post[at]
        self.pre[mine], self.post[mine] = pre[at], post[at]

    def through(
        self, block: Block, layer: int, z: Float[Tensor, "row pos head d_head"],
        first: int, keeps_trace: bool,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """The rest of a block after attention, at the positions of `z`, which begin at `first`.
        Returns pre- and post-activations at the last position, `[row d_mlp]`, clean rows first."""
        if layer in self.edits:
            z = replaced(z, self.edits[layer], first)
        written = block.attention_out(z)
        x = self.x[:, -z.shape[1] :]
        reads = block.mlp_reads(x, written)
        pre = block.pre_activations(reads)
        post = block.activations(pre)
        mine = self._mine(layer)
        mine = mine[mine < self.n_in]
        off = mine[self.takes_neuron[mine]]
        post[self.n_clean + off, -1, self.neuron_index[off]] = 0.0
        added = block.mlp_out(post)
        if keeps_trace:
            if len(mine):
                self.scale[mine] = block.ln_scale(reads[self.n_clean + mine, -1])
            self.z.append(z[self.n_clean :, -1])
            self.mlp_out.append(added[self.n_clean :, -1])
        self.x = x + written + added
        return pre[:, -1], post[:, -1]

    def note(self, layer: int, pre: Tensor, post: Tensor) -> None:
        """What the neurons of this layer do in the runs that have joined."""
        mine = self._mine(layer)
        mine = mine[mine < self.n_in]
        at = self.n_clean + mine, self.neuron_index[mine]
        self.pre[mine], self.post[mine] = pre[at], post[at]

    def _mine(self, layer: int) -> Int[Tensor, " mine"]:
        return (self.neuron_layer == layer).nonzero()[:, 0]


class Sweep:
    """One batch: prompts of one length and the removals from them. Call `run` once, under the
    model's lock."""

    def __init__(
        self, blocks: Blocks, removals: Sequence[Removal], replacements: Replacements,
        *, traces: bool = False,
    ) -> None:  # fmt: skip
        lengths = {len(removal.prompt) for removal in removals}
        if len(lengths) != 1:
            raise ValueError(f"expected prompts of one length, got lengths {sorted(lengths)}")
        self.blocks, self.removals, self.traces = blocks, removals, traces
        places: dict[tuple[int, ...], int] = {}
        self.prompt_of = [places.setdefault(r.prompt, len(places)) for r in removals]
        self.prompts = list(places)
        device = blocks.model.device
        # A trace is wanted from the first layer on.
        at = [0 if traces else removal.first_layer for removal in removals]
        order = sorted(range(len(removals)), key=lambda i: at[i])
        whole, last = (
            [(i, removals[i], at[i]) for i in order if is_everywhere(removals[i].kind) == wanted]
            for wanted in (True, False)
        )
        n = len(self.prompts)
        self.whole = _Runs(whole, replacements, self.prompt_of, n, device)
        self.last = _Runs(last, replacements, self.prompt_of, 0, device)

    @torch.no_grad()
    def run(self) -> Swept:
        tokens, _ = self.blocks.model.batch(self.prompts)
        start = self.blocks.start(tokens)
        self.whole.x, top = start.x, len(self.blocks.blocks) - 1
        for layer, block in enumerate(self.blocks.blocks):
            self._layer(block, layer, start.rotary, layer == top)
        return self._swept(start.x[:, -1])

    def _layer(self, block: Block, layer: int, rotary: Rotary | None, is_top: bool) -> None:
        n, n_pos = len(self.prompts), self.whole.x.shape[1]
        clean_x = self.whole.x[:n]
        self.whole.join(layer, clean_x)
        self.last.join(layer, clean_x[:, -1:])
        q, k, v = block.qkv(self.whole.x, rotary, 0)
        # What is above the last block reads the last position alone.
        z = block.attend(q[:, :, -1:] if is_top else q, k, v, causal=not is_top)
        first = n_pos - 1 if is_top else 0
        z_last = self._attend_last(block, rotary, k[:n], v[:n]) if self.last.n_in else None
        pre, post = self.whole.through(block, layer, z, first, self.traces)
        for runs in (self.whole, self.last):
            runs.note_clean(layer, pre[:n], post[:n])
        self.whole.note(layer, pre, post)
        if z_last is not None:
            found = self.last.through(block, layer, z_last, n_pos - 1, self.traces)
            self.last.note(layer, *found)

    def _attend_last(
        self, block: Block, rotary: Rotary | None, k: Tensor, v: Tensor
    ) -> Float[Tensor, "row one head d_head"]:
        """The last position of each run over the clean keys and values before it, and its own."""
        prompt, before = self.last.prompt[: self.last.n_in], k.shape[2] - 1
        q, k_own, v_own = block.qkv(self.last.x, rotary, before)
        keys = torch.cat([k[:, :, :before][prompt], k_own], dim=2)
        values = torch.cat([v[:, :, :before][prompt], v_own], dim=2)
        return block.attend(q, keys, values, causal=False)

    def _swept(self, embedding: Float[Tensor, "prompt d_model"]) -> Swept:
        n, runs = len(self.prompts), (self.whole, self.last)
        order = torch.tensor([i for r in runs for i in r.order], device=embedding.device)
        back = order.argsort()
        last_x = [r.x[r.n_clean :, -1] for r in runs if len(r.order)]
        final = self.blocks.final(torch.cat(last_x))[back]

        def joined(name: str) -> Tensor:
            return torch.cat([getattr(r, name) for r in runs])[back]

        swept = Swept(
            pre_activation=joined("pre"), activation=joined("post"),
            clean_pre_activation=joined("clean_pre"), clean_activation=joined("clean_post"),
            final=final, prompt=joined("prompt"),
            clean_final=self.blocks.final(self.whole.x[:n, -1]), traces=None,
        )  # fmt: skip
        if not self.traces:
            return swept
        traces = [self._trace(r, i, swept, embedding) for r in runs for i in range(len(r.order))]
        return replace(swept, traces=[traces[i] for i in back.tolist()])

    def _trace(self, runs: _Runs, i: int, swept: Swept, embedding: Tensor) -> Trace:
        place, removal = runs.order[i], self.removals[runs.order[i]]
        n = self.blocks.model.shape.n_reaching_layers(removal.neuron.layer)
        z = torch.stack([z[i] for z in runs.z])
        mlp_out = torch.stack([out[i] for out in runs.mlp_out])
        return Trace(
            z=z[None, :n],
            mlp_out=mlp_out[None, : removal.neuron.layer],
            embedding=embedding[runs.prompt[i]][None],
            ln_scale=runs.scale[i][None],
            pre_activation=swept.pre_activation[place][None],
            activations=swept.activation[place][None, None],
            attention=None,
            logits=self.blocks.logits(swept.final[place][None]),
        )


@torch.no_grad()
def clean_sums(
    blocks: Blocks, prompts: Sequence[Sequence[int]], n_layers: int
) -> tuple[Float[Tensor, "prompt layer head d_head"], Float[Tensor, "prompt layer head d_head"]]:
    """For prompts of one length, the heads' value-weighted sums in the first `n_layers` layers: at
    the last position, and summed over all positions but BOS (float64)."""
    tokens, _ = blocks.model.batch(prompts)
    start = blocks.start(tokens)
    x, last, total = start.x, [], []
    for layer, block in enumerate(blocks.blocks[:n_layers]):
        q, k, v = block.qkv(x, start.rotary, 0)
        z = block.attend(q, k, v, causal=True)
        last.append(z[:, -1].double())
        total.append(z[:, 1:].double().sum(1))
        if layer + 1 < n_layers:
            written = block.attention_out(z)
            post = block.activations(block.pre_activations(block.mlp_reads(x, written)))
            x = x + written + block.mlp_out(post)
    empty = torch.zeros(len(prompts), 0, blocks.blocks[0].n_heads, blocks.blocks[0].d_head)
    return (torch.stack(last, 1), torch.stack(total, 1)) if last else (empty, empty)


def batches_of_removals(removals: Sequence[Removal], max_tokens: int) -> Iterator[list[int]]:
    """Places of the removals that one sweep takes together: from prompts of one length, of about
    `max_tokens` positions in all. Equal removals in equal order give equal batches."""
    batch: list[int] = []
    seen: set[tuple[int, ...]] = set()
    cost = 0
    for i in sorted(range(len(removals)), key=lambda i: (len(removals[i].prompt), i)):
        removal = removals[i]
        n_pos = len(removal.prompt) + 1
        # A run at the last position alone still holds a copy of its prompt's keys and values.
        own = n_pos if is_everywhere(removal.kind) else 1 + n_pos // 4
        price = own + (0 if removal.prompt in seen else n_pos)
        is_full = cost + price > max_tokens
        if batch and (is_full or n_pos != len(removals[batch[0]].prompt) + 1):
            yield batch
            batch, seen, cost, price = [], set(), 0, own + n_pos
        batch.append(i)
        seen.add(removal.prompt)
        cost += price
    if batch:
        yield batch
