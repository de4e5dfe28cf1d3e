"""`python -m precompute plan`: time, memory, disk and cost of a run before it is made, and how far such
forecasts were off on runs that were made."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from explorer.core.errors import CallError
from explorer.core.task_seen import SEEN_FILE
from explorer.core.types import ModelShape
from precompute.arguments import Parser, check_texts, config_from
from precompute.config import JobConfig
from precompute.estimates.corpus_sample import sample
from precompute.estimates.forecast import forecast, trials
from precompute.estimates.past_runs import PastRun, past_runs
from precompute.estimates.rates import MEASURED, corrected, usual_habits
from precompute.estimates.report import Plan, as_json, as_text
from precompute.estimates.room import room_needed
from precompute.estimates.shapes import config_path, parse_shape, shape_of_model
from precompute.estimates.workload import REFERENCE_HABITS, CorpusSize, RunSize, run_size

_EXAMPLES = """\
examples:
  GPT-2 XL over ten million documents, shared by 64 workers:
    python -m precompute plan --model-shape gpt2-xl --documents 10000000 --workers 64
  the bundled model on its own text:
    python -m precompute plan --model assets/demo/model --corpus assets/demo/corpus/train.jsonl \\
        --preset demo
All options of the job are taken as well (python -m precompute --help): --layers, --prompts, --device ...
"""
_USUAL_TOKENS = 300.0
"""Tokens of a document where nothing else is known: a short web page."""


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m precompute plan",
        description="Time, memory, disk, worker-hours and cost of a run, without loading anything; and "
        "how far such forecasts were off on the runs in a folder.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--model", metavar="DIR_OR_NAME", help="sizes are read from its configuration alone")
    add(
        "--model-shape",
        metavar="NAME | layers=12,heads=12,...",
        help="or the sizes by name (gpt2-xl, pythia-1.4b) or one by one",
    )
    add("--corpus", metavar="FILE", help="its size is judged by its beginning")
    add("--test-corpus", metavar="FILE", help="likewise")
    add("--documents", type=int, metavar="N", help="instead: documents in all")
    add(
        "--tokens-per-document",
        type=float,
        metavar="N",
        help="instead of measuring it (default without --corpus: 300)",
    )
    add("--workers", type=int, metavar="N", help="machines that share the work (default: 1)")
    add("--price-hour", type=float, metavar="USD", help="of one worker, to tell the cost")
    add("--runs", metavar="DIR", default="runs", help="stores to learn from (default: runs)")
    add("--json", action="store_true", help="the same as JSON")
    return parser


def _check(given: argparse.Namespace) -> None:
    for name in ("documents", "tokens_per_document", "workers", "price_hour"):
        value = getattr(given, name)
        least = 0 if name == "price_hour" else 1
        if value is not None and not least <= value <= 1e15:
            raise CallError(f"--{name.replace('_', '-')} must be {least} or more, got {value:g}")
    if (given.model is None) == (given.model_shape is None):
        raise CallError("give --model or --model-shape, one of them")
    if given.corpus is None and given.documents is None:
        raise CallError("give --corpus FILE, or --documents N")


def _corpora(given: argparse.Namespace) -> tuple[dict[str, CorpusSize], list[str]]:
    """Text by split, and what had to be assumed of it."""
    notes: list[str] = []
    sizes = []
    for source in (given.corpus, given.test_corpus):
        if source is None:
            continue
        found = sample(source, given.model)
        if not found.is_tokenised:
            notes.append(f"tokens of {source}: English text assumed, no tokenizer at hand")
        if not found.is_whole:
            notes.append(f"documents of {source}: judged by its first ones and its size on disk")
        sizes.append(found.size)
    length = given.tokens_per_document
    if length is None and sizes:
        length = sum(s.tokens for s in sizes) / max(1.0, sum(s.documents for s in sizes))
    if length is None:
        length = _USUAL_TOKENS
        notes.append(f"tokens in a document: {length:.0f} assumed; say otherwise with "
                     "--tokens-per-document")  # fmt: skip
    if given.documents is not None or len(sizes) < 2:
        total = given.documents if given.documents is not None else sizes[0].documents
        half = math.ceil(total / 2), total // 2
        return {
            split: CorpusSize(n, n * length)
            for split, n in zip(("train", "test"), half, strict=True)
        }, notes
    return {
        split: CorpusSize(s.documents, s.documents * length) if given.tokens_per_document else s
        for split, s in zip(("train", "test"), sizes, strict=True)
    }, notes


def _device(config: JobConfig) -> str:
    """The device asked for; `auto` is what this machine has, told without loading torch."""
    if config.device != "auto":
        return config.device
    return "cuda" if Path("/dev/nvidia0").exists() else "cpu"


def _config(given: argparse.Namespace, rest: Sequence[str]) -> JobConfig:
    """The job's own options, checked as the job checks them; without `--workers`, which is the plan's."""
    words = ["--model", given.model or given.model_shape, "--corpus", given.corpus or "text", *rest]
    if given.test_corpus is not None:
        words += ["--test-corpus", given.test_corpus]
    return config_from(words)


def make_plan(argv: Sequence[str]) -> tuple[Plan, bool]:
    """The plan that a command line asks for, and whether as JSON. Raises CallError."""
    check_texts(list(argv))
    given, rest = _parser().parse_known_args(list(argv))
    _check(given)
    config = _config(given, rest)
    shape = _shape(given)
    corpora, notes = _corpora(given)
    device = _device(config)
    path = config_path(given.model) if given.model else None
    known = path is not None and (path.parent / SEEN_FILE).is_file()
    size = run_size(config, shape, corpora, device, known)
    runs, left_out = past_runs(Path(given.runs))
    notes += [f"not learned from: {line}" for line in left_out]
    return _plan(size, runs, tuple(notes), device, given.workers or 1, given.price_hour), given.json


def _shape(given: argparse.Namespace) -> ModelShape:
    return parse_shape(given.model_shape) if given.model_shape else shape_of_model(given.model)


def _plan(
    size: RunSize, runs: list[PastRun], notes: tuple[str, ...], device: str, workers: int,
    price_hour: float | None,
) -> Plan:  # fmt: skip
    same = [run for run in runs if run.size.shape == size.shape]
    habits = usual_habits(same or runs) or REFERENCE_HABITS
    if not same:
        notes += ("how prompts and heads turn out: taken from other models' runs",)
    table = MEASURED.get(device)
    rates = corrected(table, runs) if table else None
    return Plan(
        size=size, habits=habits, notes=notes, workers=workers, device=device, rates=rates,
        forecast=forecast(size, habits, rates, workers) if rates else None,
        room=room_needed(size, habits, device, workers),
        price_hour=price_hour,
        trials=tuple(trials(table, runs)) if table else (),
    )  # fmt: skip


def run(argv: list[str]) -> int:
    """Print the plan. Mistakes in the call are raised as CallError."""
    plan, is_json = make_plan(argv)
    text = json.dumps(as_json(plan), indent=2) + "\n" if is_json else as_text(plan)
    sys.stdout.write(text)
    return 0
