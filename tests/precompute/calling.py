"""Calling the job in this process as a shell would, and reading what it left."""

from __future__ import annotations

import io
import json
import subprocess
import sys
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
CLOCK = {"start", "end", "seconds", "seconds_earlier", "manifest_sha256"}
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


_KILLED_JOBS = """
import importlib, os, signal, sys
import torch, transformers, transformer_lens.model_bridge  # loaded once, for all that follow
from precompute import corpus
from precompute.__main__ import main
corpus.shards.__defaults__ = tuple(map(int, sys.argv[1].split(",")))
moments, argv = sys.argv[2].split(), sys.argv[3:]
for moment in moments:
    if (child := os.fork()) == 0:
        module, name, count = moment.split(":")
        owner = importlib.import_module(module)
        *path, name = name.split(".")
        for part in path: owner = getattr(owner, part)
        real, calls = getattr(owner, name), []
        def deadly(*args, **options):
            result = real(*args, **options)
            calls.append(name)
            if len(calls) == int(count): os.kill(os.getpid(), signal.SIGKILL)
            return result
        setattr(owner, name, deadly)
        os._exit(main(argv))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(code, *(name.rsplit(".", 1)[1] for name in os.listdir(argv[-1])))
"""
"""Each job in a process of its own, forked from one that has the libraries loaded: loading takes
longer than the job."""


def kill_jobs(
    shard: tuple[int, int], moments: str, *argv: object
) -> subprocess.CompletedProcess[str]:
    """Run the job once for each moment (`module:function:n`) and kill it there; `argv` ends with the
    folder of stores. Standard output has a line for each: the exit code, the endings of the names of
    what is left in that folder."""
    words = [",".join(map(str, shard)), moments, *map(str, argv)]
    return subprocess.run(
        [sys.executable, "-c", _KILLED_JOBS, *words],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
    )  # fmt: skip
