"""How work is cut: what a shard and a batch hold. The stages cut by it, and a forecast counts by it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

NEURONS_A_SHARD = 32
DOCUMENTS_A_SHARD = 2048
CHARACTERS_A_SHARD = 1 << 20
SHARDS_A_GROUP = 64
"""Shards of the reading pass that are merged into one on disk once all are there."""
BATCH_TOKENS = {"cpu": 4096, "cuda": 65536}
"""Tokens in one forward pass: more on a GPU, where small batches waste it."""


def by_shard(neurons: Sequence[T]) -> list[list[T]]:
    """The neurons (or what stands for each), parted into shards, in order."""
    size = NEURONS_A_SHARD
    return [list(neurons[first : first + size]) for first in range(0, len(neurons), size)]
