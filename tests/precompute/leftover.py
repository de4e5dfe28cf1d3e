"""Folders of stores with unfinished work in them, made by the job's own pieces."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from precompute.checkpoint import ShardFolder, key_of, write_run_note
from precompute.stage_clock import SECONDS_FILE

ROOT = Path(__file__).parents[2]


def unfinished_run(out: Path, name: str = "x", options: dict[str, Any] | None = None) -> Path:
    """A work folder: three shards of one stage, one of another, replies, seconds and a torn write."""
    work = out / f"{name}.partial"
    work.mkdir(parents=True)
    (work / "lock").touch()
    parts = {"corpus": "abc", "prompts": 3}
    scan = ShardFolder(work, "scan-train", key_of(parts), parts)
    for index in range(3):
        table = pa.table({"x": list(range(index, index + 50))})
        scan.save(f"shard-{index:06d}", {"peaks": table, "none": table.slice(0, 0)})
    ShardFolder(work, "heads", key_of({"a": 1})).save("shard-000000", {"t": pa.table({"x": [1]})})
    (scan.path / "shard-000009.peaks.arrow.tmp").write_bytes(b"half")
    (work / "store.partial").write_bytes(b"half a store")
    (work / "replies.jsonl").write_text('{"key": 1}\n{"key": 2}\n')
    (work / SECONDS_FILE).write_text(json.dumps({"load": 2.0, "scan": 61.0}))
    if options is not None:
        write_run_note(work, f"{name}-0123abcd", options)
    return work


def damage(work: Path) -> None:
    """Flip one byte of one shard of the scan."""
    (path,) = work.glob("scan-train-*/shard-000001.peaks.arrow")
    raw = path.read_bytes()
    path.write_bytes(raw[:400] + bytes([raw[400] ^ 1]) + raw[401:])


@contextmanager
def job_at_work(work: Path) -> Iterator[None]:
    """Another process holds the folder, as a job does."""
    hold = (
        "import sys; from pathlib import Path; from precompute.checkpoint import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(work)], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield
        finally:
            process.kill()


def everything(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every path below a folder, with time of change and content, so that a change shows."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mtime_ns, path.lstat().st_mode,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in sorted(folder.rglob("*"))
    }  # fmt: skip
