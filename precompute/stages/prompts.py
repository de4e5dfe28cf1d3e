"""Stage 3: cut each neuron's best prompts to the shortest suffix that keeps the neuron on.

Searches of many prompts advance together, one length at a time, so that a batch holds suffixes of
one length and nothing is padded. Candidates are taken in order of activation until enough are kept;
a text that the neuron already has (train first) is passed over and counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from explorer.core.model import LanguageModel
from explorer.core.truncation import Truncation
from explorer.core.types import NeuronId
from precompute.checkpoint import Tables
from precompute.corpus import shards
from precompute.job import Job, StudiedNeuron
from precompute.stages.scan import ScanResult

NEURONS_A_SHARD = 32


@dataclass
class Candidate:
    """One document's peak for one neuron, and the search for its shortest suffix."""

    neuron: NeuronId
    doc_id: int
    token_ids: list[int]
    search: Truncation
    extra: dict[int, float] = field(default_factory=dict)

    @property
    def start(self) -> int:
        assert self.search.kept is not None
        return len(self.token_ids) - self.search.kept

    @property
    def kept_ids(self) -> list[int]:
        return self.token_ids[self.start :]


@dataclass
class _SplitQueue:
    """A neuron's candidates of one split: evaluated up to `n_ready`, decided up to `n_decided`."""

    split: str
    candidates: list[Candidate]
    wanted: int
    n_ready: int = 0
    n_decided: int = 0
    kept: list[Candidate] = field(default_factory=list)
    n_repeats: int = 0
    n_dropped: int = 0

    @property
    def is_done(self) -> bool:
        return len(self.kept) == self.wanted or self.n_decided == len(self.candidates)

    def next_candidates(self) -> list[Candidate]:
        """What to evaluate now: as many as are still wanted, so that none is evaluated in vain."""
        wanted = self.wanted - len(self.kept) - (self.n_ready - self.n_decided)
        batch = self.candidates[self.n_ready : self.n_ready + max(0, wanted)]
        self.n_ready += len(batch)
        return batch

    def decide(self, taken: set[str], texts: Sequence[str]) -> None:
        """Keep or pass over what was evaluated, in order; `taken` holds the neuron's kept texts."""
        while self.n_decided < self.n_ready and not self.is_done:
            candidate = self.candidates[self.n_decided]
            self.n_decided += 1
            if candidate.search.kept is None:
                self.n_dropped += 1
                continue
            text = "".join(texts[i] for i in candidate.kept_ids)
            if text in taken:
                self.n_repeats += 1
                continue
            taken.add(text)
            self.kept.append(candidate)


class SuffixRunner:
    """Runs suffixes in batches. Equal requests in equal order give equal batches."""

    def __init__(self, model: LanguageModel, max_tokens: int) -> None:
        self._model = model
        self._max_tokens = max_tokens

    def run(self, requests: list[tuple[Candidate, int]]) -> list[float]:
        """Activation of each candidate's neuron at its last token, for a suffix of that length."""
        found = [0.0] * len(requests)
        order = sorted(
            range(len(requests)), key=lambda i: (requests[i][0].neuron.layer, requests[i][1], i)
        )
        for rows in self._batches(requests, order):
            chosen = [requests[i] for i in rows]
            tokens, last = self._model.batch([c.token_ids[-length:] for c, length in chosen])
            values = self._model.activation_at_last(tokens, last, [c.neuron for c, _ in chosen])
            for i, value in zip(rows, values.tolist(), strict=True):
                found[i] = value
        return found

    def _batches(
        self, requests: list[tuple[Candidate, int]], order: list[int]
    ) -> Iterator[list[int]]:
        rows: list[int] = []
        for i in order:
            layer, length = requests[i][0].neuron.layer, requests[i][1]
            is_full = rows and (len(rows) + 1) * (length + 1) > self._max_tokens
            if is_full or (rows and requests[rows[0]][0].neuron.layer != layer):
                yield rows
                rows = []
            rows.append(i)
        if rows:
            yield rows

    def search(self, candidates: list[Candidate]) -> None:
        """Advance all searches, one length at a time, until each is over."""
        while True:
            steps = [
                (c, length) for c in candidates if (length := c.search.next_length()) is not None
            ]
            if not steps:
                return
            for (candidate, length), value in zip(steps, self.run(steps), strict=True):
                candidate.search.update(length, value)

    def fill_curves(self, candidates: list[Candidate]) -> None:
        """Evaluate what the curves of kept prompts show beyond the search."""
        requests = [(c, length) for c in candidates for length in c.search.curve_lengths()]
        for (candidate, length), value in zip(requests, self.run(requests), strict=True):
            candidate.extra[length] = value


