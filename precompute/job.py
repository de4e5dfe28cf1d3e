"""What every stage is handed: the options, the model, the corpora, where shards lie, the display."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from explorer.core.model import LanguageModel
from explorer.core.types import NeuronId
from precompute.checkpoint import ShardFolder, Tables, differences, key_of
from precompute.config import JobConfig
from precompute.corpus import Survey
from precompute.engines.protocol import Engine, ShardWork
from precompute.progress import Display
from precompute.worker import Worker

# Raised when a stage's shards change their meaning, so that older shards are not taken for new ones.
_SHARD_VERSION = 4
_HALVED = "batches halved for lack of memory"


@dataclass(frozen=True)
class Source:
    """A corpus file and what one pass over it found."""

    name: str
    """The path or hub name as given."""
    survey: Survey


@dataclass(frozen=True)
class StudiedNeuron:
    """A neuron whose prompts are collected."""

    id: NeuronId
    token_id: int
    congruence: float
    kind: str
    """`next-token`, `requested` or `random`."""


@dataclass(frozen=True)
class SplitSource:
    """Where a split's documents come from; `parity` keeps even or odd ids alone, None all."""

    split: str
    source: Source
    parity: int | None


@dataclass(frozen=True)
class ShardTask:
    """A shard to have: what it is called, and how its task is made where it is not there yet."""

    name: str
    make: Callable[[], Any]
    n: float = 1
    """What it adds to the progress of its stage."""
    known: Tables | None = None
    """Its tables, where they were had another way."""


@dataclass(frozen=True)
class Shard:
    """A shard that is there."""

    name: str
    tables: Tables
    is_new: bool


@dataclass
class _Waiting:
    task: ShardTask
    tables: Tables | None
    is_new: bool = False


@dataclass
class Job:
    """One run. Stages read it; `warnings` counts what a person should know of."""

    config: JobConfig
    worker: Worker
    engine: Engine
    sources: tuple[SplitSource, ...]
    work: Path
    display: Display
    settings: str
    """Fingerprint of the model's configuration and tokenizer."""
    warnings: Counter[str] = field(default_factory=Counter)
    folders: list[ShardFolder] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    """What stages found that the manifest should tell, by its keys there."""

    @property
    def model(self) -> LanguageModel:
        return self.worker.model

    @property
    def batch_tokens(self) -> int:
        """Tokens in one forward pass where shards are worked on."""
        return self.engine.batch_tokens

    def shards(self, stage: str, **shaped_by: Any) -> ShardFolder:
        """The stage's shard folder, under a key of the weights and of all that shaped it."""
        parts = {
            "weights": self.model.weights_sha256, "settings": self.settings,
            "version": _SHARD_VERSION, **shaped_by,
        }  # fmt: skip
        key = key_of(parts)
        changed = differences(self.work, stage, parts)
        folder = ShardFolder(self.work, stage, key, parts)
        if folder.is_new and changed:
            self.display.say(f"{stage}: done again, other than before: {', '.join(changed)}")
        self.folders.append(folder)
        return folder

    def checkpointed(
        self,
        folder: ShardFolder,
        work: ShardWork,
        tasks: Iterable[ShardTask],
        advance: Callable[[float], object],
    ) -> Iterator[Shard]:
        """The shards of a stage, in order: those of before from disk, the others worked on by the
        engine and put on disk as they become ready."""
        waiting: deque[_Waiting] = deque()
        pending: dict[int, _Waiting] = {}
        self.worker.tick = advance

        def settle() -> Iterator[Shard]:
            while waiting[0].tables is None:
                self._take_one(folder, pending, advance)
            first = waiting.popleft()
            assert first.tables is not None
            yield Shard(first.task.name, first.tables, first.is_new)

        try:
            for task in tasks:
                tables = task.known if task.known is not None else folder.load(task.name)
                entry = _Waiting(task, tables)
                waiting.append(entry)
                if tables is None:
                    pending[self.engine.submit(work, task.make())] = entry
                else:
                    advance(task.n)
                while len(waiting) >= self.engine.ahead:
                    yield from settle()
            while waiting:
                yield from settle()
        finally:
            self.worker.tick = lambda by: None

    def _take_one(
        self, folder: ShardFolder, pending: dict[int, _Waiting], advance: Callable[[float], object]
    ) -> None:
        ready = self.engine.next_ready()
        entry = pending.pop(ready.ticket)
        folder.save(entry.task.name, ready.tables)
        entry.tables, entry.is_new = ready.tables, True
        self.warn(_HALVED, ready.n_halved)
        if not ready.is_ticked:
            advance(entry.task.n)

    def count_halved(self) -> None:
        """Warn of the batches that were halved in this process, once all are done."""
        self.warn(_HALVED, self.model.halver.n_halved)

    def warn(self, kind: str, count: int = 1) -> None:
        """Count a warning; the manifest and the summary name each kind with its count."""
        if count:
            self.warnings[kind] += count

    def continued(self) -> list[str]:
        """What was found of an earlier call, in words; nothing for a run from the start."""
        kept = sum(folder.n_reused for folder in self.folders)
        damaged = sum(folder.n_corrupt for folder in self.folders)
        lines = [f"continued: {kept:,} shards were kept from before"] if kept else []
        if damaged:
            lines.append(f"{damaged:,} damaged shards were found by their checksum and done again")
        return lines
