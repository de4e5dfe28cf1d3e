"""Stage 4: what each head, MLP, embedding and bias adds at the last token of every kept prompt,
which heads are active there, and which are studied for each neuron."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
from torch import Tensor

from explorer.core.analysis import active_of, token_ranks
from explorer.core.attribution import MIN_HEADS_FOR_2SD, Attribution, is_studied
from explorer.core.model import Trace
from explorer.core.types import HeadId, ModelShape, NeuronId
from precompute.checkpoint import Tables
from precompute.cutting import by_shard
from precompute.job import Job, ShardTask, StudiedNeuron
from precompute.stages.kept_prompts import KeptPrompt, batches, prompts_of
from precompute.stages.prompts import SPLITS
from precompute.worker import Worker


@dataclass
class PromptRow:
    """What the pass found for one prompt."""

    heads: np.ndarray
    mlps: np.ndarray
    embedding: float
    bias: float
    pre_activation: float
    ln_scale: float
    active: list[HeadId]
    kept_activations: np.ndarray
    probability: float
    token_rank: int
    attention: np.ndarray
    """`[layer head pos]` over BOS and the kept tokens, layers that reach alone."""


def _row(
    worker: Worker,
    trace: Trace,
    parts: Attribution,
    at: int,
    i: int,
    prompt: KeptPrompt,
    active: list[HeadId],
    probability: Tensor,
    rank: Tensor,
) -> PromptRow:
    """`i` is the row in the batch, `at` the row among those of the same neuron."""
    shape, length = worker.model.shape, len(prompt.kept_ids)
    heads = np.zeros(shape.n_layers * shape.n_heads, dtype=np.float32)
    reaching = parts.heads[at].float().flatten().cpu().numpy()
    heads[: len(reaching)] = reaching
    mlps = np.zeros(shape.n_layers, dtype=np.float32)
    mlps[: prompt.neuron.layer] = parts.mlps[at].float().cpu().numpy()
    assert trace.attention is not None
    return PromptRow(
        heads=heads, mlps=mlps, embedding=float(parts.embedding[at]), bias=float(parts.bias[at]),
        pre_activation=float(trace.pre_activation[i]), ln_scale=float(trace.ln_scale[i]),
        active=active, kept_activations=trace.activations[i, 1 : length + 1].cpu().numpy(),
        probability=float(probability[i]), token_rank=int(rank[i]),
        attention=trace.attention[i, :, :, : length + 1].cpu().numpy(),
    )  # fmt: skip


def _attribute_batch(
    worker: Worker, batch: Sequence[KeptPrompt], token_of: dict[NeuronId, int], readers: dict
) -> dict[int, PromptRow]:
    model = worker.model
    tokens, last = model.batch([p.kept_ids for p in batch])
    trace = model.trace(tokens, last, [p.neuron for p in batch], attention=True, logits=True)
    assert trace.logits is not None
    probability, rank = token_ranks(trace.logits, [token_of[p.neuron] for p in batch])
    rows: dict[int, PromptRow] = {}
    first = 0
    while first < len(batch):
        neuron = batch[first].neuron
        end = next((i for i in range(first, len(batch)) if batch[i].neuron != neuron), len(batch))
        parts = trace.attribute(slice(first, end), readers[neuron], neuron.layer)
        active = active_of(parts.heads, worker.config.active_rule)
        for i in range(first, end):
            rows[batch[i].row] = _row(
                worker, trace, parts, i - first, i, batch[i], active[i - first], probability, rank
            )
        first = end
    return rows


def _activity(
    shape: ModelShape, neuron: NeuronId, prompts: list[KeptPrompt], rows: list[PromptRow]
) -> dict[str, list]:
    """One row for each head that can reach the neuron and each split, zeros included."""
    n_heads = shape.n_heads
    columns: dict[str, list] = {name: [] for name in (
        "layer", "neuron", "head_layer", "head", "split", "n_active", "n_prompts",
        "mean_attribution", "studied")}  # fmt: skip
    mine = {split: [p.row for p in prompts if p.split == split] for split in SPLITS}
    counts = {split: np.zeros(shape.n_reaching_heads(neuron.layer), int) for split in SPLITS}
    for split in SPLITS:
        for row in mine[split]:
            for head in rows[row].active:
                counts[split][head.flat(n_heads)] += 1
    for flat in range(shape.n_reaching_heads(neuron.layer)):
        studied = is_studied(int(counts["train"][flat]), len(mine["train"]))
        head = HeadId.from_flat(flat, n_heads)
        for split in SPLITS:
            values = [float(rows[row].heads[flat]) for row in mine[split]]
            found = (
                neuron.layer,
                neuron.index,
                head.layer,
                head.index,
                split,
                int(counts[split][flat]),
                len(values),
                float(np.mean(values)) if values else None,
                studied,
            )
            for column, value in zip(columns.values(), found, strict=True):
                column.append(value)
    return columns


def _activity_table(columns: dict[str, list]) -> pa.Table:
    types = {"split": pa.string(), "mean_attribution": pa.float32(), "studied": pa.bool_()}
    return pa.table({n: pa.array(v, types.get(n, pa.int32())) for n, v in columns.items()})


def _prompt_tables(rows: list[PromptRow]) -> Tables:
    floats = pa.list_(pa.float32())
    activations = [row.kept_activations for row in rows]
    return {
        "prompt_facts": pa.table({
            "truncated_activation": pa.array([float(a[-1]) for a in activations], pa.float32()),
            "kept_activations": pa.array(activations, floats),
            "probability": pa.array([row.probability for row in rows], pa.float32()),
            "token_rank": pa.array([row.token_rank for row in rows], pa.int32()),
        }),
        "head_attributions": pa.table({
            "heads": pa.array([row.heads for row in rows], floats),
            "mlps": pa.array([row.mlps for row in rows], floats),
            **{name: pa.array([getattr(row, name) for row in rows], pa.float32())
               for name in ("embedding", "bias", "pre_activation", "ln_scale")},
        }),
        "active_heads": pa.table({
            "prompt": pa.array([i for i, row in enumerate(rows) for _ in row.active], pa.int32()),
            "head_layer": pa.array([h.layer for row in rows for h in row.active], pa.int32()),
            "head": pa.array([h.index for row in rows for h in row.active], pa.int32()),
        }),
    }  # fmt: skip


def _attention_table(
    prompts: list[KeptPrompt], rows: list[PromptRow], studied: dict[NeuronId, list[HeadId]]
) -> pa.Table:
    """Attention of the last position, for the studied heads of each prompt's neuron."""
    found = [
        (p.row, h, rows[p.row].attention[h.layer, h.index])
        for p in prompts
        for h in studied[p.neuron]
    ]
    return pa.table({
        "prompt": pa.array([row for row, _, _ in found], pa.int32()),
        "head_layer": pa.array([h.layer for _, h, _ in found], pa.int32()),
        "head": pa.array([h.index for _, h, _ in found], pa.int32()),
        "weights": pa.array([weights for _, _, weights in found], pa.list_(pa.float32())),
    })  # fmt: skip


