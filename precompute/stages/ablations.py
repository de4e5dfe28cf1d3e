"""Stage 5: the model run again without each studied head, without all active heads of a prompt, and
without the neuron itself: what changes, ablated minus clean.

Rows are kinds of removal from kept prompts of both splits. The mean kinds need the means over other
neurons' train prompts first: see `ablation_means`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import pyarrow as pa

from explorer.core.ablation import (
    KINDS,
    MEAN_KINDS,
    NEURON,
    HeadMeans,
    Removal,
    ReplacementMeans,
)
from explorer.core.ablation_effects import removal_effects
from explorer.core.errors import UnsupportedModelError
from explorer.core.types import HeadId, NeuronId
from precompute.checkpoint import Tables
from precompute.cutting import by_shard
from precompute.job import Job, ShardTask, StudiedNeuron
from precompute.stages import ablation_means
from precompute.stages.kept_prompts import KeptPrompt, prompts_of
from precompute.worker import Worker

_DELTAS = ("delta_pre_activation", "delta_activation", "delta_probability")


@dataclass(frozen=True)
class Removals:
    """What is removed from the prompts of one shard; `at` has each removal's prompt in the shard."""

    neurons: list[StudiedNeuron]
    prompts: list[KeptPrompt]
    singles: list[Removal]
    singles_at: list[int]
    joints: list[Removal]
    joints_at: list[int]
    alone: list[Removal]
    """Of the neuron itself, one for each prompt in its order."""

    @cached_property
    def removals(self) -> list[Removal]:
        """Each once: where one studied head is the only active one, single and joint are the same."""
        return list(dict.fromkeys([*self.singles, *self.joints, *self.alone]))


def _heads_by_prompt(table: pa.Table, n_prompts: int) -> list[tuple[HeadId, ...]]:
    """The active heads of each prompt of a shard."""
    found: list[list[HeadId]] = [[] for _ in range(n_prompts)]
    columns = (table.column(name).to_pylist() for name in ("prompt", "head_layer", "head"))
    for row, layer, head in zip(*columns, strict=True):
        found[row].append(HeadId(layer, head))
    return [tuple(heads) for heads in found]


def _studied_heads(table: pa.Table) -> dict[NeuronId, list[HeadId]]:
    found: dict[NeuronId, list[HeadId]] = {}
    names = ("layer", "neuron", "head_layer", "head", "split", "studied")
    columns = (table.column(name).to_pylist() for name in names)
    for layer, index, head_layer, head, split, studied in zip(*columns, strict=True):
        if studied and split == "train":
            found.setdefault(NeuronId(layer, index), []).append(HeadId(head_layer, head))
    return found


def _shard(
    neurons: list[StudiedNeuron],
    kept: Tables,
    heads: Tables,
    kinds_of: Callable[[NeuronId], tuple[str, ...]],
) -> Removals:
    prompts = prompts_of(kept["prompts"])
    token_of = {n.id: n.token_id for n in neurons}
    studied = _studied_heads(heads["head_activity"])
    active = _heads_by_prompt(heads["active_heads"], len(prompts))
    shard = Removals(neurons, prompts, [], [], [], [], [])
    for prompt in prompts:
        shared = (tuple(prompt.kept_ids), prompt.neuron, token_of[prompt.neuron])
        kinds = kinds_of(prompt.neuron)
        for head in studied.get(prompt.neuron, ()):
            shard.singles.extend(Removal(*shared, kind, (head,)) for kind in kinds)
            shard.singles_at.extend([prompt.row] * len(kinds))
        if active[prompt.row]:
            shard.joints.extend(Removal(*shared, kind, active[prompt.row]) for kind in kinds)
            shard.joints_at.extend([prompt.row] * len(kinds))
        shard.alone.append(Removal(*shared, NEURON))
    return shard


def _floats(values: np.ndarray) -> pa.Array:
    return pa.array(values, pa.float32())


