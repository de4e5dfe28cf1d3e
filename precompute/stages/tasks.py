"""Stage 8: tasks. How often the model finds the other name, and the item left of a list, as it is.

One shard a template: its prompts, over kinds of words and lengths, are made anew at each call and put to
the model in batches that they alone decide. Top-1 over the vocabulary stands beside each task under a name
of its own, `<task> top-1`, whose chance is one token in the vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from explorer.core.errors import UnsupportedModelError
from explorer.core.model_blocks import Blocks
from explorer.core.schema import arrow_schema
from explorer.core.task_runs import Tally, run_tasks, tallies
from explorer.core.task_seen import read_seen
from explorer.core.tasks import (
    NAME_INHIBITION,
    SHORTEST_LIST,
    TOP1,
    TaskMaker,
    TaskPrompt,
)
from explorer.core.types import ModelShape
from precompute.checkpoint import Tables
from precompute.config import parse_tasks
from precompute.job import Job

_TOO_FEW = "task templates left out (too few of their words are single tokens)"
_TOO_LONG = "task templates left out (the context is too short)"


@dataclass(frozen=True)
class Plan:
    """How many prompts are made; fewer for models whose runs are dear."""

    short_lists: tuple[int, ...]
    """Lengths asked of every template."""
    long_lists: tuple[int, ...]
    """Lengths asked of the first template of each kind alone; the last is cut to what fits."""
    n_templates: int
    """Templates of each kind, seen and unseen, at most."""
    prompts_a_length: int
    """Least prompts for each template and length; each place of the answer equally often."""
    names_a_order: int
    """Name-inhibition prompts for each template and order of the names."""


FULL = Plan((2, 3, 4, 5, 6, 7, 8), (10, 14, 20), 10, 6, 10)
BOUNDED = Plan((2, 3, 4, 5, 6, 8), (10, 14, 20), 2, 4, 16)
_DEAR = 150_000_000
"""Weights in the blocks above which the bounded plan is taken: from GPT-2 medium on."""


def plan_for(shape: ModelShape) -> Plan:
    per_layer = 4 * shape.d_model * shape.n_heads * shape.d_head + 2 * shape.d_model * shape.d_mlp
    return BOUNDED if shape.n_layers * per_layer > _DEAR else FULL


@dataclass(frozen=True)
class _Material:
    """A template with the kinds of words that fill it."""

    task: str
    template: str
    is_first: bool
    """Of its kind: long lists are asked of it as well."""


def _materials(maker: TaskMaker, tasks: tuple[str, ...], plan: Plan) -> Iterator[_Material]:
    kinds = (None,) if maker.seen is None else (True, False)
    for task in tasks:
        for seen in kinds:
            for index, text in enumerate(maker.templates(task, seen)[: plan.n_templates]):
                yield _Material(task, text, index == 0)


def lengths(plan: Plan, longest: int, is_first: bool) -> list[int]:
    """Lengths of lists to try where `longest` is the most that fits: beyond the short ones, the long
    ones that fit, and the longest itself in the place of the first that does not."""
    found = [n for n in plan.short_lists if n <= longest]
    if is_first:
        found += [n for n in plan.long_lists if n <= longest]
        if found and found[-1] < longest < plan.long_lists[-1]:
            found.append(longest)
    return found


def _prompts(
    job: Job, maker: TaskMaker, material: _Material, plan: Plan
) -> tuple[list[TaskPrompt], int, int]:
    """A template's prompts over kinds of words, and how many kinds lack words or do not fit."""
    found: list[TaskPrompt] = []
    n_few = n_long = 0
    for words in maker.kinds:
        if not maker.has_words(material.task, material.template, words):
            n_few += 1
        elif material.task == NAME_INHIBITION:
            if maker.names_fit(material.template, words):
                found += maker.names(
                    material.template, plan.names_a_order, words=words, seed=job.config.seed
                )
            else:
                n_long += 1
        else:
            longest = maker.longest_list(material.template, words)
            n_long += longest < SHORTEST_LIST
            for n in lengths(plan, longest, material.is_first):
                repeats = -(-plan.prompts_a_length // n)
                found += maker.lists(
                    material.template, n, repeats, words=words, seed=job.config.seed
                )
    return found, n_few, n_long


def _table(rows: list[Tally], d_vocab: int) -> pa.Table:
    """Two rows a tally: right, and top-1 under a task of its own."""
    records = []
    for row in rows:
        own = {
            "template": row.template, "condition": str(row.condition), "n": row.n,
            "position": row.position, "n_prompts": row.n_prompts,
        }  # fmt: skip
        records.append({"task": row.task, **own, "n_right": row.n_right, "chance": row.chance})
        records.append(
            {"task": row.task + TOP1, **own, "n_right": row.n_top1, "chance": 1 / d_vocab}
        )
    return pa.Table.from_pylist(records, schema=arrow_schema("task_results"))


def run(job: Job) -> Tables:
    """The table `task_results`; empty where it was not asked for or no prompt can be made."""
    tasks, model = parse_tasks(job.config.tasks), job.model
    plan, found = plan_for(model.shape), []
    maker = TaskMaker(
        model.tokenizer.encode_all, model.max_prompt_tokens, read_seen(Path(model.source))
    )
    made = [_prompts(job, maker, m, plan) for m in _materials(maker, tasks, plan)]
    job.warn(_TOO_FEW, sum(few for _, few, _ in made))
    job.warn(_TOO_LONG, sum(long for _, _, long in made))
    prompts = [template for template, _, _ in made if template]
    asked = [
        [(p.token_ids, p.candidates, p.position, str(p.condition)) for p in t] for t in prompts
    ]
    folder = (
        job.shards("tasks", prompts=asked, batch_tokens=job.worker.batch_tokens) if asked else None
    )
    blocks: Blocks | None = None
    with job.display.stage("tasks", sum(map(len, prompts))) as progress:
        for index, template in enumerate(prompts):
            assert folder is not None
            tables = folder.load(f"template-{index:03d}")
            if tables is None:
                try:
                    blocks = blocks or Blocks(model)
                except UnsupportedModelError as error:
                    job.warn(f"tasks left out ({error})")
                    break
                with model.lock:
                    judged = run_tasks(blocks, template, job.worker.batch_tokens)
                rows = tallies(template, judged)
                tables = {"task_results": _table(rows, model.shape.d_vocab)}
                folder.save(f"template-{index:03d}", tables)
            found.append(tables["task_results"])
            progress.advance(len(template))
    return {"task_results": pa.concat_tables(found)} if found else {}
