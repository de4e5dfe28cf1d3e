"""Stage 2: one pass over the corpus for all studied neurons, keeping each one's best documents.

The pass stops at the deepest studied layer; windows are bucketed by length, so that little of a
batch is padding. Shards are consecutive documents.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from explorer.core.accumulate import Peaks, TopDocuments, document_peaks, reading_marks
from explorer.core.errors import CorpusError
from explorer.core.model import LanguageModel
from explorer.core.types import NeuronId
from precompute.checkpoint import Tables
from precompute.corpus import shards
from precompute.job import Job, SplitSource, StudiedNeuron


@dataclass(frozen=True)
class Window:
    """A piece of a document that fits the context: `document` is its index in the batch of texts."""

    document: int
    offset: int
    token_ids: list[int]


@dataclass(frozen=True)
class ScanResult:
    """Each neuron's best documents by split, in the order of the studied neurons."""

    peaks: dict[str, Peaks]
    n_documents: dict[str, int]
    n_tokens: dict[str, int]
    n_tokens_now: int
    """Tokens read by this call; the rest came from shards of an earlier one."""


def cut_windows(documents: list[list[int]], size: int) -> list[Window]:
    """Cut tokenised documents into windows of at most `size` tokens; empty ones give none."""
    return [
        Window(index, offset, ids[offset : offset + size])
        for index, ids in enumerate(documents)
        for offset in range(0, len(ids), size)
    ]


def batches(windows: list[Window], max_tokens: int) -> Iterator[list[Window]]:
    """Windows by length, batched so that rows x longest row stays within `max_tokens`."""
    batch: list[Window] = []
    for window in sorted(windows, key=lambda w: len(w.token_ids)):
        if batch and (len(batch) + 1) * (len(window.token_ids) + 1) > max_tokens:
            yield batch
            batch = []
        batch.append(window)
    if batch:
        yield batch


class PeakFinder:
    """Finds where each of a fixed list of neurons peaks in a batch of windows."""

    def __init__(self, model: LanguageModel, neurons: list[NeuronId]) -> None:
        self._model = model
        self._n = len(neurons)
        self._columns: dict[int, list[int]] = {}
        self._indices: dict[int, Tensor] = {}
        for layer in sorted({neuron.layer for neuron in neurons}):
            columns = [i for i, neuron in enumerate(neurons) if neuron.layer == layer]
            self._columns[layer] = columns
            self._indices[layer] = torch.tensor(
                [neurons[i].index for i in columns], device=model.device
            )

    def find(self, batch: list[Window]) -> tuple[np.ndarray, np.ndarray]:
        """Highest post-activation of each neuron in each window, BOS left out, and the index of its
        (earliest) token in the window: two arrays `[window neuron]`."""
        activation = np.empty((len(batch), self._n), dtype=np.float32)
        position = np.empty((len(batch), self._n), dtype=np.int64)
        if not self._indices:  # no neuron is studied: there is nothing to run the model for
            return activation, position
        tokens, last = self._model.batch([window.token_ids for window in batch])
        positions = torch.arange(1, tokens.shape[1], device=tokens.device)
        padding = positions[None] > last[:, None]
        for layer, values in self._model.activations(tokens, self._indices).items():
            inside = values[:, 1:].masked_fill(padding[:, :, None], -torch.inf)
            highest = inside.max(dim=1)
            # `max` leaves open which of several equal positions it names: take the first.
            first = (inside == highest.values[:, None]).int().argmax(dim=1)
            activation[:, self._columns[layer]] = highest.values.float().cpu().numpy()
            position[:, self._columns[layer]] = first.cpu().numpy()
        return activation, position


