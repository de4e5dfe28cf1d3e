"""Whether a run fits this machine, before its model is loaded: refused with advice where it cannot."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import psutil

from explorer.core.errors import ExplorerError
from explorer.core.task_seen import SEEN_FILE
from precompute.config import JobConfig
from precompute.estimates.forecast import forecast
from precompute.estimates.past_runs import past_runs
from precompute.estimates.rates import MEASURED, corrected, usual_habits
from precompute.estimates.report import amount, duration
from precompute.estimates.room import Room, room_needed, weights_bytes
from precompute.estimates.shapes import shape_of_model
from precompute.estimates.workload import (
    CHARACTERS_A_TOKEN,
    REFERENCE_HABITS,
    CorpusSize,
    RunSize,
    run_size,
)

_CGROUP = Path("/sys/fs/cgroup")
_SPARE = 0.9
"""Share of what is free that a run may take."""
_LEARN_FROM = 3
"""Newest runs in the folder of stores that correct the time told."""


def _number(path: Path) -> int | None:
    """A cgroup's figure; None where there is no such file or no limit."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return int(text) if text.isdigit() and int(text) < 1 << 60 else None


def _own_groups(root: Path, own: Path) -> list[Path]:
    """Folders of the control groups that limit this process's memory, its own and those above, version 2
    (all under one root) and version 1 (under `memory`)."""
    try:
        lines = own.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    found = [root, root / "memory"]
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, name = rest.partition(":")
        parts = [part for part in name.split("/") if part not in ("", "..")]
        if controllers not in ("", "memory"):
            continue
        top = root if controllers == "" else root / "memory"
        found += [top.joinpath(*parts[: n + 1]) for n in range(len(parts))]
    return found


_LIMITS = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Files of a group in version 2 and in version 1: the limit, what is used, and the name of what of it is
given back on need."""


def memory_available(root: Path = _CGROUP, own: Path = Path("/proc/self/cgroup")) -> float:
    """Bytes that this process may still take: what the machine has free, or the least that a container's
    limit (control groups, version 2 or 1) leaves."""
    free = [float(psutil.virtual_memory().available)]
    for group in _own_groups(root, own):
        for limit_name, used_name, reclaimable in _LIMITS:
            limit, used = _number(group / limit_name), _number(group / used_name)
            if limit is not None and used is not None:
                free.append(limit - used + _stat(group / "memory.stat", reclaimable))
    return max(0.0, min(free))


def _stat(path: Path, name: str) -> float:
    """A line of a group's `memory.stat`: file pages that count as used and are given back on need."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return 0.0
    found = (line.split() for line in lines if line.startswith(name + " "))
    return next((float(words[1]) for words in found if len(words) == 2), 0.0)


def gpu_available() -> float:
    """Bytes free on the GPU that the job would use."""
    import torch

    return float(torch.cuda.mem_get_info()[0])


def disk_available(folder: Path) -> float:
    """Bytes free where a folder is, or will be."""
    at = folder.absolute()
    while not at.exists():
        at = at.parent
    return float(shutil.disk_usage(at).free)


def _size(
    config: JobConfig, folder: Path, documents: Mapping[str, int], characters: Mapping[str, int],
    device: str,
) -> RunSize:  # fmt: skip
    corpora = {
        split: CorpusSize(documents[split], characters[split] / CHARACTERS_A_TOKEN)
        for split in documents
    }
    known = (folder / SEEN_FILE).is_file()
    return run_size(config, shape_of_model(str(folder)), corpora, device, known)


def _advice(run: RunSize, config: JobConfig, what: str) -> str:
    """What to change where `what` (memory, GPU memory or disk) is short."""
    if what == "disk":
        return (
            "give --out a folder with more room, or lower --candidates, --neurons-per-layer or "
            "--prompts"
        )
    most = weights_bytes(run)
    lower = "lower --neurons-per-layer, --tokens or --candidates; or "
    if what == "GPU memory":
        return f"{'' if most > 1e10 else lower}use a bigger GPU, or --device cpu"
    ray = "" if config.engine == "ray" else ", or a cluster of such with --engine ray"
    return f"{lower}use a smaller model or a machine with more memory{ray}"


def _check(need: float, have: float, run: RunSize, config: JobConfig, what: str) -> None:
    if need > _SPARE * have:
        raise ExplorerError(
            f"this run needs about {amount(need)} of {what} and {amount(have)} are free; "
            + _advice(run, config, what)
        )


def check_room(run: RunSize, room: Room, config: JobConfig, device: str) -> None:
    """Raise ExplorerError with advice where memory, GPU memory or disk cannot hold the run."""
    _check(room.driver, memory_available(), run, config, "memory")
    if device == "cuda":
        _check(room.gpu_least, gpu_available(), run, config, "GPU memory")
    _check(room.shards + room.store, disk_available(config.out), run, config, "disk")


def check_fits(
    config: JobConfig,
    folder: Path,
    documents: Mapping[str, int],
    characters: Mapping[str, int],
    device: str,
    workers: int = 1,
) -> str:
    """One line on time and memory, to be said before the start.

    `folder` is the model's, `documents` and `characters` are the splits' own (halved where one corpus is
    shared), `device` is `cpu` or `cuda`. Raises ExplorerError with advice where the run cannot fit, and
    CallError for options that the model cannot satisfy. Nothing is loaded.
    """
    run = _size(config, folder, documents, characters, device)
    runs = past_runs(config.out, most=_LEARN_FROM)[0]
    habits = usual_habits([r for r in runs if r.size.shape == run.shape]) or REFERENCE_HABITS
    room = room_needed(run, habits, device, workers)
    check_room(run, room, config, device)
    table = MEASURED.get(device)
    told = f"about {amount(room.driver)} of memory and {amount(room.shards + room.store)} of disk"
    if device == "cuda":
        told += f", {amount(room.gpu)} on the GPU"
        if room.gpu > gpu_available():
            told += " (batches are halved where they do not fit)"
    if table is None:
        return f"This run will take {told}; its time on {device} is not known"
    seconds = forecast(run, habits, corrected(table, runs), workers).seconds
    return f"This run will take about {duration(seconds)}, {told}"
