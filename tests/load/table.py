"""What a crowd met, as a table; run as a program, the load test on a folder of one's own choice."""

from __future__ import annotations

import argparse
import math
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.measure import Row
from tests.load.crowd import Crowd, Mix, gather
from tests.load.server import Watched, watched

SOAK_MIX = Mix(editors=10, viewers=20, tabs=2, seconds=300.0)
"""Thirty sessions, and two in Chromium."""


def p95(seconds: list[float]) -> float:
    """The 95th percentile: at most one in twenty took longer."""
    ordered = sorted(seconds)
    return ordered[int(0.95 * (len(ordered) - 1))] if ordered else math.nan


def all_pages(crowd: Crowd) -> list[float]:
    return [second for seconds in crowd.opened.seconds.values() for second in seconds]


def report(crowd: Crowd, server: Watched) -> str:
    """Lines of markdown."""
    mix, edited, pages = crowd.mix, crowd.edited.seconds, all_pages(crowd)
    before, after = memory(crowd, server)
    lines = [
        f"{mix.editors} editors, {mix.viewers} viewers, {mix.tabs} in Chromium, {mix.seconds:.0f} s",
        "", "| what | count | p50 | p95 | longest |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for name, seconds in (
        ("edits, to the end of their run", edited),
        ("stored pages", pages),
        *sorted(crowd.opened.seconds.items()),
        ("newer run offered", crowd.offered_s),
    ):
        if seconds:
            lines.append(
                f"| {name} | {len(seconds)} | {1000 * statistics.median(seconds):.0f} ms | "
                f"{1000 * p95(seconds):.0f} ms | {1000 * max(seconds):.0f} ms |"
            )
    sent = crowd.edited.edits
    lines += [
        "",
        f"Requests {crowd.requests} ({sent} edits, of which {sent - len(edited)} were replaced by a "
        f"newer one; {crowd.typed.edits} typed in Chromium, {crowd.typed.checks} checked there, "
        f"{len(crowd.typed.late)} late; "
        f"{crowd.opened.pages} pages; {crowd.polls} polls; {crowd.cut} tabs cut off). "
        f"Errors {len(crowd.errors)}, wrong {len(crowd.wrong)}. "
        f"Server's memory {before:.0f} MB after warm-up, {after:.0f} MB at the end.",
        *crowd.errors[:20], *crowd.wrong[:20],
    ]  # fmt: skip
    return "\n".join(lines)


def memory(crowd: Crowd, server: Watched) -> tuple[float, float]:
    """Megabytes after warm-up (half-way, a newer run taken up by all) and at the end; medians."""
    span = (crowd.ended - crowd.began) / 8
    half = crowd.began + 4 * span
    return server.megabytes(half, half + span), server.megabytes(crowd.ended - span, crowd.ended)


def growth(crowd: Crowd, server: Watched) -> float:
    """Kilobytes that the server's memory grew by after warm-up, a request; negative where it shrank."""
    before, after = memory(crowd, server)
    # Half of the time lies between, less half a span at each end.
    return 1000 * (after - before) / (crowd.requests * 7 / 16)


def rows(folder: Path, mix: Mix = SOAK_MIX) -> list[Row]:
    """The line of the bench's table; the folder's run is copied, and the folder left as it is."""
    with tempfile.TemporaryDirectory() as place:
        mine = Path(place) / "runs"
        mine.mkdir()
        shutil.copy(max(folder.glob("*.duckdb"), key=lambda file: file.stat().st_mtime), mine)
        with watched(mine, Path(place) / "log.txt") as server:
            crowd = gather(server, mine, mix)
        sys.stdout.write(report(crowd, server) + "\n")
        for line in server.tracebacks():
            sys.stdout.write(f"{line}\n")
    before, after = memory(crowd, server)
    pages = all_pages(crowd)
    note = (
        f"95th percentile {1000 * p95(pages):.0f} ms of {len(pages)}; edits "
        f"{1000 * p95(crowd.edited.seconds):.0f} ms; {before:.0f} MB after warm-up, {after:.0f} at the "
        f"end; errors {len(crowd.errors)}, wrong {len(crowd.wrong)}"
    )
    what = (
        f"{mix.editors} people editing, {mix.viewers} reading, {mix.tabs} in Chromium: stored page"
    )
    return [
        Row(
            what,
            "",
            statistics.median(pages or [math.nan]),
            None,
            "1 s at the 95th percentile",
            note,
        )
    ]


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("folder", type=Path)
    for name, default in (("editors", 10), ("viewers", 20), ("tabs", 2), ("seconds", 300)):
        options.add_argument(f"--{name}", type=int, default=default)
    chosen = options.parse_args()
    rows(chosen.folder, Mix(chosen.editors, chosen.viewers, chosen.tabs, chosen.seconds))
