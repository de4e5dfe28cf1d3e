"""A served explorer whose memory is watched, and a run that is published into its folder."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import psutil

from tests.browser.driving import ROOT, free_port, wait_until_up

_EVERY_S = 0.2
_LATER = "2999-01-01T00:00:00+00:00"
EXPLORER = ("-m", "explorer")


@dataclass
class Watched:
    """A server: its address, its process, and its resident memory over time."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path
    samples: list[tuple[float, float]] = field(default_factory=list)
    """Clock (`time.perf_counter`) and megabytes."""

    def watch(self, stop: threading.Event) -> None:
        found = psutil.Process(self.process.pid)
        while not stop.wait(_EVERY_S):
            self.samples.append((time.perf_counter(), found.memory_info().rss / 1e6))

    def megabytes(self, begin: float, end: float) -> float:
        """The median resident memory between two moments."""
        return statistics.median(mb for clock, mb in self.samples if begin <= clock <= end)

    def tracebacks(self) -> list[str]:
        """Last lines of the tracebacks that the server wrote."""
        text = self.log.read_text(encoding="utf-8", errors="replace")
        parts = text.split("Traceback (most recent call last):")[1:]
        return [
            next((line for line in part.splitlines() if line and not line.startswith(" ")), part)
            for part in parts
        ]


@contextmanager
def watched(folder: Path, log: Path, program: Sequence[str] = EXPLORER) -> Iterator[Watched]:
    """`python -m explorer` on a free port; `program` starts it another way."""
    port = free_port()
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, *program, "--store", str(folder), "--port", str(port), "--no-browser"],
            cwd=ROOT, stdout=out, stderr=out, env=dict(os.environ),
        )  # fmt: skip
    server, stop = Watched(f"http://127.0.0.1:{port}", process, log), threading.Event()
    watcher = threading.Thread(target=server.watch, args=(stop,), daemon=True)
    try:
        wait_until_up(server.url, process)
        watcher.start()
        yield server
    finally:
        stop.set()
        if watcher.ident is not None:
            watcher.join()
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()


def publish_newer(folder: Path, run_id: str) -> None:
    """A copy of the folder's run under another name, finished later, published as a job does."""
    (old,) = folder.glob("*.duckdb")
    partial, new = folder / f"{run_id}.duckdb.partial", folder / f"{run_id}.duckdb"
    shutil.copyfile(old, partial)
    with duckdb.connect(str(partial)) as con:
        for key, value in (("run_id", run_id), ("end", _LATER)):
            con.execute("UPDATE manifest SET value = ? WHERE key = ?", [json.dumps(value), key])
    partial.replace(new)
