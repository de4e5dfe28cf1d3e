"""Shards on disk: what a stage has done, under a key of everything that shaped it, with checksums.

A shard is a few Arrow tables and a small JSON file that is written last, by rename, with the SHA-256
of each table. What does not verify is not there: it is done again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from explorer.core.errors import ExplorerError

Tables = dict[str, pa.Table]

KEY_FILE = "key.json"
"""In a shard folder: what its key is made of, in words."""
RUN_FILE = "run.json"
"""In a work folder: the name and options of the run that worked there last."""


def key_of(parts: Mapping[str, Any]) -> str:
    """A short fingerprint of options and inputs, the same for equal values in any order."""
    text = json.dumps(parts, sort_keys=True, default=str, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _write(path: Path, raw: bytes) -> None:
    """Write a whole file, by rename, and put it on disk before it is seen."""
    unfinished = path.with_name(path.name + ".tmp")
    with unfinished.open("wb") as stream:
        stream.write(raw)
        stream.flush()
        os.fsync(stream.fileno())
    unfinished.replace(path)


def shard_notes(folder: Path) -> list[Path]:
    """The notes of the shards that lie in a stage's folder, whole or not, by name."""
    return [path for path in sorted(folder.glob("*.json")) if path.name != KEY_FILE]


def is_whole(note: Path) -> bool:
    """Whether a shard's tables have the checksums that its note gives; nothing is held in memory."""
    try:
        sums: dict[str, str] = json.loads(note.read_text())
        return all(_sha256(_table_file(note, table)) == sums[table] for table in sums)
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return False


def _table_file(note: Path, table: str) -> Path:
    return note.with_name(f"{note.stem}.{table}.arrow")


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class ShardFolder:
    """The shards of one stage under one key. Counts what was found instead of computed."""

    def __init__(
        self, work: Path, stage: str, key: str, shaped_by: Mapping[str, Any] | None = None
    ) -> None:
        """`shaped_by`: what the key is made of, kept in words for whoever asks why another is not it."""
        self.path = work / f"{stage}-{key}"
        self.is_new = not self.path.is_dir()
        self.path.mkdir(parents=True, exist_ok=True)
        self.n_reused = 0
        self.n_corrupt = 0
        if shaped_by is not None and not (self.path / KEY_FILE).is_file():
            words = json.dumps(shaped_by, sort_keys=True, default=str, ensure_ascii=True)
            _write(self.path / KEY_FILE, words.encode())

    def load(self, name: str) -> Tables | None:
        """The shard's tables; None where it is missing or does not verify."""
        note = self.path / f"{name}.json"
        if not note.is_file():
            return None
        try:
            sums: dict[str, str] = json.loads(note.read_text())
            tables: Tables = {}
            for table, expected in sums.items():
                raw = _table_file(note, table).read_bytes()
                if hashlib.sha256(raw).hexdigest() != expected:
                    raise ValueError(f"checksum of {table}")
                tables[table] = pa.ipc.open_file(pa.BufferReader(raw)).read_all()
        except (OSError, ValueError, AttributeError, pa.ArrowException):
            self.n_corrupt += 1
            return None
        self.n_reused += 1
        return tables

    def save(self, name: str, tables: Mapping[str, pa.Table]) -> None:
        sums = {}
        for table, rows in tables.items():
            sink = pa.BufferOutputStream()
            with pa.ipc.new_file(sink, rows.schema) as writer:
                writer.write_table(rows)
            raw = sink.getvalue().to_pybytes()
            sums[table] = hashlib.sha256(raw).hexdigest()
            _write(self.path / f"{name}.{table}.arrow", raw)
        _write(self.path / f"{name}.json", json.dumps(sums).encode())

    def drop(self, name: str) -> None:
        """Forget a shard that another one holds by now."""
        note = self.path / f"{name}.json"
        if note.is_file():
            note.unlink()
        for path in self.path.glob(f"{name}.*.arrow"):
            path.unlink()

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


def differences(work: Path, stage: str, shaped_by: Mapping[str, Any]) -> list[str]:
    """What parts the shards of a stage from those that lie in the work folder, by name: the least over
    its folders; empty where there is none."""
    wanted = json.loads(json.dumps(shaped_by, sort_keys=True, default=str))
    found: list[list[str]] = []
    for note in work.glob(f"{stage}-*/{KEY_FILE}"):
        if re.fullmatch(r"[0-9a-f]{16}", note.parent.name.removeprefix(f"{stage}-")) is None:
            continue  # another stage whose name begins alike
        try:
            known = json.loads(note.read_text())
            names = {n for n in {*known, *wanted} if known.get(n) != wanted.get(n)}
        except (OSError, ValueError, AttributeError, TypeError):
            continue  # a torn note explains nothing; the shards beside it have checksums of their own
        found.append(sorted(names))
    return min(found, key=len, default=[])


def write_run_note(work: Path, name: str, options: Mapping[str, Any]) -> None:
    """Say in the work folder whose it is."""
    words = json.dumps({"name": name, "options": options}, default=str, ensure_ascii=True)
    _write(work / RUN_FILE, words.encode())


@contextmanager
def locked(work: Path) -> Iterator[None]:
    """Hold a work folder alone; a second job is refused with a clear line."""
    work.mkdir(parents=True, exist_ok=True)
    with (work / "lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ExplorerError(
                f"another job is working in {work}; wait for it to end, or give another --out"
            ) from error
        yield


def remove_if_empty(work: Path) -> None:
    """Remove a work folder that holds nothing but its lock and the note of whose it is."""
    notes = ("lock", RUN_FILE)
    if work.is_dir() and {path.name for path in work.iterdir()} <= set(notes):
        for name in notes:
            (work / name).unlink(missing_ok=True)
        work.rmdir()
