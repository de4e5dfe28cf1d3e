"""Before the first stage: read the corpora once, name the run, find a finished one, load the model."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from explorer.core.errors import CallError, CorpusError, ExplorerError, ModelNotFoundError
from explorer.core.model import load_model
from explorer.core.model_files import (
    find_folder,
    resolve_device,
    sha256_of_settings,
    sha256_of_weights,
)
from explorer.core.runs import list_runs, short_name
from explorer.core.schema import SCHEMA_VERSION
from precompute.checkpoint import key_of, locked, remove_if_empty, write_run_note
from precompute.config import JobConfig, parse_explainers
from precompute.corpus import size_on_disk, survey
from precompute.engines.local import LocalEngine
from precompute.engines.protocol import Engine
from precompute.estimates.fit import check_fits
from precompute.job import Job, Source, SplitSource
from precompute.progress import Display
from precompute.worker import Worker


@dataclass(frozen=True)
class Plan:
    """What is known of a run before the model is loaded."""

    config: JobConfig
    sources: tuple[SplitSource, ...]
    name: str
    """Name of the run: model, corpus and a fingerprint of everything that shapes the results."""
    work: Path
    finished: Path | None
    settings: str
    """Fingerprint of the model's configuration and tokenizer."""
    folder: Path
    """The model's."""


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-").lower()[:40] or "run"


def _read(name: str, display: Display, told: Callable[[int], object]) -> Source:
    found = survey(name, told)
    display.say(f"{name}: {found.n_documents:,} documents, {found.n_characters:,} characters")
    return Source(name, found)


def _sources(config: JobConfig, display: Display) -> tuple[SplitSource, ...]:
    names = [config.corpus, *([] if config.test_corpus is None else [config.test_corpus])]
    with display.stage("survey", sum(map(size_on_disk, names))) as progress:
        corpus, *others = [_read(name, display, progress.advance) for name in names]
    if others:
        sources = (SplitSource("train", corpus, None), SplitSource("test", others[0], None))
    else:
        sources = (SplitSource("train", corpus, 0), SplitSource("test", corpus, 1))
    if corpus.survey.n_characters == 0:
        raise CorpusError(f"{config.corpus} has no text; give --corpus a file with documents in it")
    return sources


def _check_out(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / ".write-probe.partial"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ExplorerError(
            f"cannot write into {out} ({error.strerror}); give --out a folder that can be written"
        ) from error


def _finished(config: JobConfig, name: str) -> Path | None:
    """The newest published run of this name (or of a forced repetition of it)."""
    pattern = re.compile(rf"{re.escape(name)}(-\d+)?")
    runs = list_runs(config.out).runs
    return next((run.path for run in runs if pattern.fullmatch(run.run_id)), None)


def _try_explainer(config: JobConfig, display: Display) -> None:
    """Let a language model that is to be asked answer once. Raises CallError for a wrong key."""
    if "openai" in parse_explainers(config.explainer):
        from precompute.explainers.openai_client import preflight

        preflight(config, display.say)


def plan(config: JobConfig, display: Display) -> Plan:
    """Check the call against the outside world and name the run. Raises CallError for mistakes."""
    try:
        resolve_device(_device_here(config))
        folder, _ = find_folder(config.model)
    except (ValueError, ModelNotFoundError) as error:
        raise CallError(str(error)) from error
    _check_out(config.out)
    label = f"{_slug(_model_label(config.model))}-{_slug(short_name(config.corpus))}"
    is_new = config.force or not any(config.out.glob(f"{label}-*.duckdb"))
    if is_new:  # surely not finished: a wrong key is said before the corpus is touched
        _try_explainer(config, display)
    weights, settings = sha256_of_weights(folder), sha256_of_settings(folder)
    sources = _sources(config, display)
    identity = {
        **config.identity(), "weights": weights, "settings": settings, "schema": SCHEMA_VERSION,
        "corpora": [(s.split, s.source.survey.sha256, s.parity) for s in sources],
    }  # fmt: skip
    name = f"{label}-{key_of(identity)[:8]}"
    finished = None if config.force else _finished(config, name)
    if finished is None and not is_new:
        _try_explainer(config, display)
    return Plan(config, sources, name, config.out / f"{label}.partial", finished, settings, folder)


def _model_label(source: str) -> str:
    """A folder called just `model` says little: its parent is named as well."""
    path = Path(os.path.expanduser(source))
    if path.is_dir() and path.resolve().name == "model":
        return f"{path.resolve().parent.name} model"
    return short_name(source)


@contextmanager
def opened(plan: Plan, display: Display) -> Iterator[Job]:
    """Load the model and hold the work folder for the length of the run."""
    with locked(plan.work), _tidied(plan.work):
        display.say(_estimate(plan))
        display.clock.keep_in(plan.work)
        display.say(f"Loading {plan.config.model} ...")
        with display.timed("load"):
            model = load_model(plan.config.model, _device_here(plan.config))
        plan.config.check_against(model.shape)
        write_run_note(plan.work, plan.name, plan.config.options())
        worker = Worker(model, plan.config)
        with _engine(worker, display) as engine:
            job = Job(plan.config, worker, engine, plan.sources, plan.work, display, plan.settings)
            replaced = {s.source.name: s.source.survey.n_replaced for s in plan.sources}
            job.warn("documents with bytes that are not UTF-8 (replaced)", sum(replaced.values()))
            yield job


def _estimate(plan: Plan) -> str:
    """A line on time and memory. Raises ExplorerError with advice where the run cannot fit."""
    share = 1 if plan.config.test_corpus is not None else 2
    documents, characters = (
        {s.split: getattr(s.source.survey, name) // share for s in plan.sources}
        for name in ("n_documents", "n_characters")
    )
    device = resolve_device(_device_here(plan.config))
    return check_fits(
        plan.config, plan.folder, documents, characters, device, plan.config.workers or 1
    )


def _device_here(config: JobConfig) -> str:
    """Where this process runs the model; with a cluster its GPUs may all be elsewhere."""
    if config.engine == "ray" and config.device == "cuda":
        return "auto"
    return config.device


def _engine(worker: Worker, display: Display) -> Engine:
    if worker.config.engine == "ray":
        from precompute.engines.ray_engine import RayEngine

        return RayEngine(worker.config, worker.model, display.say)
    return LocalEngine(worker)


@contextmanager
def _tidied(work: Path) -> Iterator[None]:
    """Leave no work folder behind that holds no work, however the run ends."""
    try:
        yield
    finally:
        remove_if_empty(work)


def clean_up(job: Job, n_failed: int) -> None:
    """Remove the shards of a published run, unless explanations failed that may be asked again."""
    if n_failed:
        job.display.say(
            f"{n_failed:,} explanations or verdicts failed; the same command with --force asks for "
            f"these alone and publishes a new store (until then {job.work} keeps the rest)"
        )
        return
    if job.config.keep_shards:
        job.display.say(f"{job.work} keeps what the store was made of; remove it with: clean")
        return
    for folder in job.folders:
        folder.remove()
