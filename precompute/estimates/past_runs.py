"""Runs that were made, as a forecast learns from them: what they were asked, what they found, how long
each stage took and on what machine. Read from the stores in a folder; nothing is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from explorer.core.errors import CallError, StoreError, first_line
from explorer.core.store import Store
from explorer.core.types import ActiveRule, ModelShape, NeuronId
from precompute.config import JobConfig
from precompute.estimates.workload import CorpusSize, Habits, RunSize, run_size

_MOST_RUNS = 24
"""Newest runs of a folder that are read; the rest would slow a plan down."""

_HABITS = """
WITH kept AS (SELECT prompt_id, layer, neuron, len(token_ids) AS whole, len(token_ids) - start AS n
              FROM prompts),
     tried AS (SELECT whole - s AS n FROM (
                   SELECT prompt_id, unnest(starts) AS s FROM truncation_curves)
               JOIN kept USING (prompt_id) WHERE s > 0)
SELECT (SELECT count(*) FROM kept) AS n_prompts,
       (SELECT avg(whole) FROM kept) AS whole_tokens,
       (SELECT avg(n) FROM kept) AS kept_tokens,
       (SELECT count(*) FROM tried) AS n_tried,
       (SELECT avg(n) FROM tried) AS tried_tokens,
       (SELECT count(DISTINCT prompt_id) FROM active_heads) AS n_active,
       (SELECT avg(studied::INTEGER) FROM head_activity WHERE split = 'train') AS studied
"""
_REPEATS = "repeated texts passed over"
_DROPPED = "prompts dropped: no suffix keeps enough"
"""The manifest's names for candidates that were searched and not kept."""


@dataclass(frozen=True)
class Machine:
    """Where a run was made; empty where its manifest does not say."""

    device: str
    """`cpu` or `cuda`."""
    name: str = ""
    threads: int = 0
    workers: int = 1


@dataclass(frozen=True)
class PastRun:
    """One published run."""

    run_id: str
    size: RunSize
    """What its options asked for, on the text that it read."""
    habits: Habits
    seconds: Mapping[str, float]
    """By stage, earlier calls of the same run included."""
    machine: Machine


def config_of(manifest: Mapping[str, Any]) -> JobConfig:
    """The options that a manifest records. Raises CallError or ValueError where they are none."""
    values = {f.name: manifest[f.name] for f in fields(JobConfig) if f.name in manifest}
    values["tokens"] = tuple(values.get("tokens") or ())
    values["neurons"] = tuple(NeuronId.parse(text) for text in values.get("neurons") or ())
    values["active_rule"] = ActiveRule.parse(values.get("active_rule", "mean+2sd"))
    values["out"] = Path(str(values.get("out", "runs")))
    return JobConfig(**values)


_PARTS = {"survey": "loading", "load": "loading"}
"""Steps of a manifest that are one stage here."""


def _seconds(manifest: Mapping[str, Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for key in ("seconds", "seconds_earlier"):
        for step, seconds in (manifest.get(key) or {}).items():
            stage = _PARTS.get(str(step), str(step))
            found[stage] = found.get(stage, 0.0) + float(seconds)
    return found


def _habits(store: Store, size: RunSize) -> Habits | None:
    """What the run found; None where it kept no prompt."""
    row = store.sql(_HABITS).iloc[0]
    kept = int(row["n_prompts"])
    if not kept or not int(row["n_tried"]):
        return None
    warned = store.manifest.get("warnings") or {}
    tokens = float(row["kept_tokens"])
    longest = min(size.max_prompt_tokens, float(row["whole_tokens"]))
    # Searches by how they ended: (how many, suffixes of each, their length). A repeat was searched to the
    # length of what it repeats, one without any suffix that keeps enough to the end.
    searches = (
        (float(row["n_tried"]), 1.0, float(row["tried_tokens"])),
        (float(warned.get(_REPEATS, 0)), tokens, (tokens + 1) / 2),
        (float(warned.get(_DROPPED, 0)), longest, (longest + 1) / 2),
    )
    suffixes = sum(n * each for n, each, _ in searches)
    return Habits(
        kept_tokens=tokens,
        evaluations=suffixes / kept,
        evaluated_tokens=sum(n * each * length for n, each, length in searches) / suffixes,
        found=kept / max(1, size.hypothetical_prompts),
        with_active=int(row["n_active"]) / kept,
        studied=float(row["studied"] or 0.0),
    )


def _knows_training(store: Store) -> bool:
    """Whether the tasks were asked over words and templates seen and unseen in training."""
    query = "SELECT count(*) AS n FROM task_results WHERE condition <> 'training unknown'"
    return bool(store.sql(query)["n"].item())


def read_run(path: Path) -> PastRun | None:
    """A store as a past run; None where it is too old or too empty to learn from."""
    with Store.open(path) as store:
        facts = store.manifest
        told = facts.get("machine") or {}
        corpora = {
            split: CorpusSize(float(facts["documents"][split]), float(facts["tokens_read"][split]))
            for split in facts["documents"]
        }
        shape = ModelShape(**{name: facts[name] for name in ModelShape.__dataclass_fields__})
        device = str(told.get("device") or facts.get("device_used", "cpu")).split(":")[0]
        size = run_size(config_of(facts), shape, corpora, device, _knows_training(store))
        habits = _habits(store, size)
    seconds = _seconds(facts)
    if habits is None or not seconds:
        return None
    return PastRun(
        path.stem, size, habits, seconds,
        Machine(device, str(told.get("device_name", "")), int(told.get("threads", 0)),
                int(facts.get("workers") or 1)),
    )  # fmt: skip


def past_runs(folder: Path, most: int = _MOST_RUNS) -> tuple[list[PastRun], list[str]]:
    """The newest runs of a folder, at most so many, and a line for each store that cannot be learned from."""
    paths = sorted(folder.glob("*.duckdb"), key=lambda p: p.stat().st_mtime, reverse=True)
    runs: list[PastRun] = []
    left_out: list[str] = []
    for path in paths[:most]:
        try:
            run = read_run(path)
        except (StoreError, CallError, KeyError, TypeError, ValueError, AttributeError) as error:
            reason = first_line(error, 160)
            left_out.append(f"{path.name}: {reason}")
            continue
        if run is None:
            left_out.append(f"{path.name}: it kept no prompts or tells no times")
        else:
            runs.append(run)
    return runs, left_out
