"""Stage 7: channels. Singular components of all heads, what they read and write, how heads compose,
which components write what the studied neurons read, and each one's part of a head's contribution.

Layer by layer from the weights alone; then one pass over the kept prompts, no deeper than their neurons.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from explorer.core.components import (
    Components,
    attribute_components,
    component_neurons,
    ov_components,
    qk_components,
)
from explorer.core.composition import (
    MODES,
    component_composition,
    head_composition,
    reading_matrices,
    robust_z,
)
from explorer.core.congruence import best, best_tokens
from explorer.core.model import LanguageModel
from explorer.core.types import HeadId, NeuronId
from precompute.checkpoint import Tables
from precompute.job import Job, StudiedNeuron
from precompute.stages.kept_prompts import KeptPrompt, batches, prompts_of

N_BEST_COMPONENTS = 50
"""Components stored for each receiving head and mode, by score."""
_CHUNK_CELLS = 1 << 24
"""Components times tokens held at a time (64 MB of float32)."""


class _Senders:
    """OV components of each layer, worked out when first asked for; directions in float32."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self._layers: dict[int, Components] = {}

    def __getitem__(self, layer: int) -> Components:
        if layer not in self._layers:
            found = ov_components(self._model.w_v[layer], self._model.w_o[layer])
            self._layers[layer] = Components(
                found.reads.float(), found.singular_values.float(), found.writes.float()
            )
        return self._layers[layer]


def _indexed(values: dict[str, np.ndarray], *names: str) -> dict[str, np.ndarray]:
    """Arrays of one shape as flat columns, after a column for each of their axes."""
    shape = next(iter(values.values())).shape
    axes = np.indices(shape, dtype=np.int32).reshape(len(shape), -1)
    flat = {name: value.reshape(-1) for name, value in values.items()}
    return {**dict(zip(names, axes, strict=True)), **flat}


def _table(columns: dict[str, np.ndarray | str | int], order: tuple[str, ...]) -> pa.Table:
    """Columns in the order of the store; a single value stands for a whole column."""
    n = max(len(c) for c in columns.values() if isinstance(c, np.ndarray))
    arrays = {
        name: c if isinstance(c, np.ndarray) else pa.repeat(c, n) for name, c in columns.items()
    }
    return pa.table({name: arrays[name] for name in order})


def _singular_values(layer: int, matrix: str, found: Components) -> pa.Table:
    values = found.singular_values.float().cpu().numpy()
    columns = _indexed({"singular_value": values}, "head", "component")
    return _table(
        {"layer": layer, "matrix": matrix, **columns},
        ("layer", "head", "matrix", "component", "singular_value"),
    )


