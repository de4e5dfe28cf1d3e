"""Seconds that each stage took: in this call, and in earlier ones that did not come to publish."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

SECONDS_FILE = "seconds.json"
"""In the work folder: seconds of the calls that worked there, by stage."""
_SECONDS_BETWEEN_SAVES = 10.0


@dataclass
class StageClock:
    """Stages in order of their first end. `seconds` has the stages that ended in this call; a stage
    that was stopped counts for the next call's `earlier` alone."""

    seconds: dict[str, float] = field(default_factory=dict)
    earlier: dict[str, float] = field(default_factory=dict)
    _stopped: dict[str, float] = field(default_factory=dict)
    _running: dict[str, float] = field(default_factory=dict)
    _file: Path | None = None
    _last_save: float = 0.0

    def keep_in(self, work: Path) -> None:
        """Read what earlier calls kept in the work folder, and keep this call's seconds there too."""
        self._file = work / SECONDS_FILE
        self.earlier = read_seconds(self._file)

    def forget(self) -> None:
        """The run is published: its seconds are in the manifest."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)
            self._file = None

    @contextmanager
    def run(self, name: str) -> Iterator[float]:
        """Time a stage; gives the moment of its beginning, by the monotonic clock."""
        begin = self._running[name] = time.monotonic()
        into = self._stopped
        try:
            yield begin
            into = self.seconds
        finally:
            del self._running[name]
            into[name] = into.get(name, 0.0) + time.monotonic() - begin
            self._save()

    def tick(self) -> None:
        """Keep the seconds of a running stage now and then, should the process be killed."""
        if time.monotonic() - self._last_save > _SECONDS_BETWEEN_SAVES:
            self._save()

    def _save(self) -> None:
        self._last_save = time.monotonic()
        if self._file is None or not _holds_work(self._file.parent):
            return
        total = dict(self.earlier)
        running = {name: self._last_save - begin for name, begin in self._running.items()}
        for part in (self.seconds, self._stopped, running):
            for name, seconds in part.items():
                total[name] = total.get(name, 0.0) + seconds
        unfinished = self._file.with_name(SECONDS_FILE + ".tmp")
        unfinished.write_text(json.dumps(total))
        unfinished.replace(self._file)


def _holds_work(work: Path) -> bool:
    """A folder without shards is removed when the run ends: seconds alone shall not keep it."""
    return work.is_dir() and any(path.is_dir() for path in work.iterdir())


def read_seconds(path: Path) -> dict[str, float]:
    """The seconds kept in a work folder; none where the file is missing or damaged (it is a record of
    work, and no work depends on it)."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    items = found.items() if isinstance(found, dict) else ()
    return {name: float(s) for name, s in items if isinstance(s, int | float) and s >= 0}
