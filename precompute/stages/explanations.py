"""Stage 6: explain each studied head in words from its train prompts, test the words on the test
prompts, and score them beside what chance would score.

Failures are rows of `failures` and of nothing else. A shard that holds some is asked again by the next
call with `--force`; all other shards are kept for it.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from explorer.core.schema import arrow_schema
from explorer.core.scores import Confusion, bootstrap_interval, other_head_null, shuffle_null
from explorer.core.types import HeadId, NeuronId
from precompute.asking import run_to_end
from precompute.checkpoint import ShardFolder, Tables
from precompute.explainers.choose import explainers_of
from precompute.explainers.protocol import (
    Example,
    Explainer,
    ExplainerFailure,
    Explanation,
    Verdict,
)
from precompute.job import Job, StudiedNeuron
from precompute.stages.kept_prompts import KeptPrompt, prompts_of

TABLES = ("explanations", "classifications", "head_scores", "score_nulls", "failures")
_MAX_REASON = 500


@dataclass(frozen=True)
class _Pair:
    """A studied neuron and head, and the neuron's prompts as an explainer may see them."""

    neuron: NeuronId
    head: HeadId
    token: str
    train: list[tuple[Example, bool]]
    """Each with whether the head is active in it."""
    test: list[tuple[KeptPrompt, Example, bool]]

    @property
    def columns(self) -> dict[str, int]:
        return {"layer": self.neuron.layer, "neuron": self.neuron.index,
                "head_layer": self.head.layer, "head": self.head.index}  # fmt: skip


@dataclass(frozen=True)
class _Answer:
    """What an explainer made of a pair; verdicts are those of the pair's test prompts, in order."""

    pair: _Pair
    explainer: str
    explanation: Explanation | ExplainerFailure
    verdicts: list[Verdict | ExplainerFailure]

    @property
    def active(self) -> np.ndarray:
        return np.array([active for _, _, active in self.pair.test], dtype=bool)

    @property
    def judged(self) -> np.ndarray:
        return np.array([isinstance(v, Verdict) for v in self.verdicts], dtype=bool)

    @property
    def predicted(self) -> np.ndarray:
        return np.array([isinstance(v, Verdict) and v.predicted for v in self.verdicts], dtype=bool)


def _pairs(job: Job, tokens: dict[NeuronId, int], kept: Tables, found: Tables) -> list[_Pair]:
    """The studied pairs of a shard, by neuron in the shard's order, then by head."""
    prompts = prompts_of(kept["prompts"])
    texts = job.model.token_texts
    probability = found["prompt_facts"].column("probability").to_pylist()
    examples = [
        (p, Example(tuple(texts[i] for i in p.kept_ids), probability[p.row])) for p in prompts
    ]
    active = {(r["prompt"], r["head_layer"], r["head"]) for r in found["active_heads"].to_pylist()}
    pairs = []
    for row in found["head_activity"].to_pylist():
        if not row["studied"] or row["split"] != "train":
            continue
        neuron, head = NeuronId(row["layer"], row["neuron"]), HeadId(row["head_layer"], row["head"])
        mine = [
            (p, e, (p.row, head.layer, head.index) in active)
            for p, e in examples
            if p.neuron == neuron
        ]
        train = [(e, is_active) for p, e, is_active in mine if p.split == "train"]
        test = [found for found in mine if found[0].split == "test"]
        pairs.append(_Pair(neuron, head, texts[tokens[neuron]], train, test))
    return pairs


async def _ask(explainer: Explainer, pair: _Pair, advance: Callable[[], None]) -> _Answer:
    active = [example for example, is_active in pair.train if is_active]
    inactive = [example for example, is_active in pair.train if not is_active]
    verdicts: list[Verdict | ExplainerFailure] = []
    explanation: Explanation | ExplainerFailure
    try:
        explanation = await explainer.explain(pair.token, active, inactive)
        verdicts = await explainer.classify(pair.token, explanation, [e for _, e, _ in pair.test])
        assert len(verdicts) == len(pair.test)
    except ExplainerFailure as failure:
        explanation = failure
    advance()
    return _Answer(pair, explainer.name, explanation, verdicts)


