"""Batches that do not fit into memory are halved and tried again, and it is counted.

A batch decides no number but its rounding, so that halves give the same results within float error.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from explorer.core.errors import ExplorerError

T = TypeVar("T")
R = TypeVar("R")

_SIGNS = ("not enough memory", "out of memory", "can't allocate memory", "ALLOC_FAILED")
"""How torch says it where it raises a plain RuntimeError: the CPU's allocator, and CUDA's libraries."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on the CPU or on a GPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


def _release() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class Halver:
    """Runs batches, in halves where they do not fit. What once did not fit is not tried whole again."""

    def __init__(self) -> None:
        self.n_halved = 0
        """Batches that had to be halved so far."""
        self._too_large: dict[str, int] = {}

    def run(
        self,
        kind: str,
        work: Callable[[Sequence[T]], R],
        items: Sequence[T],
        length: Callable[[T], int],
    ) -> Iterator[tuple[Sequence[T], R]]:
        """The items as they fitted, in order, with what `work` made of them.

        `kind` names the work, whose batches cost by their tokens: items times the longest `length`.
        Raises ExplorerError where a single item does not fit.
        """
        size = len(items) * max(map(length, items))
        if len(items) > 1 and size >= self._too_large.get(kind, size + 1):
            yield from self._halves(kind, work, items, length)
            return
        try:
            result = work(items)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            if len(items) == 1:
                raise ExplorerError(
                    f"not enough memory for a single prompt ({kind}); use a machine or GPU with more, or "
                    "another --device"
                ) from error
            self._too_large[kind] = size
        else:
            yield items, result
            return
        # Outside of `except`: the error held on to the tensors of the failed pass.
        _release()
        self.n_halved += 1
        yield from self._halves(kind, work, items, length)

    def _halves(
        self,
        kind: str,
        work: Callable[[Sequence[T]], R],
        items: Sequence[T],
        length: Callable[[T], int],
    ) -> Iterator[tuple[Sequence[T], R]]:
        middle = (len(items) + 1) // 2
        for half in (items[:middle], items[middle:]):
            yield from self.run(kind, work, half, length)
