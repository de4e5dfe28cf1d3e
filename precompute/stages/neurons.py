"""Stage 1: congruence of all neurons with all tokens, and which neurons are studied."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from explorer.core.congruence import BestNeurons, BestOf, best_tokens, congruence
from explorer.core.errors import CallError
from explorer.core.types import NeuronId, visible
from precompute.checkpoint import Tables
from precompute.config import parse_layers
from precompute.job import Job, StudiedNeuron

_CHUNK_CELLS = 1 << 24
"""Scores held at a time (64 MB of float32); never the whole matrix."""


class CongruenceTables:
    """The two rankings over the whole model."""

    def __init__(self, neuron_tokens: list[BestOf], token_neurons: BestOf, d_mlp: int) -> None:
        self._by_layer = neuron_tokens
        self.token_neurons = token_neurons
        self._d_mlp = d_mlp

    def best_token(self, neuron: NeuronId) -> tuple[int, float]:
        """The neuron's best token and its congruence."""
        ranking = self._by_layer[neuron.layer]
        return int(ranking.indices[neuron.index, 0]), float(ranking.scores[neuron.index, 0])

    def layer(self, layer: int) -> BestOf:
        return self._by_layer[layer]

    def tables(self, n_tokens_with_text: list[int]) -> Tables:
        """`neuron_tokens` and `token_neurons` as the store keeps them."""
        layers = [
            (layer, *_ranking_columns(ranking)) for layer, ranking in enumerate(self._by_layer)
        ]
        rows, ranks, ids, scores = _ranking_columns(self.token_neurons)
        kept = np.isin(rows, n_tokens_with_text)
        return {
            "neuron_tokens": pa.table({
                "layer": np.concatenate([np.full(len(r), n) for n, r, *_ in layers]),
                "neuron": np.concatenate([r for _, r, *_ in layers]),
                "rank": np.concatenate([k for _, _, k, *_ in layers]),
                "token_id": np.concatenate([i for *_, i, _ in layers]),
                "congruence": np.concatenate([s for *_, s in layers]),
            }),
            "token_neurons": pa.table({
                "token_id": rows[kept], "rank": ranks[kept],
                "layer": ids[kept] // self._d_mlp, "neuron": ids[kept] % self._d_mlp,
                "congruence": scores[kept],
            }),
        }  # fmt: skip


def _ranking_columns(best: BestOf) -> tuple[np.ndarray, ...]:
    """A ranking as columns: row, rank from 1, what scored, score."""
    n_rows, k = best.indices.shape
    return (
        np.repeat(np.arange(n_rows), k),
        np.tile(np.arange(1, k + 1), n_rows),
        best.indices.flatten().cpu().numpy(),
        best.scores.flatten().float().cpu().numpy(),
    )