def _best_tokens(
    layer: int, matrix: str, side: str, directions: Tensor, embedding: Tensor, allowed: Tensor
) -> pa.Table:
    """The tokens along which directions point most; `embedding` is `[d_model vocab]`."""
    n_heads, n_components, d_model = directions.shape
    flat = directions.reshape(-1, d_model).to(embedding.dtype)
    chunk = max(1, _CHUNK_CELLS // embedding.shape[1])
    found = [best_tokens(part @ embedding, allowed) for part in flat.split(chunk)]
    shape = (n_heads, n_components, -1)
    ids = torch.cat([f.indices for f in found]).reshape(shape).int().cpu().numpy()
    values = torch.cat([f.scores for f in found]).reshape(shape).float().cpu().numpy()
    columns = _indexed({"token_id": ids, "value": values}, "head", "component", "rank")
    columns["rank"] = columns["rank"] + 1
    return _table(
        {"layer": layer, "matrix": matrix, "side": side, **columns},
        ("layer", "head", "matrix", "side", "component", "rank", "token_id", "value"),
    )


def _neurons_table(
    job: Job, layer: int, writes: Tensor, studied: list[StudiedNeuron]
) -> list[pa.Table]:
    """`v_i . w_in` for the studied neurons that the layer's heads can reach; no table without any."""
    reached = [n.id for n in studied if job.model.shape.n_reaching_layers(n.id.layer) > layer]
    if not reached:
        return []
    w_in = torch.stack([job.model.w_in(n.layer)[:, n.index] for n in reached], dim=1)
    values = component_neurons(writes, w_in).float().cpu().numpy()
    columns = _indexed({"value": values}, "head", "component", "at")
    at = columns.pop("at")
    ids = np.array([(n.layer, n.index) for n in reached], dtype=np.int32)
    return [
        _table(
            {"layer": layer, "neuron_layer": ids[at, 0], "neuron": ids[at, 1], **columns},
            ("layer", "head", "component", "neuron_layer", "neuron", "value"),
        )
    ]


def _component_tables(
    job: Job, layer: int, ov: Components, studied: list[StudiedNeuron], allowed: Tensor
) -> Tables:
    model = job.model
    qk = qk_components(model.w_q[layer], model.w_k[layer])
    sides = (
        ("OV", "write", ov.writes, model.w_u),
        ("OV", "read", ov.reads, model.w_e.T),
        ("QK", "read", qk.reads, model.w_e.T),
        ("QK", "write", qk.writes, model.w_e.T),
    )
    neurons = _neurons_table(job, layer, ov.writes, studied)
    return {
        "head_components": pa.concat_tables(
            [_singular_values(layer, "OV", ov), _singular_values(layer, "QK", qk)]
        ),
        "component_tokens": pa.concat_tables(
            [_best_tokens(layer, *side, allowed) for side in sides]
        ),
        **({"component_neurons": pa.concat_tables(neurons)} if neurons else {}),
    }


def _composition_tables(job: Job, layer: int, senders: _Senders) -> Tables:
    """How the heads of a layer read what those of all earlier layers write; none for the first."""
    model, n_heads = job.model, job.model.shape.n_heads
    if layer == 0:
        return {}
    singular_values = torch.cat([senders[n].singular_values for n in range(layer)])
    heads, top = [], []
    readers = reading_matrices(*(w[layer] for w in (model.w_q, model.w_k, model.w_v, model.w_o)))
    for mode in MODES:
        # A layer of senders at a time: [receiver sender component].
        scores = torch.cat(
            [component_composition(senders[n].writes, readers[mode]) for n in range(layer)], dim=1
        )
        whole = head_composition(scores, singular_values).cpu().numpy()
        columns = _indexed({"score": whole}, "dst_head", "src")
        pairs = {"mode": mode, "dst_layer": layer, **columns, **_source(columns["src"], n_heads)}
        order = ("mode", "src_layer", "src_head", "dst_layer", "dst_head", "score")
        heads.append(_table(pairs, order))
        flat = scores.flatten(1)
        values, at = best(flat, N_BEST_COMPONENTS)
        found = {"score": values, "z": robust_z(flat).gather(1, at).float(), "src": at}
        columns = _indexed({k: v.cpu().numpy() for k, v in found.items()}, "dst_head", "rank")
        src, component = np.divmod(columns["src"], scores.shape[2])
        chosen = {"mode": mode, "dst_layer": layer, **columns, **_source(src, n_heads)}
        order = ("mode", "src_layer", "src_head", "src_component", "dst_layer", "dst_head",
                 "score", "z")  # fmt: skip
        top.append(_with_nulls(_table({**chosen, "src_component": component}, order), "z"))
    return {"composition": pa.concat_tables(heads), "component_composition": pa.concat_tables(top)}


def _source(flat: np.ndarray, n_heads: int) -> dict[str, np.ndarray]:
    src_layer, src_head = np.divmod(flat, n_heads)
    return {"src_layer": src_layer, "src_head": src_head}


def _with_nulls(table: pa.Table, name: str) -> pa.Table:
    """NaN, which says that there is no value, becomes NULL."""
    values = pa.array(table.column(name).to_numpy(), from_pandas=True)
    return table.set_column(table.schema.get_field_index(name), name, values)


def _studied_heads(heads: Tables) -> dict[int, list[HeadId]]:
    """The studied heads of the neuron of each prompt (by its row in the shard) that has any."""
    table = heads["head_attention"]
    found: dict[int, list[HeadId]] = {}
    columns = (table.column(name).to_pylist() for name in ("prompt", "head_layer", "head"))
    for row, layer, head in zip(*columns, strict=True):
        found.setdefault(row, []).append(HeadId(layer, head))
    return found


def _attribute_batch(
    job: Job, batch: Sequence[KeptPrompt], studied: dict[int, list[HeadId]], senders: _Senders
) -> dict[tuple[int, HeadId], np.ndarray]:
    """Each component's part of each studied head's contribution, by prompt and head."""
    model = job.model
    tokens, last = model.batch([p.kept_ids for p in batch])
    trace = model.trace(tokens, last, [p.neuron for p in batch])
    of_neuron: dict[NeuronId, list[int]] = {}
    for i, prompt in enumerate(batch):
        of_neuron.setdefault(prompt.neuron, []).append(i)
    found: dict[tuple[int, HeadId], np.ndarray] = {}
    for neuron, rows in of_neuron.items():
        w_in = model.w_in(neuron.layer)[:, neuron.index]
        for head in studied[batch[rows[0]].row]:
            parts = attribute_components(
                trace.z[rows, head.layer, head.index],
                model.w_o[head.layer, head.index],
                senders[head.layer].writes[head.index],
                w_in,
                trace.ln_scale[rows],
            ).float()
            for i, values in zip(rows, parts.cpu().numpy(), strict=True):
                found[batch[i].row, head] = values
    return found


def _attributions(job: Job, kept: Tables, heads: Tables, senders: _Senders) -> Tables:
    studied = _studied_heads(heads)
    prompts = [p for p in prompts_of(kept["prompts"]) if p.row in studied]
    found: dict[tuple[int, HeadId], np.ndarray] = {}

    def attributed(batch: Sequence[KeptPrompt]) -> dict[tuple[int, HeadId], np.ndarray]:
        return _attribute_batch(job, batch, studied, senders)

    halver = job.model.halver
    for batch in batches(prompts, job.worker.batch_tokens):
        for _, parts in halver.run("components", attributed, batch, KeptPrompt.length):
            found |= parts
    keys = sorted(found)
    return {
        "component_attributions": pa.table({
            "prompt": pa.array([row for row, _ in keys], pa.int32()),
            "head_layer": pa.array([h.layer for _, h in keys], pa.int32()),
            "head": pa.array([h.index for _, h in keys], pa.int32()),
            "components": pa.array([found[key] for key in keys], pa.list_(pa.float32())),
        })
    }  # fmt: skip


def run(
    job: Job, studied: list[StudiedNeuron], prompts: list[Tables], heads: list[Tables]
) -> tuple[list[Tables], Tables]:
    """One shard for each shard of prompts, and the tables of the whole model."""
    heads_key = next(f.path.name for f in job.folders if f.path.name.startswith("heads-"))
    per_layer = job.shards("channels", neurons=[str(n.id) for n in studied])
    per_prompt = job.shards("component-attributions", heads=heads_key)
    senders, n_layers = _Senders(job.model), job.model.shape.n_layers
    texts = job.model.token_texts
    allowed = torch.tensor([bool(text) for text in texts], device=job.model.device)
    joined: dict[str, list[pa.Table]] = {}
    shards: list[Tables] = []
    with job.display.stage("channels", n_layers + len(prompts)) as progress:
        for layer in range(n_layers):
            found = per_layer.load(f"layer-{layer:03d}")
            if found is None:
                found = _component_tables(job, layer, senders[layer], studied, allowed)
                found |= _composition_tables(job, layer, senders)
                per_layer.save(f"layer-{layer:03d}", found)
            for name, table in found.items():
                joined.setdefault(name, []).append(table)
            progress.advance()
        for index, (kept, attributed) in enumerate(zip(prompts, heads, strict=True)):
            found = per_prompt.load(f"shard-{index:06d}")
            if found is None:
                found = _attributions(job, kept, attributed, senders)
                per_prompt.save(f"shard-{index:06d}", found)
            shards.append(found)
            progress.advance()
    return shards, {name: pa.concat_tables(tables) for name, tables in joined.items()}
