"""What a folder of stores holds beside them: work that is unfinished, and files that were left over.

Looking changes nothing and takes no lock. A work folder is `<name>.partial`, and holds nothing but what
the job puts there; links are never followed.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from precompute.checkpoint import KEY_FILE, RUN_FILE, is_whole, shard_notes
from precompute.stage_clock import SECONDS_FILE, read_seconds

ENDING = ".partial"
LOCK_FILE = "lock"
REPLIES_FILE = "replies.jsonl"
"""Replies of a language model, each of which was paid for."""
_STAGE_FOLDER = re.compile(r"(?P<stage>[a-z_-]+)-[0-9a-f]{16}")
_OWN_FILES = {LOCK_FILE, RUN_FILE, SECONDS_FILE, REPLIES_FILE}
_OWN_FILE = re.compile(r"store\.partial(\.wal)?|.*\.tmp")
_SPILLED = "store.partial.tmp"
"""A folder that the database makes beside a store that does not fit in memory."""
_LOCKS = Path("/proc/locks")


@dataclass(frozen=True)
class StageWork:
    """The shards of one stage under one key."""

    stage: str
    folder: str
    n_shards: int
    """Those that are whole, or taken to be so where no checksum was asked for."""
    n_damaged: int
    """Those whose checksum is wrong: they will be done again."""
    n_bytes: int
    shaped_by: dict[str, Any] | None
    """The options that shaped them, where the folder says so."""


@dataclass(frozen=True)
class WorkFolder:
    """One work folder, as it was when looked at."""

    path: Path
    in_use: bool
    run: dict[str, Any] | None
    """Name and options of the run that worked there last, where the folder says so."""
    stages: tuple[StageWork, ...]
    n_bytes: int
    n_replies: int
    """Replies of a language model that are kept, so that none is paid for twice."""
    changed: float
    """When anything in it changed last, seconds since 1970."""
    seconds: dict[str, float]
    """What calls that did not come to publish have spent, by stage."""
    foreign: tuple[str, ...]
    """What lies in it and is none of the job's."""


@dataclass(frozen=True)
class Leftovers:
    """What is not published in a folder of stores."""

    work: tuple[WorkFolder, ...]
    stray: tuple[tuple[Path, int], ...]
    """Files that were not finished, with their bytes."""
    links: tuple[Path, ...]
    """Links that are called like work: they are left alone."""


def is_worked_in(work: Path) -> bool:
    """Whether a job holds the folder's lock. The lock is neither waited for nor taken where the system
    lists its locks (Linux); elsewhere it is tried for an instant."""
    try:
        descriptor = os.open(work / LOCK_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        if _LOCKS.is_file():
            return os.fstat(descriptor).st_ino in _locked_inodes(os.fstat(descriptor).st_dev)
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _locked_inodes(device: int) -> set[int]:
    """Inodes of a device that someone holds with flock, as the kernel lists them."""
    place = f"{os.major(device):02x}:{os.minor(device):02x}"
    found = set()
    for line in _LOCKS.read_text(encoding="ascii", errors="replace").splitlines():
        match = re.search(r"\bFLOCK\b.*\s(\w+:\w+):(\d+)\s", line)
        if match and match[1] == place and "->" not in line:
            found.add(int(match[2]))
    return found


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def sizes(folder: Path) -> Iterator[tuple[int, float]]:
    """Bytes on record and time of change of everything in a folder; links count as themselves."""
    for base, folders, files in os.walk(folder):
        for name in (*folders, *files):
            try:
                found = os.lstat(os.path.join(base, name))
            except FileNotFoundError:  # a job at work has renamed it meanwhile
                continue
            yield (found.st_size if stat.S_ISREG(found.st_mode) else 0), found.st_mtime


def _stage(folder: Path, stage: str, with_checksums: bool) -> StageWork:
    notes = shard_notes(folder)
    whole = sum(is_whole(note) for note in notes) if with_checksums else len(notes)
    return StageWork(
        stage, folder.name, whole, len(notes) - whole, sum(size for size, _ in sizes(folder)),
        _read_json(folder / KEY_FILE),
    )  # fmt: skip


def _is_own(entry: os.DirEntry[str]) -> bool:
    if entry.is_symlink():
        return False
    if entry.is_dir():
        return entry.name == _SPILLED or _STAGE_FOLDER.fullmatch(entry.name) is not None
    return entry.name in _OWN_FILES or _OWN_FILE.fullmatch(entry.name) is not None


def _n_lines(path: Path) -> int:
    try:
        with path.open("rb") as stream:
            return sum(1 for _ in stream)
    except FileNotFoundError:
        return 0


def look_at(work: Path, with_checksums: bool = True) -> WorkFolder:
    """One work folder. Checksums read all of it."""
    in_use = is_worked_in(work)
    stages, foreign = [], []
    with os.scandir(work) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            match = _STAGE_FOLDER.fullmatch(entry.name)
            if not _is_own(entry):
                foreign.append(entry.name)
            elif match and entry.is_dir():
                stages.append(_stage(Path(entry.path), match["stage"], with_checksums))
    found = list(sizes(work))
    return WorkFolder(
        work, in_use, _read_json(work / RUN_FILE), tuple(stages), sum(size for size, _ in found),
        _n_lines(work / REPLIES_FILE), max([work.stat().st_mtime, *(when for _, when in found)]),
        read_seconds(work / SECONDS_FILE), tuple(foreign),
    )  # fmt: skip


def leftovers(folder: Path, with_checksums: bool = True) -> Leftovers:
    """What is not published in a folder of stores, by name."""
    work, stray, links = [], [], []
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if not entry.name.endswith(ENDING):
                continue
            path = Path(entry.path)
            if entry.is_symlink():
                links.append(path)
            with suppress(FileNotFoundError):  # published, or done with, since it was listed
                if entry.is_dir(follow_symlinks=False):
                    work.append(look_at(path, with_checksums))
                elif entry.is_file(follow_symlinks=False):
                    stray.append((path, entry.stat(follow_symlinks=False).st_size))
    return Leftovers(tuple(work), tuple(stray), tuple(links))
