"""The demo job as a person runs it: a process of its own, its seconds and its peak memory."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
import time
from pathlib import Path

from tests.benchmarks.measure import Row

ROOT = Path(__file__).parents[2]


def demo_command(out: Path, device: str = "cpu") -> list[str]:
    """The command of `make job`, read from the Makefile, into another folder."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    tokens = re.search(r"^DEMO_TOKENS := (.+)$", text, re.M)
    assert tokens is not None
    demo = ROOT / "assets" / "demo"
    return [
        sys.executable, "-m", "precompute", "--model", str(demo / "model"),
        "--corpus", str(demo / "corpus" / "train.jsonl"),
        "--test-corpus", str(demo / "corpus" / "test.jsonl"),
        "--preset", "demo", "--tokens", tokens[1], "--out", str(out), "--device", device,
    ]  # fmt: skip


def rows(out: Path, device: str = "cpu") -> tuple[Path, list[Row]]:
    """Run the demo job; return the folder of its store and the line of the table."""
    begin = time.perf_counter()
    done = subprocess.run(
        demo_command(out, device), cwd=ROOT, check=True, capture_output=True, text=True
    )
    seconds = time.perf_counter() - begin
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    assert Path(done.stdout.strip().splitlines()[-1]).is_file()
    note = f"peak memory {memory:.2f} GB"
    where = "2 cores" if device == "cpu" else device
    return out, [Row(f"demo job, end to end, {where}", "", seconds, None, "120 s, 3 GB", note)]
