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

import torch

from precompute import corpus, prepare
from precompute.__main__ import main
from precompute.stages import ablations, explanations, heads, prompts, scan, tasks


def _in_small_shards() -> None:
    corpus.shards.__defaults__ = (2, 1 << 20)
    scan.SHARDS_A_GROUP = 3
    for module in (prompts, heads, ablations):
        module.NEURONS_A_SHARD = 1  # type: ignore[attr-defined]


def _job(argv: list[str]) -> int:
    """Fork a job; its process id."""
    child = os.fork()
    if child == 0:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        os._exit(main(argv))
    return child


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
    whole_s = 0.0
    n_killed = n_stores = 0
    while n_killed < n_kills or n_stores < 2:
        runs = out / f"runs-{n_stores}"
        begin, is_fresh = time.monotonic(), not runs.exists()
        child = _job([*argv, "--out", str(runs)])
        if n_stores > 0 and n_killed < n_kills:
            # A continued run is shorter: most of its kills would come too late.
            time.sleep(chance.uniform(0, whole_s if is_fresh else whole_s / 2))
            os.kill(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code == -signal.SIGKILL:
            n_killed += 1
            _say(kill=n_killed, shards=_stages(runs))
        if code not in (0, -signal.SIGKILL):
            raise SystemExit(f"the job ended with {code}")
        published = sorted(runs.glob("*.duckdb"))
        if code == 0 or published:
            whole_s = whole_s or time.monotonic() - begin
            (path,) = published
            path.rename(done / f"{n_stores:04d}.duckdb")
            left = sorted(p.name for p in runs.iterdir())
            _say(store=n_stores, left=left)
            n_stores += 1


if __name__ == "__main__":
    _in_small_shards()
    torch.set_num_threads(1)  # a pool of threads does not live on in a fork
    prepare.load_model = lru_cache(prepare.load_model)  # type: ignore[attr-defined]
    words = sys.argv[4:]
    prepare.load_model(words[words.index("--model") + 1], "auto")
    assert explanations and tasks  # loaded before the first fork, like all else
    run(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), words)
