"""The means that stand in for a removed head: heads' value-weighted sums over the kept train prompts,
summed apart for each neuron, so that each neuron's own can be left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from explorer.core.ablation import ReplacementMeans, ReplacementSums
from explorer.core.ablation_effects import add_prompts
from explorer.core.types import ModelShape, NeuronId
from precompute.checkpoint import Tables
from precompute.job import Job, ShardTask, StudiedNeuron
from precompute.stages.kept_prompts import KeptPrompt
from precompute.worker import Worker

_COUNTS = ("layer", "neuron", "n_prompts", "n_positions")
_SUMS = ("last", "everywhere")


def _table(sums: ReplacementSums, neurons: list[NeuronId]) -> pa.Table:
    columns: dict[str, list[Any]] = {name: [] for name in (*_COUNTS, *_SUMS)}
    for neuron in neurons:
        found = sums.of(neuron)
        if found is not None:
            values = (neuron.layer, neuron.index, found.n_prompts, found.n_positions,
                      found.last.flatten().numpy(), found.everywhere.flatten().numpy())  # fmt: skip
            for column, value in zip(columns.values(), values, strict=True):
                column.append(value)
    doubles = pa.list_(pa.float64())
    return pa.table(
        {n: pa.array(v, doubles if n in _SUMS else pa.int64()) for n, v in columns.items()}
    )


def _add_table(sums: ReplacementSums, table: pa.Table, shape: ModelShape) -> None:
    def whole(values: pa.ListScalar) -> Tensor:
        flat = torch.tensor(values.values.to_numpy())
        return flat.view(-1, shape.n_heads, shape.d_head)

    counts = zip(*(table.column(name).to_pylist() for name in _COUNTS), strict=True)
    for i, (layer, index, n_prompts, n_positions) in enumerate(counts):
        last, everywhere = (whole(table.column(name)[i]) for name in _SUMS)
        sums.add(NeuronId(layer, index), last, everywhere, n_prompts, n_positions)


@dataclass(frozen=True)
class MeansTask:
    """Train prompts, and of how many layers, from 0, the heads are summed."""

    prompts: list[KeptPrompt]
    n_layers: int


def shard(worker: Worker, task: MeansTask) -> Tables:
    """The sums of each neuron over its prompts."""
    own = ReplacementSums()
    each = [(p.neuron, p.kept_ids) for p in task.prompts]
    add_prompts(own, worker.blocks, each, task.n_layers, worker.batch_tokens)
    worker.tick(len(each))
    return {"sums": _table(own, sorted({p.neuron for p in task.prompts}))}


def run(
    job: Job,
    studied: list[StudiedNeuron],
    train: list[list[KeptPrompt]],
    shaped_by: dict[str, Any],
    advance: Callable[[float], object],
) -> ReplacementMeans:
    """Sum over the train prompts, shard by shard, as deep as any studied neuron's heads lie."""
    shape = job.model.shape
    n_layers = max((shape.n_reaching_layers(n.id.layer) for n in studied), default=0)
    folder = job.shards("ablation-means", n_layers=n_layers, **shaped_by)
    tasks = (
        ShardTask(f"shard-{index:06d}", partial(MeansTask, prompts, n_layers), len(prompts))
        for index, prompts in enumerate(train)
    )
    sums = ReplacementSums()
    for made in job.checkpointed(folder, shard, tasks, advance):
        _add_table(sums, made.tables["sums"], shape)
    return sums.result()
