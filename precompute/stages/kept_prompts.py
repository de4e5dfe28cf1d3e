"""Kept prompts of a shard as the stages after truncation run them: whole, in batches of one layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from explorer.core.types import NeuronId


@dataclass(frozen=True)
class KeptPrompt:
    """A kept prompt: its place in the shard, its neuron, what is kept of it."""

    row: int
    neuron: NeuronId
    split: str
    kept_ids: list[int]

    def length(self) -> int:
        """In a batch, BOS included."""
        return len(self.kept_ids) + 1


def prompts_of(table: pa.Table) -> list[KeptPrompt]:
    """The prompts of a shard's `prompts` table, in its order."""
    columns = {
        name: table.column(name).to_pylist()
        for name in ("layer", "neuron", "split", "token_ids", "start")
    }
    return [
        KeptPrompt(
            i,
            NeuronId(columns["layer"][i], columns["neuron"][i]),
            columns["split"][i],
            columns["token_ids"][i][columns["start"][i] :],
        )
        for i in range(table.num_rows)
    ]


def batches(prompts: list[KeptPrompt], max_tokens: int) -> Iterator[list[KeptPrompt]]:
    """Prompts of neurons of one layer, by length; rows of a neuron lie together within a batch."""
    batch: list[KeptPrompt] = []
    for prompt in sorted(prompts, key=lambda p: (p.neuron.layer, len(p.kept_ids), p.row)):
        is_full = batch and (len(batch) + 1) * (len(prompt.kept_ids) + 1) > max_tokens
        if is_full or (batch and batch[0].neuron.layer != prompt.neuron.layer):
            yield sorted(batch, key=lambda p: p.row)
            batch = []
        batch.append(prompt)
    if batch:
        yield sorted(batch, key=lambda p: p.row)
