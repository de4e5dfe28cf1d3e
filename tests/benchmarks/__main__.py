"""`make bench`: every speed figure of the README, printed as a table.

`python -m tests.benchmarks baseline growth` runs chosen parts alone; `load`, `rates` and `device`
run only when asked for. Parts that need Chromium or Streamlit are loaded only where they run.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import torch

from tests.benchmarks.measure import Row, table

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "assets" / "demo" / "model"


class Bench:
    """What parts share: the demo job's store, made once, and a folder for the rest."""

    def __init__(self, scratch: Path, device: str, store: Path | None) -> None:
        self.scratch, self.device, self._given = scratch, device, store
        self.job_rows: list[Row] = []

    @cached_property
    def store(self) -> Path:
        """The folder of the demo job's store."""
        if self._given is not None:
            return self._given
        from tests.benchmarks import job_speed

        folder, self.job_rows = job_speed.rows(self.scratch / "runs", self.device)
        return folder


def _job(bench: Bench) -> list[Row]:
    _ = bench.store
    return bench.job_rows


def _models(bench: Bench) -> list[Row]:
    from tests.benchmarks import channel_speed, flow_speed, model_speed

    small = bench.scratch / "gpt2-small-shape"
    return [*model_speed.rows(small), *channel_speed.rows(small), *flow_speed.rows(small)]


def _ablations(bench: Bench) -> list[Row]:
    from tests.benchmarks import ablation_speed

    return ablation_speed.rows(bench.store)


def _app(bench: Bench) -> list[Row]:
    from tests.benchmarks import app_speed

    return app_speed.rows(bench.store)


def _sessions(bench: Bench) -> list[Row]:
    from tests.benchmarks import sessions

    return sessions.rows(bench.store)


def _load(bench: Bench) -> list[Row]:
    from tests.load import table

    return table.rows(bench.store)


def _least(bench: Bench) -> list[Row]:
    from tests.benchmarks import least

    return least.rows(bench.store, DEMO, bench.device)


def _baseline(bench: Bench) -> list[Row]:
    from tests.benchmarks import baseline

    return baseline.rows(bench.store, DEMO, bench.device)


def _growth(bench: Bench) -> list[Row]:
    from tests.benchmarks import growth

    sys.stdout.write(growth.table(growth.curves(bench.scratch / "growth", bench.device)) + "\n\n")
    return []


def _rates(bench: Bench) -> list[Row]:
    from tests.benchmarks import rates

    fitted, errors = rates.fitted(rates.runs_for_rates(bench.scratch, bench.device))
    sys.stdout.write(rates.as_table(fitted) + "\n")
    for stage, found in errors.items():
        sys.stdout.write(f"{stage}: " + ", ".join(f"{e:.2f}" for e in found) + " of actual\n")
    return []


def _device(bench: Bench) -> list[Row]:
    from tests.benchmarks import device

    device.main(bench.device, 240)
    return []


# The job first: the memory of a child process is counted from that of this one.
PARTS: dict[str, Callable[[Bench], list[Row]]] = {
    "job": _job, "least": _least, "baseline": _baseline, "models": _models, "ablations": _ablations,
    "growth": _growth, "app": _app, "sessions": _sessions, "load": _load, "rates": _rates, "device": _device,
}  # fmt: skip
USUAL = tuple(name for name in PARTS if name not in ("load", "rates", "device"))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), help="(default: cuda where there is one)"
    )
    parser.add_argument("--store", type=Path, help="folder with a finished demo run of this device")
    given = parser.parse_args()
    unknown = [name for name in given.parts if name not in PARTS]
    if unknown:
        parser.error(f"no part called {unknown[0]}; choose of {', '.join(PARTS)}")
    device = given.device or ("cuda" if torch.cuda.is_available() else "cpu")
    threads = torch.get_num_threads()
    sys.stdout.write(
        f"{platform.machine()}, {threads} threads, torch {torch.__version__}, {device}\n\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), device, given.store)
        found = [row for name in given.parts or USUAL for row in PARTS[name](bench)]
    if found:
        sys.stdout.write(table(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
