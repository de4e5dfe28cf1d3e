"""One display over all stages, on standard error: bars with time left, plain lines in a log, or JSON."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

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

from explorer.core.plain_text import one_line
from precompute.json_log import write_event
from precompute.stage_clock import StageClock

_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_BETWEEN_EVENTS = 2.0
_TINY = 1e-9
_STEPS = {"load": "Loading the model"}
"""Titles of what is timed without a bar."""


class Display:
    """Shows every stage from the start, so that a person sees what is still to come.

    With `as_json`, each line is an object instead: see `json_log`.
    """

    def __init__(self, stages: dict[str, str], as_json: bool = False) -> None:
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.clock = StageClock()
        self._titles = stages
        self._as_json = as_json
        self._rich = Progress(
            TextColumn("{task.description:<34}"),
            BarColumn(bar_width=28),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            disable=as_json or not sys.stderr.isatty(),
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

    def say(self, text: str, **facts: Any) -> None:
        """One line of plain text, above the bars; never markup, no control character obeyed. `facts`
        stand beside it in JSON."""
        if self._as_json:
            write_event("message", message=text.strip(), **facts)
        else:
            self.console.print(one_line(text), markup=False, emoji=False)

    def warn(self, kind: str, count: int) -> None:
        """A counted warning."""
        if self._as_json:
            write_event("warning", "warning", message=kind, count=count)
        else:
            self.say(f"warning: {kind}: {count:,}")

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Time a step that has no bar, such as loading the model."""
        self._event("stage_start", name, message=_STEPS.get(name, name), total=None)
        with self.clock.run(name) as begin:
            yield
        self._event("stage_end", name, seconds=round(time.monotonic() - begin, 3))

    @contextmanager
    def stage(self, name: str, total: float) -> Iterator[StageProgress]:
        """Time a stage and show its progress towards `total` units of its own."""
        task, title = self._tasks[name], self._titles[name]
        total = max(total, _TINY)
        self._rich.update(task, total=total)
        self._rich.start_task(task)
        self._event("stage_start", name, message=title, total=_units(total))
        self._line(f"{title} ...")
        with self.clock.run(name) as begin:
            yield StageProgress(self, name, total, begin)
        seconds = time.monotonic() - begin
        self._rich.update(task, completed=total)
        self._event("stage_end", name, seconds=round(seconds, 3))
        self._line(f"{title}: {seconds:.1f} s")

    def _event(self, event: str, name: str, **facts: Any) -> None:
        if self._as_json:
            write_event(event, stage=name, **facts)

    def _line(self, text: str) -> None:
        if self._rich.disable and not self._as_json:
            self.say(text)

    def advance(self, name: str, by: float, share: float, begin: float) -> None:
        """Move a stage's bar `by` units; `share` of it, 0 to 1, is then done."""
        self._rich.advance(self._tasks[name], by)
        self.clock.tick()
        now = time.monotonic()
        pause = _SECONDS_BETWEEN_EVENTS if self._as_json else _SECONDS_BETWEEN_LINES
        if self._rich.disable and now - max(self._last_line, begin) > pause:
            self._last_line = now
            left = (now - begin) * (1 - share) / max(share, _TINY)
            self._line(f"{self._titles[name]}: {share:.0%}, about {left:.0f} s left")
            total = self._rich.tasks[self._tasks[name]].total or _TINY
            self._event("progress", name, done=_units(share * total), total=_units(total),
                        seconds=round(now - begin, 3), seconds_left=round(left, 1))  # fmt: skip

    def summary(
        self,
        rows: dict[str, int],
        n_tokens: int,
        path: Path | None = None,
        warnings: Mapping[str, int] | None = None,
    ) -> None:
        """Rows per table, seconds per stage, tokens per second of the scan; in JSON also the path of
        the store and the counted warnings."""
        seconds = self.clock.seconds
        scan = seconds.get("scan", 0.0)
        speed = n_tokens / scan if scan > 0 and n_tokens else None
        if self._as_json:
            write_event("published", path=path, rows=rows, warnings=dict(warnings or {}),
                        seconds={name: round(s, 3) for name, s in seconds.items()},
                        tokens_per_second=None if speed is None else round(speed, 1))  # fmt: skip
            return
        left = [(name, f"{count:,}") for name, count in rows.items() if count]
        titles = {**_STEPS, **self._titles}
        right = [(titles.get(name, name), f"{s:.1f}") for name, s in seconds.items()]
        right.append(("total", f"{sum(seconds.values()):.1f}"))
        if speed is not None:
            right.append(("tokens per second, scan", f"{speed:,.0f}"))
        self.console.print(_table(left, right))


def _units(amount: float) -> float:
    """An amount of a stage's units, readable: 0 where a stage has nothing to do."""
    return round(amount, 3)


def _table(left: list[tuple[str, str]], right: list[tuple[str, str]]) -> Table:
    """Rows of tables beside seconds of stages."""
    table = Table(title="Published", title_justify="left")
    for heading in ("table", "rows", "stage", "s"):
        table.add_column(heading, justify="right" if heading in ("rows", "s") else "left")
    for i in range(max(len(left), len(right))):
        table.add_row(
            *(left[i] if i < len(left) else ("", "")),
            *(right[i] if i < len(right) else ("", "")),
        )
    return table


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