async def _ask_all(
    explainers: Sequence[Explainer], pairs: Sequence[_Pair], advance: Callable[[], None]
) -> list[_Answer]:
    """Every explainer on every pair, all pairs at once; explainers in turn, since the offline one
    computes and would let the other's replies wait."""
    answers: list[_Answer] = []
    for explainer in explainers:
        answers += await asyncio.gather(*(_ask(explainer, pair, advance) for pair in pairs))
    return answers


def generator_of(
    seed: int, neuron: NeuronId, head: HeadId, explainer: str, purpose: str
) -> np.random.Generator:
    """Random numbers that depend on what they are for and not on the order of work."""
    words = [zlib.crc32(text.encode()) for text in (explainer, purpose)]
    return np.random.default_rng([seed, neuron.layer, neuron.index, head.layer, head.index, *words])


def _score_row(answer: _Answer, seed: int) -> dict[str, Any]:
    pair, judged = answer.pair, answer.judged
    counts = Confusion.of(answer.active[judged], answer.predicted[judged])
    generator = generator_of(seed, pair.neuron, pair.head, answer.explainer, "bootstrap")
    low, high = bootstrap_interval(counts, generator) or (None, None)
    return {
        "tp": counts.tp, "fp": counts.fp, "tn": counts.tn, "fn": counts.fn,
        "n_missing": int((~judged).sum()), "score": counts.balanced_accuracy,
        "ci_low": low, "ci_high": high,
    }  # fmt: skip


def _null_rows(answer: _Answer, others: Sequence[_Answer], seed: int) -> list[dict[str, Any]]:
    """A row for each kind, its score NULL where there is nothing to hold against. `others` are the
    same explainer's answers for the neuron's other studied heads."""
    pair, judged = answer.pair, answer.judged
    generator = generator_of(seed, pair.neuron, pair.head, answer.explainer, "shuffle")
    shape = (len(others), len(pair.test))
    nulls = {
        "other-head": other_head_null(
            answer.active,
            judged,
            np.array([other.predicted for other in others], dtype=bool).reshape(shape),
            np.array([other.judged for other in others], dtype=bool).reshape(shape),
        ),
        "shuffle": shuffle_null(answer.active[judged], answer.predicted[judged], generator),
    }
    return [
        {"null_kind": kind, "score": null.score, "p_value": null.p_value}
        for kind, null in nulls.items()
    ]


def _failure_rows(answer: _Answer) -> list[dict[str, Any]]:
    """A row for an explanation that failed, or for each verdict that did, by the prompt's rank."""
    subject = f"{answer.explainer} {answer.pair.neuron} {answer.pair.head}"
    failed: list[tuple[str, ExplainerFailure]] = []
    if isinstance(answer.explanation, ExplainerFailure):
        failed.append((subject, answer.explanation))
    for rank, verdict in enumerate(answer.verdicts, 1):
        if isinstance(verdict, ExplainerFailure):
            failed.append((f"{subject} test prompt {rank}", verdict))
    return [
        {"stage": "explanations", "subject": about, "reason": _reason(why)} for about, why in failed
    ]


def _reason(failure: ExplainerFailure) -> str:
    return " ".join(str(failure).split())[:_MAX_REASON]


