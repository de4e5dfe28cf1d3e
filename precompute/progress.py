"""One display over all stages, on standard error: bars with time left, or plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

_SECONDS_BETWEEN_LINES = 10.0


@dataclass
class StageClock:
    """Seconds that each stage took, in order."""

    seconds: dict[str, float] = field(default_factory=dict)


class Display:
    """Shows every stage from the start, so that a person sees what is still to come."""

    def __init__(self, stages: dict[str, str]) -> None:
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.clock = StageClock()
        self._titles = stages
        self._rich = Progress(
            TextColumn("{task.description:<34}"),
            BarColumn(bar_width=28),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not sys.stderr.isatty(),
        )
        self._tasks: dict[str, TaskID] = {}
        self._last_line = 0.0

    def __enter__(self) -> Self:
        self._rich.__enter__()
        for name, title in self._titles.items():
            self._tasks[name] = self._rich.add_task(title, total=None, start=False)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._rich.__exit__(kind, value, trace)

    def say(self, text: str) -> None:
        """One line of plain text, above the bars; never markup."""
        self.console.print(text, markup=False, emoji=False)

    @contextmanager
    def stage(self, name: str, total: float) -> Iterator[StageProgress]:
        """Time a stage and show its progress towards `total` units of its own."""
        begin = time.monotonic()
        task = self._tasks[name]
        self._rich.update(task, total=max(total, 1e-9))
        self._rich.start_task(task)
        if self._rich.disable:
            self.say(f"{self._titles[name]} ...")
        yield StageProgress(self, name, max(total, 1e-9), begin)
        self._rich.update(task, completed=max(total, 1e-9))
        self.clock.seconds[name] = self.clock.seconds.get(name, 0.0) + time.monotonic() - begin
        if self._rich.disable:
            self.say(f"{self._titles[name]}: {time.monotonic() - begin:.1f} s")

    def advance(self, name: str, by: float, share: float, begin: float) -> None:
        self._rich.advance(self._tasks[name], by)
        now = time.monotonic()
        if self._rich.disable and now - max(self._last_line, begin) > _SECONDS_BETWEEN_LINES:
            self._last_line = now
            left = (now - begin) * (1 - share) / max(share, 1e-9)
            self.say(f"{self._titles[name]}: {share:.0%}, about {left:.0f} s left")

    def summary(self, rows: dict[str, int], n_tokens: int) -> None:
        """Rows per table, seconds per stage, tokens per second of the scan."""
        table = Table(title="Published", title_justify="left")
        for heading, side in (
            ("table", "left"),
            ("rows", "right"),
            ("stage", "left"),
            ("s", "right"),
        ):
            table.add_column(heading, justify=side)  # type: ignore[arg-type]
        left = [(name, f"{count:,}") for name, count in rows.items() if count]
        right = [(self._titles[name], f"{s:.1f}") for name, s in self.clock.seconds.items()]
        right.append(("total", f"{sum(self.clock.seconds.values()):.1f}"))
        scan = self.clock.seconds.get("scan", 0.0)
        if scan > 0 and n_tokens:
            right.append(("tokens per second, scan", f"{n_tokens / scan:,.0f}"))
        for i in range(max(len(left), len(right))):
            table.add_row(
                *(left[i] if i < len(left) else ("", "")),
                *(right[i] if i < len(right) else ("", "")),
            )
        self.console.print(table)


@dataclass
class StageProgress:
    """The progress of one running stage."""

    display: Display
    name: str
    total: float
    begin: float
    done: float = 0.0

    def advance(self, by: float = 1.0) -> None:
        self.done += by
        self.display.advance(self.name, by, min(1.0, self.done / self.total), self.begin)
