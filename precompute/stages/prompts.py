"""Stage 3: cut each neuron's best prompts to the shortest suffix that keeps the neuron on.

The candidates' texts are looked up in one more pass over the corpus; of each, the window up to the
peak alone is held.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa

from explorer.core.truncation import Truncation
from explorer.core.types import NeuronId
from precompute.checkpoint import Tables
from precompute.corpus import shards
from precompute.cutting import by_shard
from precompute.job import Job, ShardTask, StudiedNeuron
from precompute.stages.scan import ScanResult
from precompute.stages.truncating import Candidate, SplitQueue, SuffixRunner, keep_prompts
from precompute.worker import Worker

SPLITS = ("train", "test")

Place = tuple[int, int]
"""A document and a window of it."""


@dataclass(frozen=True)
class FoundPrompt:
    """A candidate as the scan found it: the tokens from its window's start to the peak, included."""

    doc_id: int
    activation: float
    token_ids: list[int]


@dataclass(frozen=True)
class PromptsTask:
    """Some neurons, each with its candidates by split, best first."""

    neurons: list[NeuronId]
    found: list[dict[str, list[FoundPrompt]]]


class WindowTokens:
    """Token ids of the windows that hold candidates, from the window's start to its last peak."""

    def __init__(self, job: Job, scan: ScanResult) -> None:
        """One more pass over the text of each split."""
        self._size = job.model.max_prompt_tokens
        self._scan = scan
        self._tokens: dict[str, dict[Place, np.ndarray]] = {}
        for split in job.sources:
            self._tokens[split.split] = self._read(job, split.split, split.source.name)

    def _read(self, job: Job, split: str, corpus: str) -> dict[Place, np.ndarray]:
        peaks = self._scan.peaks[split]
        is_there = peaks.doc_id >= 0
        last: dict[int, dict[int, int]] = {}
        columns = (peaks.doc_id[is_there].tolist(), peaks.position[is_there].tolist())
        for doc_id, position in zip(*columns, strict=True):
            window, place = divmod(position, self._size)
            windows = last.setdefault(doc_id, {})
            windows[window] = max(place, windows.get(window, 0))
        found: dict[Place, np.ndarray] = {}
        for first, texts in shards(corpus):
            ids = [first + i for i in range(len(texts)) if first + i in last]
            for doc_id, tokens in zip(
                ids, job.model.tokenizer.encode_all([texts[i - first] for i in ids]), strict=True
            ):
                for window, place in last[doc_id].items():
                    begin = window * self._size
                    whole = np.array(tokens[begin : begin + place + 1], dtype=np.int32)
                    found[doc_id, window] = whole
        return found

    def candidates(self, row: int, split: str) -> list[FoundPrompt]:
        """A neuron's candidates of a split, best first; `row` is its place among the studied."""
        peaks, found = self._scan.peaks[split], []
        for rank in np.flatnonzero(peaks.doc_id[row] >= 0):
            doc_id = int(peaks.doc_id[row, rank])
            window, place = divmod(int(peaks.position[row, rank]), self._size)
            tokens = self._tokens[split][doc_id, window][: place + 1]
            found.append(FoundPrompt(doc_id, float(peaks.activation[row, rank]), tokens.tolist()))
        return found


def _queue(worker: Worker, neuron: NeuronId, split: str, found: list[FoundPrompt]) -> SplitQueue:
    config = worker.config

    def candidate(prompt: FoundPrompt) -> Candidate:
        search = Truncation(
            len(prompt.token_ids), prompt.activation, config.keep_ratio, config.max_prompt_tokens
        )
        return Candidate(neuron, prompt.doc_id, prompt.token_ids, search)

    return SplitQueue(split, [candidate(prompt) for prompt in found], config.prompts)


def shard(worker: Worker, task: PromptsTask) -> Tables:
    """The kept prompts of some neurons."""
    runner = SuffixRunner(worker.model, worker.batch_tokens)
    found = task.found
    if worker.config.dtype != "float32":
        found = reread(runner, task)
    queues = [
        [_queue(worker, neuron, split, prompts[split]) for split in SPLITS]
        for neuron, prompts in zip(task.neurons, found, strict=True)
    ]
    keep_prompts(runner, queues, worker.model.token_texts)
    runner.fill_curves([c for splits in queues for queue in splits for c in queue.kept])
    worker.tick(len(task.neurons))
    return _rows(queues)