def _layer_rankings(job: Job, layer: int, allowed: Tensor) -> tuple[BestOf, BestOf]:
    """Best tokens of a layer's neurons, and best neurons (flat indices) of each token."""
    shape = job.model.shape
    w_out, w_u = job.model.w_out(layer), job.model.w_u
    chunk = max(1, _CHUNK_CELLS // shape.d_vocab)
    neurons = BestNeurons()
    tokens: list[BestOf] = []
    for first in range(0, shape.d_mlp, chunk):
        scores = congruence(w_out[first : first + chunk], w_u)
        tokens.append(best_tokens(scores, allowed))
        neurons.update(scores, layer * shape.d_mlp + first)
    joined = BestOf(torch.cat([t.scores for t in tokens]), torch.cat([t.indices for t in tokens]))
    return joined, neurons.result()


def _pack(best: BestOf) -> pa.Table:
    k = best.indices.shape[1]
    return pa.table({
        "scores": pa.FixedSizeListArray.from_arrays(pa.array(best.scores.float().flatten().cpu().numpy()), k),
        "indices": pa.FixedSizeListArray.from_arrays(pa.array(best.indices.flatten().cpu().numpy()), k),
    })  # fmt: skip


def _unpack(table: pa.Table) -> BestOf:
    def column(name: str) -> Tensor:
        values = table.column(name).combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return torch.from_numpy(values.copy()).reshape(table.num_rows, -1)

    return BestOf(column("scores"), column("indices"))


def run(job: Job) -> CongruenceTables:
    """Rank all neurons and tokens, one shard a layer."""
    shape, texts = job.model.shape, job.model.token_texts
    allowed = torch.tensor([bool(text) for text in texts], device=job.model.device)
    folder = job.shards("congruence")
    per_layer: list[BestOf] = []
    over_layers = BestNeurons()
    with job.display.stage("congruence", shape.n_layers) as progress:
        for layer in range(shape.n_layers):
            name = f"layer-{layer:03d}"
            tables = folder.load(name)
            if tables is None:
                tokens, neurons = _layer_rankings(job, layer, allowed)
                tables = {"tokens": _pack(tokens), "neurons": _pack(neurons)}
                folder.save(name, tables)
            per_layer.append(_unpack(tables["tokens"]))
            over_layers.merge(_unpack(tables["neurons"]))
            progress.advance()
    return CongruenceTables(per_layer, over_layers.result(), shape.d_mlp)


def _next_token_neurons(job: Job, ranking: BestOf, layer: int) -> list[NeuronId]:
    """A layer's K neurons of highest congruence whose best token is a word start: a leading space
    and two or more characters that are not white space. Ties go to the lower index."""
    texts = job.model.token_texts
    best = ranking.indices[:, 0].tolist()
    order = ranking.scores[:, 0].sort(descending=True, stable=True).indices.tolist()
    words = [
        i
        for i in order
        if texts[best[i]].startswith(" ") and len("".join(texts[best[i]].split())) >= 2
    ]
    wanted = job.config.neurons_per_layer
    job.warn("next-token neurons fewer than asked for", max(0, wanted - len(words)))
    return [NeuronId(layer, i) for i in words[:wanted]]


def requested_token_ids(job: Job) -> list[int]:
    """The ids of `--tokens`. Raises CallError for a text that is not one token."""
    ids = []
    for text in job.config.tokens:
        encoded = job.model.encode(text)
        if len(encoded) != 1:
            pieces = " ".join(visible(job.model.token_texts[i]) for i in encoded)
            raise CallError(
                f"--tokens: '{visible(text)}' is {len(encoded)} tokens in this model ({pieces}); "
                "name single tokens, with ␣ for a leading space"
            )
        ids.append(encoded[0])
    return ids


def _token_congruence(
    job: Job, token_id: int, layers: tuple[int, ...]
) -> list[tuple[NeuronId, float]]:
    """A token's K best neurons over the layers taken together, best first, with their congruence."""
    k = job.config.neurons_per_layer
    found: list[tuple[NeuronId, float]] = []
    for layer in layers:
        scores = job.model.w_out(layer) @ job.model.w_u[:, token_id]
        order = scores.sort(descending=True, stable=True).indices[:k].tolist()
        found += [(NeuronId(layer, i), float(scores[i])) for i in order]
    return sorted(found, key=lambda pair: (-pair[1], pair[0]))[:k]


def _congruence_with(job: Job, neuron: NeuronId, token_id: int) -> float:
    return float(job.model.w_out(neuron.layer)[neuron.index] @ job.model.w_u[:, token_id])


def select(job: Job, rankings: CongruenceTables) -> list[StudiedNeuron]:
    """The studied neurons, by layer and index; of several kinds the first that applies."""
    layers = parse_layers(job.config.layers, job.model.shape.n_layers)
    chosen: dict[NeuronId, StudiedNeuron] = {}

    def add(neuron: NeuronId, kind: str, asked: int | None = None) -> None:
        if neuron in chosen:
            return
        token_id, score = rankings.best_token(neuron)
        if asked is not None and asked != token_id:
            token_id, score = asked, _congruence_with(job, neuron, asked)
        chosen[neuron] = StudiedNeuron(neuron, token_id, score, kind)

    for layer in layers:
        for neuron in _next_token_neurons(job, rankings.layer(layer), layer):
            add(neuron, "next-token")
    for token_id in requested_token_ids(job):
        for neuron, _ in _token_congruence(job, token_id, layers):
            add(neuron, "requested", token_id)
    for neuron in job.config.neurons:
        add(neuron, "requested")
    generator = np.random.default_rng(job.config.seed)
    for layer in layers:
        others = [i for i in range(job.model.shape.d_mlp) if NeuronId(layer, i) not in chosen]
        wanted = job.config.random_neurons_per_layer
        drawn = generator.choice(others, min(wanted, len(others)), replace=False) if others else []
        job.warn("random neurons fewer than asked for", wanted - len(drawn))
        for index in sorted(int(i) for i in drawn):
            add(NeuronId(layer, index), "random")
    job.warn("no neuron is studied", int(not chosen))
    return [chosen[neuron] for neuron in sorted(chosen)]
