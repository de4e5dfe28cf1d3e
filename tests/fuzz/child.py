"""The reading process as a test sees it: asks, waits, and starts another where one has died."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[2]
_SECONDS = 60


class Reader:
    """`ask` gives `{"ok"}`, `{"refused"}`, `{"traceback"}`, `{"died": exit code}` or `{"hung"}`."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.fuzz.reader"],
                cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
        return self._process

    def ask(self, kind: str, path: Path) -> dict[str, Any]:
        process = self._started()
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(f"{kind} {path}\n".encode())
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], _SECONDS)
        line = process.stdout.readline() if ready else b""
        if line:
            return json.loads(line)
        if not ready:
            process.kill()
        code = process.wait()
        self._process = None
        return {"died": code} if ready else {"hung": _SECONDS}

    def close(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait()
            self._process = None