def _scan_shard(
    job: Job, finder: PeakFinder, split: SplitSource, first: int, texts: list[str], n_neurons: int
) -> Tables:
    ids = [first + i for i in range(len(texts))]
    mine = [i for i in range(len(texts)) if split.parity is None or ids[i] % 2 == split.parity]
    encoded = job.model.tokenizer.encode_all([texts[i] for i in mine])
    windows = cut_windows(encoded, job.model.max_prompt_tokens)
    found: list[tuple[list[Window], np.ndarray, np.ndarray]] = [
        (batch, *finder.find(batch)) for batch in batches(windows, job.batch_tokens)
    ]
    best = TopDocuments(n_neurons, job.config.n_candidates)
    if found:
        flat = [window for batch, _, _ in found for window in batch]
        activation, position = document_peaks(
            len(mine),
            np.array([w.document for w in flat]),
            np.array([w.offset for w in flat]),
            np.concatenate([a for _, a, _ in found]),
            np.concatenate([p for _, _, p in found]),
        )
        marks = reading_marks(encoded, job.model.max_prompt_tokens, position)
        best.update(np.array([ids[i] for i in mine]), activation, position, marks)
    counts = {"n_documents": [len(mine)], "n_tokens": [sum(len(e) for e in encoded)]}
    return {"peaks": _peaks_table(best.result()), "counts": pa.table(counts)}


def _peaks_table(peaks: Peaks) -> pa.Table:
    neuron, rank = np.nonzero(peaks.doc_id >= 0)
    assert peaks.mark is not None
    return pa.table({
        "neuron": neuron, "rank": rank, "activation": peaks.activation[neuron, rank],
        "doc_id": peaks.doc_id[neuron, rank], "position": peaks.position[neuron, rank],
        "mark": peaks.mark[neuron, rank],
    })  # fmt: skip


def _peaks_of(table: pa.Table, n_neurons: int) -> Peaks:
    neuron = table.column("neuron").to_numpy()
    rank = table.column("rank").to_numpy()
    shape = (n_neurons, int(rank.max()) + 1 if len(rank) else 0)
    activation = np.full(shape, -np.inf, dtype=np.float32)
    doc_id, position = np.full(shape, -1), np.full(shape, -1)
    mark = np.zeros(shape, dtype=np.uint64)
    activation[neuron, rank] = table.column("activation").to_numpy()
    doc_id[neuron, rank] = table.column("doc_id").to_numpy()
    position[neuron, rank] = table.column("position").to_numpy()
    mark[neuron, rank] = table.column("mark").to_numpy()
    return Peaks(activation, doc_id, position, mark)


def run(job: Job, studied: list[StudiedNeuron]) -> ScanResult:
    """Scan every split's corpus; resume at the first shard that is missing."""
    neurons = [neuron.id for neuron in studied]
    peaks, n_documents, n_tokens = {}, {}, {}
    n_tokens_now = 0
    sizes = {s.split: s.source.survey.n_documents for s in job.sources}
    with job.display.stage("scan", sum(sizes.values())) as progress:
        for split in job.sources:
            folder = job.shards(
                f"scan-{split.split}",
                corpus=split.source.survey.sha256,
                parity=split.parity,
                neurons=[str(n) for n in neurons],
                candidates=job.config.n_candidates,
                batch_tokens=job.batch_tokens,
            )
            finder = PeakFinder(job.model, neurons)
            best = TopDocuments(len(neurons), job.config.n_candidates)
            counted = [0, 0]
            for first, texts in shards(split.source.name):
                tables = folder.load(f"documents-{first:010d}")
                if tables is None:
                    tables = _scan_shard(job, finder, split, first, texts, len(neurons))
                    folder.save(f"documents-{first:010d}", tables)
                    n_tokens_now += tables["counts"].column("n_tokens")[0].as_py()
                best.merge(_peaks_of(tables["peaks"], len(neurons)))
                counted[0] += tables["counts"].column("n_documents")[0].as_py()
                counted[1] += tables["counts"].column("n_tokens")[0].as_py()
                progress.advance(len(texts))
            peaks[split.split] = best.result()
            n_documents[split.split], n_tokens[split.split] = counted
    if sum(n_tokens.values()) == 0:
        raise CorpusError("the corpus has no text; give --corpus a file with documents in it")
    for split_name, count in n_tokens.items():
        job.warn(f"no text in the {split_name} split", int(count == 0))
    return ScanResult(peaks, n_documents, n_tokens, n_tokens_now)