@dataclass(frozen=True)
class HeadsTask:
    """Some neurons, and their rows of `prompts`."""

    neurons: list[StudiedNeuron]
    prompts: pa.Table


def attribute_prompts(
    worker: Worker, task: HeadsTask, prompts: list[KeptPrompt]
) -> dict[int, PromptRow]:
    """What the pass finds for some prompts of the task's neurons, by their rows."""
    token_of = {n.id: n.token_id for n in task.neurons}
    readers = {n.id: worker.model.reader(n.id) for n in task.neurons}
    found: dict[int, PromptRow] = {}

    def attributed(batch: Sequence[KeptPrompt]) -> dict[int, PromptRow]:
        return _attribute_batch(worker, batch, token_of, readers)

    halver = worker.model.halver
    for batch in batches(prompts, worker.batch_tokens):
        for _, rows in halver.run("attribution", attributed, batch, KeptPrompt.length):
            found |= rows
    return found


def shard(worker: Worker, task: HeadsTask) -> Tables:
    """The attributions of the prompts of some neurons, and which heads are studied for them."""
    model, neurons, prompts = worker.model, task.neurons, prompts_of(task.prompts)
    by_row = attribute_prompts(worker, task, prompts)
    rows = [by_row[i] for i in range(len(prompts))]
    activity: dict[str, list] = {}
    studied: dict[NeuronId, list[HeadId]] = {}
    for neuron in neurons:
        mine = [p for p in prompts if p.neuron == neuron.id]
        found = _activity(model.shape, neuron.id, mine, rows)
        for name, values in found.items():
            activity.setdefault(name, []).extend(values)
        heads = zip(
            found["head_layer"], found["head"], found["split"], found["studied"], strict=True
        )
        studied[neuron.id] = [
            HeadId(layer, h) for layer, h, split, yes in heads if yes and split == "train"
        ]
    worker.tick(len(neurons))
    return {
        **_prompt_tables(rows),
        "head_activity": _activity_table(activity),
        "head_attention": _attention_table(prompts, rows, studied),
    }


def run(job: Job, studied: list[StudiedNeuron], prompt_shards: list[Tables]) -> list[Tables]:
    """Attribute every kept prompt; one shard for each shard of prompts."""
    shape, rule = job.model.shape, job.config.active_rule
    folder = job.shards(
        "heads",
        prompts=job.folders[-1].path.name,
        tokens=[n.token_id for n in studied],
        active_rule=str(rule),
        batch_tokens=job.batch_tokens,
    )
    if rule.top_k is None:
        few = sum(shape.n_reaching_heads(n.id.layer) < MIN_HEADS_FOR_2SD for n in studied)
        job.warn(
            f"neurons with fewer than {MIN_HEADS_FOR_2SD} reachable heads: none can be active", few
        )
    results: list[Tables] = []
    with job.display.stage("heads", len(studied)) as progress:
        tasks = (
            ShardTask(
                f"shard-{i:06d}", partial(HeadsTask, neurons, tables["prompts"]), len(neurons)
            )
            for i, (neurons, tables) in enumerate(
                zip(by_shard(studied), prompt_shards, strict=True)
            )
        )
        for made in job.checkpointed(folder, shard, tasks, progress.advance):
            results.append(made.tables)
    return results
