"""What every stage is handed: the options, the model, the corpora, where shards lie, the display."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from explorer.core.model import LanguageModel
from explorer.core.types import NeuronId
from precompute.checkpoint import ShardFolder, key_of
from precompute.config import JobConfig
from precompute.corpus import Survey
from precompute.progress import Display

# Raised when a stage's shards change their meaning, so that older shards are not taken for new ones.
_SHARD_VERSION = 2


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


@dataclass
class Job:
    """One run. Stages read it; `warnings` counts what a person should know of."""

    config: JobConfig
    model: LanguageModel
    sources: tuple[SplitSource, ...]
    work: Path
    display: Display
    settings: str
    """Fingerprint of the model's configuration and tokenizer."""
    warnings: Counter[str] = field(default_factory=Counter)
    folders: list[ShardFolder] = field(default_factory=list)

    def shards(self, stage: str, **shaped_by: Any) -> ShardFolder:
        """The stage's shard folder, under a key of the weights and of all that shaped it."""
        model = {"weights": self.model.weights_sha256, "settings": self.settings}
        key = key_of({**model, "version": _SHARD_VERSION, **shaped_by})
        folder = ShardFolder(self.work, stage, key)
        self.folders.append(folder)
        return folder

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

    @property
    def batch_tokens(self) -> int:
        """Tokens in one forward pass: more on a GPU, where small batches waste it."""
        return 65536 if self.model.device.type == "cuda" else 4096