def reread(runner: SuffixRunner, task: PromptsTask) -> list[dict[str, list[FoundPrompt]]]:
    """The candidates' activations in float32, where the corpus was read in less, and their order by
    them; what is not above 0 is none."""
    flat = [
        (i, split, prompt)
        for i, by_split in enumerate(task.found)
        for split, prompts in by_split.items()
        for prompt in prompts
    ]
    requests = []
    for i, _, prompt in flat:
        search = Truncation(len(prompt.token_ids), prompt.activation, 1.0, len(prompt.token_ids))
        candidate = Candidate(task.neurons[i], prompt.doc_id, prompt.token_ids, search)
        requests.append((candidate, len(prompt.token_ids)))
    found: list[dict[str, list[FoundPrompt]]] = [{s: [] for s in SPLITS} for _ in task.found]
    for (i, split, prompt), value in zip(flat, runner.run(requests), strict=True):
        if value > 0:
            found[i][split].append(FoundPrompt(prompt.doc_id, value, prompt.token_ids))
    for by_split in found:
        for prompts in by_split.values():
            prompts.sort(key=lambda p: (-p.activation, p.doc_id))
    return found


def _rows(queues: list[list[SplitQueue]]) -> Tables:
    kept = [
        (queue.split, rank, candidate)
        for splits in queues
        for queue in splits
        for rank, candidate in enumerate(queue.kept, 1)
    ]
    curves = [c.search.curve(c.extra) for _, _, c in kept]
    counts = [(q.candidates[0].neuron if q.candidates else None, q) for s in queues for q in s]
    return {
        "prompts": pa.table({
            "layer": pa.array([c.neuron.layer for _, _, c in kept], pa.int32()),
            "neuron": pa.array([c.neuron.index for _, _, c in kept], pa.int32()),
            "split": pa.array([split for split, _, _ in kept], pa.string()),
            "rank": pa.array([rank for _, rank, _ in kept], pa.int32()),
            "doc_id": pa.array([c.doc_id for _, _, c in kept], pa.int32()),
            "token_ids": pa.array([c.token_ids for _, _, c in kept], pa.list_(pa.int32())),
            "start": pa.array([c.start for _, _, c in kept], pa.int32()),
            "activation": pa.array([c.search.whole for _, _, c in kept], pa.float32()),
        }),
        "truncation_curves": pa.table({
            "starts": pa.array([starts for starts, _ in curves], pa.list_(pa.int32())),
            "activations": pa.array([values for _, values in curves], pa.list_(pa.float32())),
        }),
        "counts": pa.table({
            "repeats": [sum(q.n_repeats for _, q in counts)],
            "dropped": [sum(q.n_dropped for _, q in counts)],
            "short": [sum(len(q.kept) < q.wanted for _, q in counts)],
        }),
    }  # fmt: skip


def run(job: Job, studied: list[StudiedNeuron], scan: ScanResult) -> list[Tables]:
    """The kept prompts of all studied neurons, shard by shard, in the order of the neurons."""
    config = job.config
    shared = {s.split: (s.source.survey.sha256, s.parity) for s in job.sources}
    folder = job.shards(
        "prompts",
        corpora=shared,
        neurons=[str(n.id) for n in studied],
        candidates=config.n_candidates,
        prompts=config.prompts,
        keep_ratio=config.keep_ratio,
        dtype=config.dtype,
        batch_tokens=job.batch_tokens,
        max_prompt_tokens=config.max_prompt_tokens,
    )
    results: list[Tables] = []
    windows: list[WindowTokens] = []

    def task(rows: list[int]) -> PromptsTask:
        # The text is read once more only where a shard is missing.
        if not windows:
            windows.append(WindowTokens(job, scan))
        found = [{split: windows[0].candidates(row, split) for split in SPLITS} for row in rows]
        return PromptsTask([studied[row].id for row in rows], found)

    with job.display.stage("prompts", len(studied)) as progress:
        tasks = (
            ShardTask(f"neurons-{rows[0]:06d}", partial(task, rows), len(rows))
            for rows in by_shard(range(len(studied)))
        )
        for made in job.checkpointed(folder, shard, tasks, progress.advance):
            results.append(made.tables)
    _count_warnings(job, results)
    return results


def _count_warnings(job: Job, results: list[Tables]) -> None:
    kinds = {
        "repeats": "repeated texts passed over",
        "dropped": "prompts dropped: no suffix keeps enough",
        "short": "neuron splits with fewer prompts than asked for (candidates ran out)",
    }
    for column, words in kinds.items():
        job.warn(words, sum(t["counts"].column(column)[0].as_py() for t in results))
