"""Stage 5: join the shards, write the store beside its final place, and publish it by a rename."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from explorer.core.model import LanguageModel, library_versions
from explorer.core.runs import short_name
from explorer.core.schema import SCHEMA_VERSION, write_manifest, write_store
from explorer.core.seals import MANIFEST_SEAL, seal_of_facts, seals
from precompute.checkpoint import Tables
from precompute.config import parse_layers
from precompute.job import Job, StudiedNeuron
from precompute.stages.neurons import CongruenceTables
from precompute.stages.scan import ScanResult


@dataclass(frozen=True)
class Shards:
    """What the stages made, shard by shard of prompts; `others` are tables named as in the store,
    with the prompt's row in its shard as `prompt` where the store has `prompt_id`."""

    prompts: list[Tables]
    heads: list[Tables]
    others: tuple[list[Tables], ...] = ()
    whole_model: Tables = field(default_factory=dict)
    """Tables of the whole model, as the store has them."""


def code_version() -> str:
    try:
        return version("next-token-explorer")
    except PackageNotFoundError:
        return "not installed"


def _with_ids(table: pa.Table, first: int) -> pa.Table:
    """A shard's rows, one a prompt, with `prompt_id` counting on from `first`."""
    ids = pa.array(range(first, first + table.num_rows), pa.int32())
    return table.add_column(0, "prompt_id", ids)


def _shifted(table: pa.Table, first: int) -> pa.Table:
    """A shard's rows with the local `prompt` index, where there is one, turned into `prompt_id`."""
    at = table.schema.get_field_index("prompt")
    if at < 0:
        return table
    ids = table.column(at).to_numpy() + first
    return table.set_column(at, "prompt_id", pa.array(ids, pa.int32()))


def prompt_tables(shards: Shards) -> Tables:
    """The tables that hang on prompts, with ids that count over all shards."""
    joined: dict[str, list[pa.Table]] = {}
    first = 0
    for kept, found, *others in zip(shards.prompts, shards.heads, *shards.others, strict=True):
        rows = kept["prompts"]
        for name in found["prompt_facts"].column_names:
            rows = rows.append_column(name, found["prompt_facts"].column(name))
        shard = {
            "prompts": _with_ids(rows, first),
            "truncation_curves": _with_ids(kept["truncation_curves"], first),
            "head_attributions": _with_ids(found["head_attributions"], first),
            **{name: _shifted(found[name], first)
               for name in ("active_heads", "head_attention", "head_activity")},
        }  # fmt: skip
        for name, table in shard.items():
            joined.setdefault(name, []).append(table)
        for tables in others:
            for name, table in tables.items():
                joined.setdefault(name, []).append(_shifted(table, first))
        first += rows.num_rows
    return {name: pa.concat_tables(parts) for name, parts in joined.items()}


def studied_table(studied: list[StudiedNeuron]) -> pa.Table:
    return pa.table({
        "layer": pa.array([n.id.layer for n in studied], pa.int32()),
        "neuron": pa.array([n.id.index for n in studied], pa.int32()),
        "token_id": pa.array([n.token_id for n in studied], pa.int32()),
        "congruence": pa.array([n.congruence for n in studied], pa.float32()),
        "kind": pa.array([n.kind for n in studied], pa.string()),
    })  # fmt: skip


def machine(model: LanguageModel) -> dict[str, Any]:
    """What the seconds were measured on: numbers of processors and threads, the device's name."""
    on_gpu = model.device.type == "cuda"
    return {
        "cpu_count": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": model.device.type,
        "device_name": torch.cuda.get_device_name(model.device) if on_gpu else _processor(),
        "platform": platform.platform(),
    }


def _processor() -> str:
    """The processor's name as Linux tells it, else the kind of machine."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.machine()


def manifest(job: Job, scan: ScanResult, begin: datetime, run_id: str) -> dict[str, Any]:
    """Every fact a reader needs to judge or repeat the run; values are JSON."""
    config, model = job.config, job.model
    surveys = {s.split: s.source.survey for s in job.sources}
    return {
        **config.options(),
        "model_name": model.name,
        "revision": model.revision,
        "weights_sha256": model.weights_sha256,
        "weight_processing": "layer norms folded, writing and reading weights centred, value biases "
        "folded, unembedding centred over d_model and vocabulary",
        **{name: getattr(model.shape, name) for name in model.shape.__dataclass_fields__},
        "blocks": "parallel" if model.shape.parallel_blocks else "sequential",
        "studied_layers": list(parse_layers(config.layers, model.shape.n_layers)),
        "corpus_name": short_name(config.corpus),
        "corpus_sha256": {split: survey.sha256 for split, survey in surveys.items()},
        "documents": scan.n_documents,
        "tokens_read": scan.n_tokens,
        "warnings": dict(job.warnings),
        "device_used": str(model.device),
        "schema_version": SCHEMA_VERSION,
        "code_version": code_version(),
        "library_versions": library_versions(),
        "run_id": run_id,
        "start": begin.isoformat(timespec="milliseconds"),
        "end": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "machine": machine(model),
        **job.facts,
    }


def _rounded(seconds: dict[str, float]) -> dict[str, float]:
    return {name: round(s, 3) for name, s in seconds.items()}


def free_path(out: Path, name: str) -> Path:
    """`name.duckdb`, or `name-2.duckdb` and so on: a published store is never written again."""
    candidates = (out / f"{name}{'' if n == 1 else f'-{n}'}.duckdb" for n in range(1, 1_000_000))
    return next(path for path in candidates if not path.exists())


def run(
    job: Job,
    rankings: CongruenceTables,
    studied: list[StudiedNeuron],
    scan: ScanResult,
    shards: Shards,
    begin: datetime,
    name: str,
) -> tuple[Path, dict[str, int]]:
    """Write everything to a new file and rename it into place; return its path and rows per table."""
    texts = job.model.token_texts
    target = free_path(job.config.out, name)
    clock = job.display.clock
    with job.display.stage("publish", 1) as progress:
        tables = {
            "tokens": pa.table(
                {"token_id": pa.array(range(len(texts)), pa.int32()), "text": texts}
            ),
            "studied_neurons": studied_table(studied),
            **rankings.tables([i for i, text in enumerate(texts) if text]),
            **prompt_tables(shards),
            **shards.whole_model,
        }
        unfinished = job.work / "store.partial"
        unfinished.unlink(missing_ok=True)
        rows = write_store(unfinished, tables)
        facts = {
            **manifest(job, scan, begin, target.stem),
            **seals(tables),
            "seconds": _rounded({**clock.seconds, "publish": time.monotonic() - progress.begin}),
            "seconds_earlier": _rounded(clock.earlier),
        }
        rows["manifest"] = write_manifest(
            unfinished, {**facts, MANIFEST_SEAL: seal_of_facts(facts)}
        )
        unfinished.rename(target)
        progress.advance()
    clock.forget()
    return target, rows
