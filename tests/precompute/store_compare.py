"""Stores of one run made in different ways: the same rows, and floats alike within rounding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.precompute.calling import manifest, tables

_WAYS = {
    "start", "end", "seconds", "seconds_earlier", "manifest_sha256", "table_sha256", "out", "engine",
    "workers", "ray_address", "device", "device_used", "machine", "log_json", "keep_shards", "force",
    "run_id", "warnings",
}  # fmt: skip
"""What the manifest says of how a run was worked on."""


def gap(a: Any, b: Any) -> float:
    """The largest difference of two values, relative to the larger where that is above 1; infinite where
    they are not of one form."""
    if isinstance(a, float) and isinstance(b, float):
        return 0.0 if a == b else abs(a - b) / max(1.0, abs(a), abs(b))
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        if a and all(isinstance(x, float) for x in (*a, *b)):
            x, y = np.array(a), np.array(b)
            return float((np.abs(x - y) / np.maximum(1.0, np.maximum(abs(x), abs(y)))).max())
        return max((gap(x, y) for x, y in zip(a, b, strict=True)), default=0.0)
    return 0.0 if a == b else float("inf")


def largest_gaps(first: Path, second: Path) -> dict[str, float]:
    """The largest gap of each table; infinite where rows differ in more than floats."""
    ours, theirs = tables(first), tables(second)
    assert ours.keys() == theirs.keys()
    return {name: gap(ours[name], theirs[name]) for name in ours}


def assert_like(found: Path, expected: Path, within: float = 1e-5) -> None:
    """The same rows in the same order, floats within `within`, and the same facts of the run."""
    gaps = largest_gaps(found, expected)
    assert max(gaps.values()) <= within, {name: g for name, g in gaps.items() if g > within}
    ours, theirs = (manifest(path, without=_WAYS) for path in (found, expected))
    assert ours == theirs
