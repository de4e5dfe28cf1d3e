"""Shards on disk: what a stage has done, under a key of everything that shaped it, with checksums.

A shard is a few Arrow tables and a small JSON file that is written last, by rename, with the SHA-256
of each table. What does not verify is not there: it is done again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from explorer.core.errors import ExplorerError

Tables = dict[str, pa.Table]


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


class ShardFolder:
    """The shards of one stage under one key. Counts what was found instead of computed."""

    def __init__(self, work: Path, stage: str, key: str) -> None:
        self.path = work / f"{stage}-{key}"
        self.path.mkdir(parents=True, exist_ok=True)
        self.n_reused = 0
        self.n_corrupt = 0

    def load(self, name: str) -> Tables | None:
        """The shard's tables; None where it is missing or does not verify."""
        note = self.path / f"{name}.json"
        if not note.is_file():
            return None
        try:
            sums: dict[str, str] = json.loads(note.read_text())
            tables: Tables = {}
            for table, expected in sums.items():
                raw = (self.path / f"{name}.{table}.arrow").read_bytes()
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

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


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
    """Remove a work folder that holds nothing but its lock."""
    if work.is_dir() and {path.name for path in work.iterdir()} <= {"lock"}:
        (work / "lock").unlink(missing_ok=True)
        work.rmdir()