def _tables(answers: Sequence[_Answer], seed: int) -> Tables:
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES}
    explained = [a for a in answers if isinstance(a.explanation, Explanation)]
    for answer in answers:
        rows["failures"] += _failure_rows(answer)
        if not isinstance(answer.explanation, Explanation):
            continue
        pair, said = answer.pair, answer.explanation
        ids = {**pair.columns, "explainer": answer.explainer}
        rows["explanations"].append({
            **ids, "text": said.text, "rule": said.rule, "request": said.request,
            "reply": said.reply,
        })  # fmt: skip
        rows["classifications"] += [
            {**ids, "prompt": prompt.row, "active": active, "predicted": v.predicted,
             "reply": v.reply}
            for (prompt, _, active), v in zip(pair.test, answer.verdicts, strict=True)
            if isinstance(v, Verdict)
        ]  # fmt: skip
        rows["head_scores"].append({**ids, **_score_row(answer, seed)})
        others = [
            a for a in explained
            if a.pair.neuron == pair.neuron and a.pair.head != pair.head
            and a.explainer == answer.explainer
        ]  # fmt: skip
        rows["score_nulls"] += [{**ids, **null} for null in _null_rows(answer, others, seed)]
    return {name: pa.Table.from_pylist(rows[name], _schema(name)) for name in TABLES}


def _schema(table: str) -> pa.Schema:
    """As the store has it, with the prompt's row in its shard for its id."""
    return pa.schema(
        [f.with_name("prompt") if f.name == "prompt_id" else f for f in arrow_schema(table)]
    )


def n_failures(shards: Sequence[Tables]) -> int:
    """Explanations and verdicts that could not be had."""
    return sum(shard["failures"].num_rows for shard in shards if "failures" in shard)


def _kept(job: Job, folder: ShardFolder, name: str) -> Tables | None:
    """A shard from before, unless it has failures and the person asks again."""
    found = folder.load(name)
    if found is not None and job.config.force and n_failures([found]):
        folder.n_reused -= 1
        return None
    return found


def _warn(job: Job, results: Sequence[Tables]) -> None:
    scores = [shard["head_scores"] for shard in results]
    job.warn(
        "explained pairs of neuron and head without a score (their test prompts lack a class)",
        sum(table.column("score").null_count for table in scores),
    )
    job.warn("explanations or verdicts that failed (see table failures)", n_failures(results))


def _say_estimate(job: Job, explainers: Sequence[Explainer], pairs: Sequence[_Pair]) -> None:
    lengths = [len(e.text) for pair in pairs for e, _ in pair.train]
    n_verdicts = sum(len(pair.test) for pair in pairs)
    for explainer in explainers:
        line = explainer.estimate(len(pairs), n_verdicts, float(np.mean(lengths or [0])))
        if line:
            job.display.say(line)


def run(
    job: Job, studied: list[StudiedNeuron], prompts: list[Tables], heads: list[Tables]
) -> list[Tables]:
    """Explain and score every studied pair; one shard for each shard of prompts."""
    explainers = explainers_of(job)
    tokens = {n.id: n.token_id for n in studied}
    shards = [_pairs(job, tokens, *tables) for tables in zip(prompts, heads, strict=True)]
    pairs = [pair for shard in shards for pair in shard]
    if not explainers:
        with job.display.stage("explanations", 0):
            return [{} for _ in prompts]
    folder = job.shards(
        "explanations",
        heads=next(f.path.name for f in job.folders if f.path.name.startswith("heads-")),
        tokens=[n.token_id for n in studied],
        explainers=[(explainer.name, dict(explainer.identity)) for explainer in explainers],
        seed=job.config.seed,
    )
    results: list[Tables] = []
    with job.display.stage("explanations", len(pairs) * len(explainers)) as progress:
        _say_estimate(job, explainers, pairs)
        for index, shard in enumerate(shards):
            name = f"shard-{index:06d}"
            found = _kept(job, folder, name)
            if found is None:
                answers = run_to_end(_ask_all(explainers, shard, progress.advance))
                found = _tables(answers, job.config.seed)
                folder.save(name, found)
            else:
                progress.advance(len(shard) * len(explainers))
            results.append(found)
        for line in filter(None, (explainer.spent() for explainer in explainers)):
            job.display.say(line)
    _warn(job, results)
    return results
