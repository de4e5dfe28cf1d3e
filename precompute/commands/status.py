"""`python -m precompute status DIR`: what is published, what is unfinished, and what continues it."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from explorer.core.errors import CallError
from explorer.core.plain_text import one_line
from explorer.core.runs import RunInfo, list_runs
from explorer.core.store import Store
from precompute.arguments import Parser, check_texts
from precompute.config import JobConfig
from precompute.work_folders import Leftovers, StageWork, WorkFolder, leftovers

_SAME = "the same command that began it"


@dataclass(frozen=True)
class Published:
    """A store that is there."""

    name: str
    path: str
    model: str
    corpus: str
    end: str
    n_bytes: int
    seconds: float | None
    """From start to end, of the call that published it; None where the store does not say."""


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m precompute status",
        description="What a folder of stores holds: published stores, newest first, and unfinished "
        "work, stage by stage. Nothing is changed, and a job at work is not disturbed.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("folder", nargs="?", default="runs", metavar="DIR", help="(default: runs)")
    add(
        "--quick", action="store_true", help="count shards without reading them for their checksums"
    )
    add("--json", action="store_true", help="the same as JSON")
    return parser


def existing_folder(named: str, command: str) -> Path:
    """The folder that a command is given. Raises CallError where there is none."""
    folder = Path(named).expanduser()
    if not folder.is_dir():
        raise CallError(f"there is no folder {named}; give {command} the --out of a run")
    return folder


def _seconds(manifest: dict[str, Any]) -> float | None:
    try:
        begin, end = (datetime.fromisoformat(str(manifest[name])) for name in ("start", "end"))
        return round((end - begin).total_seconds(), 1)
    except (KeyError, ValueError, TypeError):
        return None


def _published(run: RunInfo) -> Published:
    with Store.open(run.path) as store:
        seconds = _seconds(store.manifest)
    size = run.path.stat().st_size
    return Published(run.run_id, str(run.path), run.model, run.corpus, run.end, size, seconds)


def what_continues(work: WorkFolder) -> str:
    """The command that goes on with a run, from what the folder says of it."""
    options = (work.run or {}).get("options")
    if not isinstance(options, dict) or not {"model", "corpus"} <= set(options):
        return _SAME
    try:
        usual = JobConfig(model=str(options["model"]), corpus=str(options["corpus"])).options()
        usual["candidates"] = 10 * int(options.get("prompts", usual["prompts"]))
    except (CallError, TypeError, ValueError):
        return _SAME
    words = ["python", "-m", "precompute"]
    for name, value in options.items():
        if name in usual and name != "preset" and (value != usual[name] or name in _ALWAYS):
            words += _flag(name, value)
    return shlex.join(words)


_ALWAYS = ("model", "corpus", "out")


def _flag(name: str, value: Any) -> list[str]:
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [flag] if value else []
    if value is None:
        return []
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return [f"{flag}={text}"] if text.startswith("-") else [flag, text]


def bytes_in_words(n: int) -> str:
    """`512 bytes`, `1.2 kB`, `3.4 MB`, `5.6 GB`; thousands, not 1024."""
    if n < 1000:
        return f"{n} bytes"
    for unit, size in (("kB", 1e3), ("MB", 1e6), ("GB", 1e9)):
        if n < 1000 * size or unit == "GB":
            return f"{n / size:,.1f} {unit}"
    raise AssertionError("the last unit takes all")


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(sep=" ", timespec="seconds")


def _stage_line(stage: StageWork) -> str:
    damaged = f", {stage.n_damaged:,} damaged (will be done again)" if stage.n_damaged else ""
    noun = "shard" if stage.n_shards == 1 else "shards"
    return f"    {stage.stage:<14} {stage.n_shards:>6,} {noun}, {bytes_in_words(stage.n_bytes)}{damaged}"


def _work_lines(work: WorkFolder) -> Iterator[str]:
    state = "a job is working in it" if work.in_use else "no job is working in it"
    yield f"  {work.path.name}  {bytes_in_words(work.n_bytes)}, {state}"
    if work.run is not None:
        yield f"    run {work.run.get('name', '?')}"
    for stage in work.stages:
        yield _stage_line(stage)
    if work.n_replies:
        yield f"    {work.n_replies:,} replies of a language model, paid for"
    if work.foreign:
        yield f"    and what is none of the job's: {', '.join(work.foreign[:5])}"
    if work.seconds:
        yield f"    {_duration(sum(work.seconds.values()))} of work so far"
    yield f"    last change {_when(work.changed)}"
    if not work.in_use:
        yield f"    continue it with: {what_continues(work)}"


def _lines(
    folder: Path, published: list[Published], unreadable: list[tuple[str, str]], left: Leftovers
) -> Iterator[str]:
    yield f"{folder}: {len(published):,} published"
    for store in published:
        yield f"  {store.name}  {store.model} · {store.corpus}"
        yield f"    ended {store.end}, took {_duration(store.seconds)}, {bytes_in_words(store.n_bytes)}"
    if unreadable:
        yield f"not readable: {len(unreadable):,}"
        for name, reason in unreadable:
            yield f"  {name}: {reason}"
    if left.work:
        yield f"unfinished: {len(left.work):,}"
        for work in left.work:
            yield from _work_lines(work)
    for path, size in left.stray:
        yield f"left over: {path.name}, {bytes_in_words(size)}"
    for path in left.links:
        yield f"left alone: {path.name} is a link"
    if any(not work.in_use for work in left.work) or left.stray:
        yield f"remove what is not published with: python -m precompute clean {shlex.quote(str(folder))}"


def _as_json(
    folder: Path, published: list[Published], unreadable: list[tuple[str, str]], left: Leftovers
) -> dict[str, Any]:
    unfinished = [
        {**asdict(work), "path": str(work.path), "continue": what_continues(work),
         "changed": _when(work.changed)} for work in left.work
    ]  # fmt: skip
    return {
        "folder": str(folder),
        "published": [asdict(store) for store in published],
        "unreadable": [{"file": name, "reason": reason} for name, reason in unreadable],
        "unfinished": unfinished,
        "left_over": [{"path": str(path), "n_bytes": size} for path, size in left.stray],
        "links": [str(path) for path in left.links],
    }


def run(argv: list[str]) -> int:
    """Tell what is there."""
    check_texts(argv)
    arguments = _parser().parse_args(argv)
    folder = existing_folder(arguments.folder, "status")
    runs = list_runs(folder)
    published = [_published(run) for run in runs.runs]
    found = (folder, published, list(runs.unreadable), leftovers(folder, not arguments.quick))
    if arguments.json:
        sys.stdout.write(json.dumps(_as_json(*found), indent=1) + "\n")
    else:
        sys.stdout.writelines(f"{_indented(line)}\n" for line in _lines(*found))
    return 0


def _indented(line: str) -> str:
    bare = line.lstrip(" ")
    return " " * (len(line) - len(bare)) + one_line(bare)
