"""Searches for the shortest suffix, many at a time, and which of the found prompts a neuron keeps.

Searches advance together, a length at a time, so that a batch holds suffixes of one length and nothing is
padded; once few are left, several lengths. Candidates are taken in order of activation until enough are
kept; a text that the neuron already has (train first) is passed over and counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from explorer.core.model import LanguageModel
from explorer.core.truncation import Truncation
from explorer.core.types import NeuronId


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
class SplitQueue:
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


_MOST_AHEAD = 8
"""Lengths of a search that are evaluated together at most."""
_SMALL_BATCH = {"cpu": 256, "cuda": 16384}
"""Tokens under which a batch costs hardly more than an empty one."""


class SuffixRunner:
    """Runs suffixes in batches. Equal requests in equal order give equal batches."""

    def __init__(self, model: LanguageModel, max_tokens: int) -> None:
        self._model = model
        self._max_tokens = max_tokens
        self._small_batch = _SMALL_BATCH[model.device.type]

    def run(self, requests: list[tuple[Candidate, int]]) -> list[float]:
        """Activation of each candidate's neuron at its last token, for a suffix of that length."""
        found = [0.0] * len(requests)
        order = sorted(
            range(len(requests)), key=lambda i: (requests[i][0].neuron.layer, requests[i][1], i)
        )

        def activations(rows: Sequence[int]) -> list[float]:
            chosen = [requests[i] for i in rows]
            tokens, last = self._model.batch([c.token_ids[-length:] for c, length in chosen])
            neurons = [c.neuron for c, _ in chosen]
            return self._model.activation_at_last(tokens, last, neurons).tolist()

        for batch in self._batches(requests, order):
            halves = self._model.halver.run(
                "suffixes", activations, batch, lambda i: requests[i][1]
            )
            for rows, values in halves:
                for i, value in zip(rows, values, strict=True):
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
        """Advance all searches until each is over: one length at a time, or several where that would
        leave the device idle. What lies beyond the length that is kept is forgotten."""
        while True:
            cost = sum((c.search.next_length() or -1) + 1 for c in candidates)
            ahead = max(1, min(_MOST_AHEAD, self._small_batch // max(1, cost)))
            steps = [(c, length) for c in candidates for length in c.search.next_lengths(ahead)]
            if not steps:
                return
            for (candidate, length), value in zip(steps, self.run(steps), strict=True):
                if candidate.search.next_length() == length:
                    candidate.search.update(length, value)

    def fill_curves(self, candidates: list[Candidate]) -> None:
        """Evaluate what the curves of kept prompts show beyond the search."""
        requests = [(c, length) for c in candidates for length in c.search.curve_lengths()]
        for (candidate, length), value in zip(requests, self.run(requests), strict=True):
            candidate.extra[length] = value


def keep_prompts(
    runner: SuffixRunner, queues: list[list[SplitQueue]], texts_of: Sequence[str]
) -> None:
    """Evaluate and decide until every split of every neuron has enough or has run out."""
    taken: list[set[str]] = [set() for _ in queues]
    while True:
        wave = [c for splits in queues for queue in splits for c in queue.next_candidates()]
        runner.search(wave)
        for splits, texts in zip(queues, taken, strict=True):
            for queue in splits:
                queue.decide(texts, texts_of)
                if not queue.is_done:
                    break  # test prompts are decided once all train prompts are
        if all(queue.is_done for splits in queues for queue in splits):
            return
