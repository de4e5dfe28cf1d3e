"""`--log-json`: what happens, as JSON on standard error, one object a line.

Every object has `time` (ISO 8601, UTC), `level` (info, warning or error) and `event`:

    message      `message`
    stage_start  `stage`, `message` (its title), `total` (in the stage's own units; null if unknown)
    progress     `stage`, `done`, `total`, `seconds`, `seconds_left`; every two seconds at most
    stage_end    `stage`, `seconds`
    warning      `message`, `count`
    published    `path`, `rows` (by table), `seconds` (by stage), `warnings` (counts), `tokens_per_second`
    error        `message`, `status` (the exit status); the last line
    stopped      `message`, `status`; Ctrl-C

More keys and events may come; these keep their meaning. Only ASCII is written: control characters and
all else are escaped as JSON escapes them, so that none reaches a terminal.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any


def write_event(event: str, level: str = "info", **facts: Any) -> None:
    """Write one line. Facts that are None are written as null."""
    head = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "level": level,
        "event": event,
    }
    line = json.dumps({**head, **facts}, ensure_ascii=True, default=str, allow_nan=False)
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
