"""Speed as a ratio in one process: two ways of doing things in turn, the median of the ratios."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of the table. `ratio` is None where a line gives seconds alone."""

    what: str
    against: str
    seconds: float
    base_seconds: float | None
    at_most: str
    note: str = ""

    @property
    def ratio(self) -> float | None:
        return None if self.base_seconds is None else self.seconds / self.base_seconds


def seconds_of(act: Callable[[], object]) -> float:
    begin = time.perf_counter()
    act()
    return time.perf_counter() - begin


def in_turn(
    act: Callable[[], object], base: Callable[[], object], repeats: int
) -> tuple[float, float]:
    """Seconds of `act` and of `base`, measured in turn after a warm-up of each.

    The base is its median; `act` is that times the median of the pairwise ratios, so that a machine
    that slows down half-way does not decide.
    """
    act()
    base()
    pairs = [(seconds_of(act), seconds_of(base)) for _ in range(repeats)]
    base_seconds = statistics.median(b for _, b in pairs)
    return base_seconds * statistics.median(a / b for a, b in pairs), base_seconds


def table(rows: list[Row]) -> str:
    lines = ["| what | against | ratio | at most | here |", "|---|---|---|---|---|"]
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.3g}"
        here = _time(row.seconds)
        if row.base_seconds is not None:
            here += f" against {_time(row.base_seconds)}"
        note = f" {row.note}" if row.note else ""
        lines.append(f"| {row.what} | {row.against} | {ratio} | {row.at_most} | {here}{note} |")
    return "\n".join(lines)


def _time(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"
