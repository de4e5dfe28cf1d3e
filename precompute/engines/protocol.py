"""What an engine is asked for: functions of a worker and a task, done somewhere, as they become ready."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from precompute.checkpoint import Tables
from precompute.worker import Worker

ShardWork = Callable[[Worker, Any], Tables]
"""A function of a module (a cluster finds it by name), its task plain data."""


@dataclass(frozen=True)
class Ready:
    """A shard that was worked on."""

    ticket: int
    """What `submit` returned."""
    tables: Tables
    n_halved: int
    """Batches that did not fit into memory of another process, and were halved there."""
    is_ticked: bool
    """Whether the worker has told of its progress as it went."""


class Engine(Protocol):
    """Works on shards; used as a context manager, which stops what it has started."""

    batch_tokens: int
    """Tokens of one forward pass where the work is done."""
    ahead: int
    """Shards to hand over before the first is waited for."""

    def submit(self, work: ShardWork, task: Any) -> int:
        """Hand a shard over. Returns the ticket by which it comes back."""
        ...

    def next_ready(self) -> Ready:
        """Wait for any shard that was handed over, and return it."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
