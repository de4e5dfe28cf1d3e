"""Stage 2: one pass over the corpus for all studied neurons, keeping each one's best documents.

The pass stops at the deepest studied layer; windows are bucketed by length, so that little of a
batch is padding. Shards are consecutive documents; every so many of them are merged into one, so that
what lies on disk grows with the candidates and not with the corpus.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from explorer.core.accumulate import Peaks, TopDocuments, document_peaks, reading_marks
from explorer.core.errors import CorpusError
from explorer.core.model import LanguageModel
from explorer.core.types import NeuronId
from precompute.checkpoint import ShardFolder, Tables
from precompute.corpus import shards
from precompute.cutting import SHARDS_A_GROUP
from precompute.job import Job, Shard, ShardTask, SplitSource, StudiedNeuron
from precompute.worker import Worker


@dataclass(frozen=True)
class Window:
    """A piece of a document that fits the context: `document` is its index in the batch of texts."""

    document: int
    offset: int
    token_ids: list[int]

    def length(self) -> int:
        """In a batch, BOS included."""
        return len(self.token_ids) + 1


@dataclass(frozen=True)
class ScanTask:
    """Consecutive documents from `first` on, for some neurons; `parity` as in SplitSource."""

    first: int
    texts: list[str]
    parity: int | None
    neurons: tuple[NeuronId, ...]


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

    def __init__(
        self,
        model: LanguageModel,
        neurons: Sequence[NeuronId],
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._model = model
        self._dtype = dtype
        self._n = len(neurons)
        self._columns: dict[int, list[int]] = {}
        self._indices: dict[int, Tensor] = {}
        for layer in sorted({neuron.layer for neuron in neurons}):
            columns = [i for i, neuron in enumerate(neurons) if neuron.layer == layer]
            self._columns[layer] = columns
            self._indices[layer] = torch.tensor(
                [neurons[i].index for i in columns], device=model.device
            )

    def find(self, batch: Sequence[Window]) -> tuple[np.ndarray, np.ndarray]:
        """Highest post-activation of each neuron in each window, BOS left out, and the index of its
        (earliest) token in the window: two arrays `[window neuron]`."""
        activation = np.empty((len(batch), self._n), dtype=np.float32)
        position = np.empty((len(batch), self._n), dtype=np.int64)
        if not self._indices:  # no neuron is studied: there is nothing to run the model for
            return activation, position
        tokens, last = self._model.batch([window.token_ids for window in batch])
        positions = torch.arange(1, tokens.shape[1], device=tokens.device)
        padding = positions[None] > last[:, None]
        for layer, values in self._model.activations(tokens, self._indices, self._dtype).items():
            inside = values[:, 1:].masked_fill(padding[:, :, None], -torch.inf)
            highest = inside.max(dim=1)
            # `max` leaves open which of several equal positions it names: take the first.
            first = (inside == highest.values[:, None]).int().argmax(dim=1)
            activation[:, self._columns[layer]] = highest.values.float().cpu().numpy()
            position[:, self._columns[layer]] = first.cpu().numpy()
        return activation, position


def scan_shard(worker: Worker, task: ScanTask) -> Tables:
    """The best documents of each neuron among some consecutive ones, and how much was read."""
    found = best_documents(worker, task, worker.reading_dtype)
    worker.tick(len(task.texts))
    return found.tables()


def best_documents(worker: Worker, task: ScanTask, dtype: torch.dtype) -> Accumulated:
    """The same, read in this type of number."""
    model, neurons = worker.model, task.neurons
    ids = [task.first + i for i in range(len(task.texts))]
    mine = [i for i in range(len(ids)) if task.parity is None or ids[i] % 2 == task.parity]
    encoded = model.tokenizer.encode_all([task.texts[i] for i in mine])
    windows = cut_windows(encoded, model.max_prompt_tokens)
    finder = PeakFinder(model, neurons, dtype)
    found = [
        (some, *peaks)
        for batch in batches(windows, worker.batch_tokens)
        for some, peaks in model.halver.run("scan", finder.find, batch, Window.length)
    ]
    best = Accumulated(len(neurons), worker.config.n_candidates)
    best.n_documents, best.n_tokens = len(mine), sum(map(len, encoded))
    if found:
        flat = [window for batch, _, _ in found for window in batch]
        activation, position = document_peaks(
            len(mine),
            np.array([w.document for w in flat]),
            np.array([w.offset for w in flat]),
            np.concatenate([a for _, a, _ in found]),
            np.concatenate([p for _, _, p in found]),
        )
        marks = reading_marks(encoded, model.max_prompt_tokens, position)
        best.best.update(np.array([ids[i] for i in mine]), activation, position, marks)
    return best


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


_GROUP = "group-"


class Accumulated:
    """The best documents and the counts so far."""

    def __init__(self, n_neurons: int, n_candidates: int) -> None:
        self._n_neurons = n_neurons
        self.best = TopDocuments(n_neurons, n_candidates)
        self.n_documents = self.n_tokens = 0

    def add(self, tables: Tables) -> None:
        self.best.merge(_peaks_of(tables["peaks"], self._n_neurons))
        self.n_documents += tables["counts"].column("n_documents")[0].as_py()
        self.n_tokens += tables["counts"].column("n_tokens")[0].as_py()

    def tables(self) -> Tables:
        counts = pa.table({"n_documents": [self.n_documents], "n_tokens": [self.n_tokens]})
        return {"peaks": _peaks_table(self.best.result()), "counts": counts}


def _tasks(
    folder: ShardFolder, split: SplitSource, neurons: tuple[NeuronId, ...]
) -> Iterator[ShardTask]:
    """A task for each shard; one alone, its tables known, where a group is there already."""
    known: Tables | None = None
    n_known = 0
    for place, (first, texts) in enumerate(shards(split.source.name)):
        if place % SHARDS_A_GROUP == 0:
            if known is not None:
                yield ShardTask(_group_name(place - 1), dict, n_known, known)
            known, n_known = folder.load(_group_name(place)), 0
        if known is None:
            task = partial(ScanTask, first, texts, split.parity, neurons)
            yield ShardTask(f"documents-{first:010d}", task, len(texts))
        n_known += len(texts)
    if known is not None:
        yield ShardTask(_group_name(place), dict, n_known, known)


def _group_name(place: int) -> str:
    """Of the shard in that place."""
    return f"{_GROUP}{place // SHARDS_A_GROUP:06d}"


class _Groups:
    """Takes shards in order; merges them, group by group, on disk and in memory."""

    def __init__(self, folder: ShardFolder, n_neurons: int, n_candidates: int) -> None:
        self._folder = folder
        self._sizes = (n_neurons, n_candidates)
        self.total = Accumulated(*self._sizes)
        self._group = Accumulated(*self._sizes)
        self._names: list[str] = []
        self._place = 0

    def add(self, shard: Shard) -> None:
        if shard.name.startswith(_GROUP):
            self.total.add(shard.tables)
            self._place += SHARDS_A_GROUP
            return
        self._group.add(shard.tables)
        self._names.append(shard.name)
        self._place += 1
        if self._place % SHARDS_A_GROUP == 0:
            self.close()

    def close(self) -> None:
        """Put the group that is there on disk, and forget the shards that it holds."""
        if not self._names:
            return
        tables = self._group.tables()
        self._folder.save(_group_name(self._place - 1), tables)
        for name in self._names:
            self._folder.drop(name)
        # What is on disk is what counts, so that a continued run merges the same.
        self.total.add(tables)
        self._group, self._names = Accumulated(*self._sizes), []


def run(job: Job, studied: list[StudiedNeuron]) -> ScanResult:
    """Scan every split's corpus; resume at the first shard that is missing."""
    neurons = tuple(neuron.id for neuron in studied)
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
                dtype=job.config.dtype,
                batch_tokens=job.batch_tokens,
            )
            found = _Groups(folder, len(neurons), job.config.n_candidates)
            tasks = _tasks(folder, split, neurons)
            for shard in job.checkpointed(folder, scan_shard, tasks, progress.advance):
                if shard.is_new:
                    n_tokens_now += shard.tables["counts"].column("n_tokens")[0].as_py()
                found.add(shard)
            found.close()
            peaks[split.split] = found.total.best.result()
            n_documents[split.split] = found.total.n_documents
            n_tokens[split.split] = found.total.n_tokens
    if sum(n_tokens.values()) == 0:
        raise CorpusError("the corpus has no text; give --corpus a file with documents in it")
    for split_name, count in n_tokens.items():
        job.warn(f"no text in the {split_name} split", int(count == 0))
    return ScanResult(peaks, n_documents, n_tokens, n_tokens_now)
