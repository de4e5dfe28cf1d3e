"""Every reply that was paid for, on disk the moment it comes, so that none is paid for twice.

One JSON line a reply, under a key of endpoint, model and request. A line is written whole and forced
to disk before the reply is used; a line that a kill tore is passed over, and the next one starts anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from precompute.explainers.openai_replies import Reply


def request_key(base_url: str, request: Mapping[str, Any]) -> str:
    """SHA-256 of where a request goes and of all that is in it, the model's name included."""
    text = json.dumps([base_url, request], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


class ReplyLog:
    """The replies of a file, by key; the last one counts where a key occurs twice."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.n_torn = 0
        """Lines that are no reply: what a kill or a full disk left of one."""
        self._replies: dict[str, Reply] = {}
        self._ends_clean = True
        if path.exists():
            self._read(path.read_bytes())

    def _read(self, raw: bytes) -> None:
        self._ends_clean = not raw or raw.endswith(b"\n")
        for line in raw.split(b"\n"):
            if not line:
                continue
            try:
                row = json.loads(line)
                self._replies[str(row["key"])] = Reply.from_json(row["reply"])
            except (ValueError, KeyError, TypeError, RecursionError):
                self.n_torn += 1

    def __len__(self) -> int:
        return len(self._replies)

    def get(self, key: str) -> Reply | None:
        return self._replies.get(key)

    def append(self, key: str, request: Mapping[str, Any], reply: Reply) -> None:
        """Keep a reply. It is on disk when this returns; OSError where the disk cannot take it."""
        row = {
            "key": key,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "request": request,
            "reply": asdict(reply),
        }
        line = json.dumps(row, ensure_ascii=True).encode() + b"\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as stream:
            stream.write(line if self._ends_clean else b"\n" + line)
            self._ends_clean = False  # until all of it is known to be there
            stream.flush()
            os.fsync(stream.fileno())
        self._ends_clean = True
        self._replies[key] = reply
