"""The folder of stores: which runs are there, newest first, and why a file is not one.

A run is `DIR/<name>.duckdb`; its id is the file's stem. What ends in `.partial` is unfinished and is
not listed. A file that cannot be opened is listed with its reason, never hidden.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from explorer.core.errors import StoreError
from explorer.core.plain_text import one_line
from explorer.core.store import Store

SUFFIX = ".duckdb"


@dataclass(frozen=True)
class RunInfo:
    """One published run as the run picker shows it."""

    run_id: str
    path: Path
    model: str
    corpus: str
    end: str
    """When the run was finished, ISO 8601 in UTC; runs are listed by it, newest first."""

    @property
    def title(self) -> str:
        return f"{self.model} · {self.corpus}"


@dataclass(frozen=True)
class RunList:
    """The runs of a folder, newest `end` first, and the files that are none, with the reason."""

    runs: tuple[RunInfo, ...]
    unreadable: tuple[tuple[str, str], ...]

    def find(self, run_id: str) -> RunInfo | None:
        return next((run for run in self.runs if run.run_id == run_id), None)


def short_name(source: str) -> str:
    """The last part of a path or hub name, without file endings: what a person calls it."""
    name = source.rstrip("/").rsplit("/", 1)[-1]
    for ending in (".gz", ".jsonl", ".txt", ".parquet"):
        name = name.removesuffix(ending)
    return name or source


def _describe(path: Path) -> RunInfo:
    with Store.open(path) as store:
        manifest = store.manifest
    return RunInfo(
        run_id=path.stem,
        path=path,
        model=one_line(
            str(manifest.get("model_name") or short_name(str(manifest.get("model", ""))))
        ),
        corpus=one_line(
            str(manifest.get("corpus_name") or short_name(str(manifest.get("corpus", ""))))
        ),
        end=one_line(str(manifest.get("end", ""))),
    )


def _why_not(path: Path, folder: Path) -> str | None:
    """Why a file of the folder is not even opened; None where it may be."""
    try:
        path.name.encode("utf-8")
    except UnicodeEncodeError:
        return "its name is not UTF-8; rename it"
    try:
        leads_to = path.resolve()
    except (OSError, RuntimeError):  # a loop of links
        return "it is a link that leads nowhere; remove it"
    if leads_to.parent != folder.resolve():
        # A folder from a stranger could point at any file of this machine.
        return "it is a link out of the folder; put the store itself here, or give its folder to --store"
    return None


def list_runs(folder: Path) -> RunList:
    """All stores directly in a folder, none that a link in it leads to outside. A missing folder is empty."""
    runs: list[RunInfo] = []
    unreadable: list[tuple[str, str]] = []
    paths = sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else []
    for path in paths:
        reason = _why_not(path, folder)
        if reason is not None:
            unreadable.append((one_line(path.name), f"{one_line(path.name)}: {reason}"))
            continue
        try:
            runs.append(_describe(path))
        except StoreError as error:
            unreadable.append((one_line(path.name), one_line(str(error))))
    runs.sort(key=lambda run: (run.end, run.run_id), reverse=True)
    return RunList(tuple(runs), tuple(unreadable))
