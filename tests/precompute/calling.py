"""Calling the job in this process as a shell would, and reading what it left."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from precompute.__main__ import main

QUICK = (
    "--layers", "last:1", "--neurons-per-layer", "3", "--random-neurons-per-layer", "1",
    "--prompts", "2", "--candidates", "6",
)  # fmt: skip
"""Options of a run of two seconds."""
CLOCK = {"start", "end", "seconds"}
"""What the manifests of two equal runs differ in."""


@dataclass(frozen=True)
class Outcome:
    """What a call of the job left on the shell: exit status and both streams."""

    status: int
    stdout: str
    stderr: str

    @property
    def store(self) -> Path:
        assert self.status == 0, self.stderr
        return Path(self.stdout.splitlines()[-1])


def call(*argv: object) -> Outcome:
    """`python -m precompute ARGV`, in this process."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with redirect_stdout(stdout), redirect_stderr(stderr):
        status = main([str(word) for word in argv])
    return Outcome(status, stdout.getvalue(), stderr.getvalue())


def assert_refused(outcome: Outcome, status: int, *words: str) -> None:
    """The promise for every failure: its status, one line that holds `words`, nothing else."""
    assert outcome.status == status, outcome.stderr
    assert outcome.stdout == ""
    assert "Traceback" not in outcome.stderr
    lines = outcome.stderr.splitlines()
    assert [line for line in lines if line.startswith("error: ")] == [lines[-1]], lines
    assert all(word in lines[-1] for word in words), lines[-1]


def stores(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.duckdb"))


def tables(store: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table but the manifest, in stored order."""
    with duckdb.connect(str(store), read_only=True) as con:
        names = [row[0] for row in con.execute("SHOW TABLES").fetchall() if row[0] != "manifest"]
        return {name: con.execute(f'FROM "{name}"').fetchall() for name in names}


def manifest(store: Path, without: Iterable[str] = ()) -> dict[str, Any]:
    with duckdb.connect(str(store), read_only=True) as con:
        rows = con.execute("FROM manifest").fetchall()
    return {key: json.loads(value) for key, value in rows if key not in set(without)}


def write_jsonl(path: Path, texts: Iterable[str]) -> Path:
    lines = [json.dumps({"text": text}) + "\n" for text in texts]
    path.write_text("".join(lines), encoding="utf-8")
    return path
