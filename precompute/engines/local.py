"""The engine of one machine: each shard in this process, when it is waited for."""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import Any, Self

from precompute.engines.protocol import Ready, ShardWork
from precompute.worker import Worker


class LocalEngine:
    """One worker, one shard at a time."""

    ahead = 1

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._waiting: deque[tuple[int, ShardWork, Any]] = deque()
        self._n_submitted = 0
        self.batch_tokens = worker.batch_tokens

    def submit(self, work: ShardWork, task: Any) -> int:
        self._n_submitted += 1
        self._waiting.append((self._n_submitted, work, task))
        return self._n_submitted

    def next_ready(self) -> Ready:
        ticket, work, task = self._waiting.popleft()
        return Ready(ticket, work(self._worker, task), 0, True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._waiting.clear()
