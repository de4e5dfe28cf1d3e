"""`make bench`: every speed figure of the README, printed as a table."""

from __future__ import annotations

import platform
import sys
import tempfile
from pathlib import Path

import torch

from tests.benchmarks import (
    ablation_speed,
    app_speed,
    channel_speed,
    flow_speed,
    job_speed,
    model_speed,
    sessions,
)
from tests.benchmarks.measure import table


def main() -> int:
    threads = torch.get_num_threads()
    sys.stdout.write(f"{platform.machine()}, {threads} threads, torch {torch.__version__}\n\n")
    with tempfile.TemporaryDirectory() as folder:
        # The job first: the memory of a child process is counted from that of this one.
        store, found = job_speed.rows(Path(folder) / "runs")
        found += model_speed.rows(Path(folder) / "gpt2-small-shape")
        found += channel_speed.rows(Path(folder) / "gpt2-small-shape")
        found += flow_speed.rows(Path(folder) / "gpt2-small-shape")
        found += ablation_speed.rows(store)
        found += app_speed.rows(store)
        found += sessions.rows(store)
    sys.stdout.write(table(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