def _tables(shard: Removals, deltas: np.ndarray) -> Tables:
    """`deltas`: `[removal 3]`, in the order of `shard.removals`."""
    place = {removal: i for i, removal in enumerate(shard.removals)}
    single, joint, alone = (
        deltas[[place[removal] for removal in removals]]
        for removals in (shard.singles, shard.joints, shard.alone)
    )
    heads = [removal.heads[0] for removal in shard.singles]
    return {
        "ablations": pa.table({
            "prompt": pa.array(shard.singles_at, pa.int32()),
            "head_layer": pa.array([h.layer for h in heads], pa.int32()),
            "head": pa.array([h.index for h in heads], pa.int32()),
            "kind": pa.array([r.kind for r in shard.singles], pa.string()),
            **{name: _floats(single[:, i]) for i, name in enumerate(_DELTAS)},
        }),
        "joint_ablations": pa.table({
            "prompt": pa.array(shard.joints_at, pa.int32()),
            "kind": pa.array([r.kind for r in shard.joints], pa.string()),
            "n_heads": pa.array([len(r.heads) for r in shard.joints], pa.int32()),
            **{name: _floats(joint[:, i]) for i, name in enumerate(_DELTAS)},
        }),
        "neuron_ablations": pa.table({
            "prompt": pa.array([p.row for p in shard.prompts], pa.int32()),
            "delta_probability": _floats(alone[:, 2]),
        }),
    }  # fmt: skip


def measured(worker: Worker, task: tuple[Removals, dict[NeuronId, HeadMeans | None]]) -> Tables:
    """What each removal of a shard changes; with the means that stand in, for each neuron."""
    shard, means = task
    deltas = np.zeros((len(shard.removals), 3), dtype=np.float32)
    effects_of = removal_effects(worker.blocks, shard.removals, means, worker.batch_tokens)
    for places, effects in effects_of:
        deltas[places] = np.stack([getattr(effects, name) for name in _DELTAS], axis=1)
        worker.tick(len(places))
    return _tables(shard, deltas)


def _shards(
    studied: list[StudiedNeuron],
    prompts: list[Tables],
    heads: list[Tables],
    has_means: Callable[[NeuronId], bool],
) -> Iterator[Removals]:
    def kinds_of(neuron: NeuronId) -> tuple[str, ...]:
        return tuple(k for k in KINDS if k not in MEAN_KINDS or has_means(neuron))

    for neurons, kept, found in zip(by_shard(studied), prompts, heads, strict=True):
        yield _shard(neurons, kept, found, kinds_of)


def run(
    job: Job, studied: list[StudiedNeuron], prompts: list[Tables], heads: list[Tables]
) -> list[Tables]:
    """Measure every removal; one shard for each shard of prompts."""
    try:
        job.worker.blocks  # noqa: B018 raises where the model cannot be run step by step
    except UnsupportedModelError as error:
        return _left_out(job, str(error), len(prompts))
    train = [[p for p in prompts_of(t["prompts"]) if p.split == "train"] for t in prompts]
    with_prompts = {p.neuron for shard in train for p in shard}
    has_means = lambda neuron: bool(with_prompts - {neuron})  # noqa: E731
    shards = list(_shards(studied, prompts, heads, has_means))
    alone = {p.neuron for s in shards for p in s.prompts if not has_means(p.neuron)}
    job.warn("neurons without mean ablations (no other neuron has train prompts)", len(alone))
    attributed = next(f.path.name for f in job.folders if f.path.name.startswith("heads-"))
    shaped_by = {
        "heads": attributed, "tokens": [n.token_id for n in studied],
        "neurons": [str(n.id) for n in studied], "active_rule": str(job.config.active_rule),
        "batch_tokens": job.batch_tokens,
    }  # fmt: skip
    total = sum(map(len, train)) + sum(len(s.removals) for s in shards)
    results: list[Tables] = []
    with job.display.stage("ablations", total) as progress:
        means = ablation_means.run(job, studied, train, shaped_by, progress.advance)
        folder = job.shards("ablations", kinds=KINDS, **shaped_by)
        tasks = (
            ShardTask(f"shard-{i:06d}", partial(_task, shard, means), len(shard.removals))
            for i, shard in enumerate(shards)
        )
        for made in job.checkpointed(folder, measured, tasks, progress.advance):
            results.append(made.tables)
    return results


def _task(
    shard: Removals, means: ReplacementMeans
) -> tuple[Removals, dict[NeuronId, HeadMeans | None]]:
    return shard, {n.id: means.without(n.id) for n in shard.neurons}


def _left_out(job: Job, reason: str, n_shards: int) -> list[Tables]:
    """Nothing is measured on a model whose blocks cannot be run step by step: said as a failure."""
    job.warn("ablations left out: the model cannot be run step by step")
    failure = pa.table({"stage": ["ablations"], "subject": [job.model.name], "reason": [reason]})
    return [{"failures": failure}, *({} for _ in range(n_shards - 1))][:n_shards]
