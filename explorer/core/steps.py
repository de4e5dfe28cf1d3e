"""Long work in steps, so that whoever asked for it can show how far it is and let others go between."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")

Steps = Generator[tuple[int, int], None, T]
"""Yields steps done and steps in all after each one, and returns the result."""


def finish(steps: Steps[T]) -> T:
    """Do all steps at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