def document_tokens(job: Job, scan: ScanResult) -> dict[str, dict[int, np.ndarray]]:
    """Token ids of every document that holds a candidate, by split; one more pass over the text."""
    found: dict[str, dict[int, np.ndarray]] = {}
    for split in job.sources:
        wanted = set(scan.peaks[split.split].doc_id.flatten().tolist()) - {-1}
        found[split.split] = {}
        for first, texts in shards(split.source.name):
            ids = [first + i for i in range(len(texts)) if first + i in wanted]
            encoded = job.model.tokenizer.encode_all([texts[i - first] for i in ids])
            for doc_id, tokens in zip(ids, encoded, strict=True):
                found[split.split][doc_id] = np.array(tokens, dtype=np.int32)
    return found


def _candidates(
    job: Job,
    scan: ScanResult,
    documents: dict[str, dict[int, np.ndarray]],
    row: int,
    neuron: NeuronId,
    split: str,
) -> list[Candidate]:
    """A neuron's candidates of a split, best first: each prompt runs from its window's start to the
    peak, included."""
    peaks, window = scan.peaks[split], job.model.max_prompt_tokens
    found = []
    for rank in np.flatnonzero(peaks.doc_id[row] >= 0):
        doc_id, peak = int(peaks.doc_id[row, rank]), int(peaks.position[row, rank])
        ids = documents[split][doc_id][peak // window * window : peak + 1].tolist()
        search = Truncation(
            len(ids),
            float(peaks.activation[row, rank]),
            job.config.keep_ratio,
            job.config.max_prompt_tokens,
        )
        found.append(Candidate(neuron, doc_id, ids, search))
    return found


def _keep_prompts(job: Job, runner: SuffixRunner, queues: list[list[_SplitQueue]]) -> None:
    """Evaluate and decide until every split of every neuron has enough or has run out."""
    taken: list[set[str]] = [set() for _ in queues]
    while True:
        wave = [c for splits in queues for queue in splits for c in queue.next_candidates()]
        runner.search(wave)
        for splits, texts in zip(queues, taken, strict=True):
            for queue in splits:
                queue.decide(texts, job.model.token_texts)
                if not queue.is_done:
                    break  # test prompts are decided once all train prompts are
        if all(queue.is_done for splits in queues for queue in splits):
            return


def _rows(queues: list[list[_SplitQueue]]) -> Tables:
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
        batch_tokens=job.batch_tokens,
        max_prompt_tokens=config.max_prompt_tokens,
    )
    runner = SuffixRunner(job.model, job.batch_tokens)
    results: list[Tables] = []
    documents: dict[str, dict[int, np.ndarray]] | None = None
    with job.display.stage("prompts", len(studied)) as progress:
        for first in range(0, len(studied), NEURONS_A_SHARD):
            tables = folder.load(f"neurons-{first:06d}")
            if tables is None:
                documents = documents or document_tokens(job, scan)
                queues = [
                    [
                        _SplitQueue(
                            split,
                            _candidates(job, scan, documents, first + i, n.id, split),
                            config.prompts,
                        )
                        for split in ("train", "test")
                    ]
                    for i, n in enumerate(studied[first : first + NEURONS_A_SHARD])
                ]
                _keep_prompts(job, runner, queues)
                runner.fill_curves([c for s in queues for q in s for c in q.kept])
                tables = _rows(queues)
                folder.save(f"neurons-{first:06d}", tables)
            results.append(tables)
            progress.advance(len(studied[first : first + NEURONS_A_SHARD]))
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
