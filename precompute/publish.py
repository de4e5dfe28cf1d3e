"""Stage 5: join the shards, write the store beside its final place, and publish it by a rename."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pyarrow as pa

from explorer.core.model import library_versions
from explorer.core.runs import short_name
from explorer.core.schema import SCHEMA_VERSION, write_store
from precompute.checkpoint import Tables
from precompute.config import parse_layers
from precompute.job import Job, StudiedNeuron
from precompute.stages.neurons import CongruenceTables
from precompute.stages.scan import ScanResult


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
    """A shard's rows with the local `prompt` index turned into `prompt_id`."""
    ids = pa.array([first + i for i in table.column("prompt").to_pylist()], pa.int32())
    return table.set_column(0, "prompt_id", ids)


def _joined(parts: list[pa.Table]) -> pa.Table:
    return pa.concat_tables(parts)


def prompt_tables(prompts: list[Tables], heads: list[Tables]) -> Tables:
    """The tables that hang on prompts, with ids that count over all shards."""
    joined: dict[str, list[pa.Table]] = {}
    first = 0
    for kept, found in zip(prompts, heads, strict=True):
        rows = kept["prompts"]
        for name in found["prompt_facts"].column_names:
            rows = rows.append_column(name, found["prompt_facts"].column(name))
        shard = {
            "prompts": _with_ids(rows, first),
            "truncation_curves": _with_ids(kept["truncation_curves"], first),
            "head_attributions": _with_ids(found["head_attributions"], first),
            "active_heads": _shifted(found["active_heads"], first),
            "head_attention": _shifted(found["head_attention"], first),
            "head_activity": found["head_activity"],
        }
        for name, table in shard.items():
            joined.setdefault(name, []).append(table)
        first += rows.num_rows
    return {name: _joined(parts) for name, parts in joined.items()}


def studied_table(studied: list[StudiedNeuron]) -> pa.Table:
    return pa.table({
        "layer": pa.array([n.id.layer for n in studied], pa.int32()),
        "neuron": pa.array([n.id.index for n in studied], pa.int32()),
        "token_id": pa.array([n.token_id for n in studied], pa.int32()),
        "congruence": pa.array([n.congruence for n in studied], pa.float32()),
        "kind": pa.array([n.kind for n in studied], pa.string()),
    })  # fmt: skip


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
        "seconds": {name: round(s, 3) for name, s in job.display.clock.seconds.items()},
    }


def free_path(out: Path, name: str) -> Path:
    """`name.duckdb`, or `name-2.duckdb` and so on: a published store is never written again."""
    candidates = (out / f"{name}{'' if n == 1 else f'-{n}'}.duckdb" for n in range(1, 1_000_000))
    return next(path for path in candidates if not path.exists())


def run(
    job: Job,
    rankings: CongruenceTables,
    studied: list[StudiedNeuron],
    scan: ScanResult,
    prompts: list[Tables],
    heads: list[Tables],
    begin: datetime,
    name: str,
) -> tuple[Path, dict[str, int]]:
    """Write everything to a new file and rename it into place; return its path and rows per table."""
    texts = job.model.token_texts
    target = free_path(job.config.out, name)
    with job.display.stage("publish", 1) as progress:
        tables = {
            "tokens": pa.table(
                {"token_id": pa.array(range(len(texts)), pa.int32()), "text": texts}
            ),
            "studied_neurons": studied_table(studied),
            **rankings.tables([i for i, text in enumerate(texts) if text]),
            **prompt_tables(prompts, heads),
        }
        unfinished = job.work / "store.partial"
        unfinished.unlink(missing_ok=True)
        facts = manifest(job, scan, begin, target.stem)
        tables["manifest"] = pa.table({
            "key": list(facts), "value": [json.dumps(v, ensure_ascii=False) for v in facts.values()]
        })  # fmt: skip
        rows = write_store(unfinished, tables)
        unfinished.rename(target)
        progress.advance()
    return target, rows
