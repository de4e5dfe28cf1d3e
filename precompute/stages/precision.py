"""What reading in bfloat16 changes, measured on a part of the run and said: never silently.

Two things are compared with float32. What it does change: which documents are among a neuron's
candidates, from which float32 then picks. And what it would change were it used beyond reading: ranks of
tokens and active heads of kept prompts, which the store holds in float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

from explorer.core.accumulate import Peaks
from explorer.core.types import HeadId
from precompute.checkpoint import Tables
from precompute.corpus import shards
from precompute.cutting import by_shard
from precompute.job import Job, StudiedNeuron
from precompute.stages.heads import HeadsTask, attribute_prompts
from precompute.stages.kept_prompts import KeptPrompt, prompts_of
from precompute.stages.scan import ScanTask, best_documents
from precompute.worker import DTYPES

_SAMPLED_PROMPTS = 256
FACT = "bfloat16_effect"
"""The manifest's key."""


@dataclass(frozen=True)
class Effect:
    """Shares from 0 to 1; NaN where there was nothing to compare."""

    n_documents: int
    """Documents read twice, the first of the corpus."""
    best_found: float
    """Of each neuron's best documents in float32, as many as prompts are kept: the share that is among
    its candidates in bfloat16."""
    best_in_place: float
    """Of those: the share that has the same rank in both."""
    n_prompts: int
    """Kept prompts attributed twice."""
    same_active_heads: float
    """Prompts whose active heads would be the same."""
    same_token_rank: float
    """Prompts whose token would have the same rank."""

    def words(self) -> str:
        return (
            f"bfloat16, measured against float32: of the best documents {_percent(self.best_found)} are "
            f"among the candidates, {_percent(self.best_in_place)} at the same rank "
            f"({self.n_documents:,} documents); were it used for attribution too, active heads would be "
            f"the same in {_percent(self.same_active_heads)} and the token's rank in "
            f"{_percent(self.same_token_rank)} of {self.n_prompts:,} prompts (the store has float32)"
        )


def _percent(share: float) -> str:
    return "none" if np.isnan(share) else f"{100 * share:.1f} %"


def _share(parts: list[bool]) -> float:
    return float(np.mean(parts)) if parts else float("nan")


def run(job: Job, studied: list[StudiedNeuron], prompts: list[Tables]) -> None:
    """Measure, say and note for the manifest; nothing where the corpus is read in float32."""
    if job.config.dtype == "float32":
        return
    n_documents, found, placed = _documents(job, studied)
    n_prompts, heads, ranks = _prompts(job, studied, prompts)
    effect = Effect(
        n_documents, _share(found), _share(placed), n_prompts, _share(heads), _share(ranks)
    )
    job.facts[FACT] = {
        name: None if value != value else value for name, value in asdict(effect).items()
    }
    job.display.say(effect.words())


def _documents(job: Job, studied: list[StudiedNeuron]) -> tuple[int, list[bool], list[bool]]:
    """The first shard read in both."""
    source = job.sources[0]
    first, texts = next(shards(source.source.name), (0, []))
    task = ScanTask(first, texts, source.parity, tuple(n.id for n in studied))
    exact, rough = (
        best_documents(job.worker, task, DTYPES[name]).best.result()
        for name in ("float32", job.config.dtype)
    )
    found, placed = overlap(exact, rough, job.config.prompts)
    return len(texts), found, placed


def overlap(exact: Peaks, rough: Peaks, k: int) -> tuple[list[bool], list[bool]]:
    """For each of a neuron's k best documents: whether it is among the rough ones, and there at the
    same rank."""
    found, placed = [], []
    for row, wanted in enumerate(exact.doc_id[:, :k]):
        for rank, doc_id in enumerate(wanted[wanted >= 0]):
            found.append(bool((rough.doc_id[row] == doc_id).any()))
            placed.append(rank < rough.doc_id.shape[1] and rough.doc_id[row, rank] == doc_id)
    return found, [bool(yes) for yes in placed]


def _prompts(
    job: Job, studied: list[StudiedNeuron], prompts: list[Tables]
) -> tuple[int, list[bool], list[bool]]:
    """Some kept prompts, spread evenly, attributed in both."""
    total = sum(tables["prompts"].num_rows for tables in prompts)
    step = max(1, total // _SAMPLED_PROMPTS)
    heads: list[bool] = []
    ranks: list[bool] = []
    for task, some in _sampled(studied, prompts, step):
        exact = attribute_prompts(job.worker, task, some)
        with job.model.precision(DTYPES[job.config.dtype]):
            rough = attribute_prompts(job.worker, task, some)
        for row, ours in exact.items():
            heads.append(_set(ours.active) == _set(rough[row].active))
            ranks.append(ours.token_rank == rough[row].token_rank)
    return len(heads), heads, ranks


def _sampled(
    studied: list[StudiedNeuron], prompts: list[Tables], step: int
) -> Iterator[tuple[HeadsTask, list[KeptPrompt]]]:
    for neurons, tables in zip(by_shard(studied), prompts, strict=True):
        task = HeadsTask(neurons, tables["prompts"])
        yield task, prompts_of(tables["prompts"])[::step]


def _set(heads: list[HeadId]) -> frozenset[HeadId]:
    return frozenset(heads)
