"""`kill -9` at random moments over all stages: what is published in the end is bit for bit what an
undisturbed run publishes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import duckdb
import pytest

from tests.precompute.calling import CLOCK, manifest, tables
from tests.sizes import SOAK

N_KILLS = 150 if SOAK else 8
ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(3600 if SOAK else 300)
def test_a_job_killed_at_random_moments_publishes_the_same(
    quick_call: tuple[object, ...], tmp_path: Path
) -> None:
    call = [sys.executable, "-m", "tests.precompute.killing", str(N_KILLS), "7", str(tmp_path)]
    killer = subprocess.run(
        [*call, *map(str, quick_call)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert killer.returncode == 0, killer.stderr
    lines = [json.loads(line) for line in killer.stdout.splitlines()]
    kills = [line["shards"] for line in lines if "kill" in line]
    stores = sorted((tmp_path / "done").glob("*.duckdb"))
    assert len(kills) == N_KILLS and len(stores) >= 2
    # Where each kill struck: the last stage that had begun.
    struck = Counter(max(shards, key=_order, default="before any stage") for shards in kills)
    print(f"{N_KILLS} kills, {len(stores)} stores: {dict(struck)}")  # noqa: T201 shown by -s, and by soak
    expected, facts = tables(stores[0]), manifest(stores[0], without={*CLOCK, "out"})
    for path in stores[1:]:
        assert tables(path) == expected
        assert manifest(path, without={*CLOCK, "out"}) == facts
    if SOAK:
        assert len(struck) >= 6, struck
    # Control: a store that differs in one bit of one number is told from the others.
    with duckdb.connect(str(stores[-1])) as con:
        con.execute("UPDATE prompts SET activation = activation * 1.0000002 WHERE prompt_id = 0")
    assert tables(stores[-1]) != expected


_ORDER = ("congruence", "scan-train", "scan-test", "prompts", "heads", "ablation-means", "ablations",
          "explanations", "channels", "component-attributions", "tasks", "publish")  # fmt: skip


def _order(stage: str) -> int:
    return _ORDER.index(stage)
