"""Kills a job with SIGKILL at random moments, again and again, until it has published; many times over.

Run as a program: `killing.py N SEED OUT ARGV...`. Libraries and model are loaded once, and each job is a
fork: what is killed is the work alone. Every store that gets published is moved to OUT/done. Each line on
standard output is a JSON object: a kill (with the shards that lay there), or a store.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from precompute import corpus, cutting, prepare, publish
from precompute.__main__ import main
from precompute.checkpoint import ShardFolder
from precompute.stages import (
    ablations,
    channels,
    explanations,
    heads,
    neurons,
    precision,
    prompts,
    scan,
    tasks,
)

KILLS_A_STORE = 4
"""Before it is left to end."""


def _in_small_shards() -> None:
    corpus.shards.__defaults__ = (2, 1 << 20)
    scan.SHARDS_A_GROUP = 3
    cutting.NEURONS_A_SHARD = 1


class _Job:
    """A forked job, which tells of each shard that it has put on disk."""

    def __init__(self, argv: list[str], log: Path) -> None:
        self.saved, told = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(said, 1)
            os.dup2(said, 2)
            save = ShardFolder.save

            def told_save(folder: ShardFolder, name: str, rows: Any) -> None:
                save(folder, name, rows)
                os.write(told, b".")

            ShardFolder.save = told_save  # type: ignore[method-assign]
            os._exit(main(argv))
        os.close(told)

    def wait_for(self, n: int) -> int:
        """Wait until so many shards are saved, or the job has ended; how many were."""
        found = 0
        while found < n and os.read(self.saved, 1):
            found += 1
        return found

    def end(self) -> tuple[int, int]:
        """Shards saved since, and the exit code."""
        rest = 0
        while some := os.read(self.saved, 4096):
            rest += len(some)
        os.close(self.saved)
        return rest, os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def _stages(out: Path) -> dict[str, int]:
    """Shards on disk by stage."""
    found: dict[str, int] = {}
    for folder in out.glob("*.partial/*-*"):
        if folder.is_dir():
            stage = folder.name.rsplit("-", 1)[0]
            found[stage] = found.get(stage, 0) + len(list(folder.glob("*.json"))) - 1
    if any(out.glob("*.partial/store.partial")):
        found["publish"] = 1
    return found


def _say(**facts: object) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def run(n_kills: int, seed: int, out: Path, argv: list[str]) -> None:
    chance = random.Random(seed)
    done = out / "done"
    done.mkdir(parents=True, exist_ok=True)
    n_killed = n_stores = n_saved = n_whole = 0
    moments: list[int] = []
    is_open = True
    while n_killed < n_kills or is_open:
        runs = out / f"runs-{n_stores}"
        job = _Job([*argv, "--out", str(runs)], out / "log")
        if moments and n_killed < n_kills:
            n_saved += job.wait_for(max(0, moments[0] - n_saved))
            # Into the next shard, or into the writing of the store.
            time.sleep(chance.uniform(0, 0.02 if moments.pop(0) < n_whole else 0.2))
            os.kill(job.pid, signal.SIGKILL)
        rest, code = job.end()
        n_saved += rest
        if code == -signal.SIGKILL:
            n_killed, is_open = n_killed + 1, True
            _say(kill=n_killed, shards=_stages(runs))
        if code not in (0, -signal.SIGKILL):
            raise SystemExit(f"the job ended with {code}: {(out / 'log').read_text()}")
        if published := sorted(runs.glob("*.duckdb")):
            n_whole = n_whole or n_saved
            (path,) = published
            path.rename(done / f"{n_stores:04d}.duckdb")
            _say(store=n_stores, left=sorted(p.name for p in runs.iterdir()))
            n_stores, n_saved, is_open = n_stores + 1, 0, False
            moments = sorted(chance.sample(range(n_whole + 1), KILLS_A_STORE))


if __name__ == "__main__":
    _in_small_shards()
    torch.set_num_threads(1)  # a pool of threads does not live on in a fork
    prepare.load_model = lru_cache(prepare.load_model)  # type: ignore[attr-defined]
    words = sys.argv[4:]
    prepare.load_model(words[words.index("--model") + 1], "auto")
    # Loaded before the first fork, like all else.
    assert all(
        (ablations, channels, explanations, heads, neurons, precision, prompts, publish, tasks)
    )
    run(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), words)
