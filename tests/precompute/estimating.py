"""Runs that are only planned, for the tests of estimates."""

from __future__ import annotations

from typing import Any

from precompute.config import JobConfig
from precompute.estimates.shapes import NAMED
from precompute.estimates.workload import CorpusSize, RunSize, run_size


def size_of(name: str = "gpt2", documents: int = 1000, **options: Any) -> RunSize:
    config = JobConfig(model="m", corpus="c", **options)
    half = CorpusSize(documents / 2, documents / 2 * 300)
    return run_size(config, NAMED[name], {"train": half, "test": half})
