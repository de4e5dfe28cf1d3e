"""The explorer with a planted leak, to see that the load test finds one: each run of a page, stored or
live, leaves a table in memory for good."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

import numpy as np

from explorer.__main__ import main
from explorer.resources import turns
from tests.sizes import SOAK

KILOBYTES = 200 if SOAK else 8000
"""What each run leaves: over seconds little else would stand out from the allocator's own unrest."""
_kept: list[np.ndarray] = []
_turn = turns.Turns.turn


@contextmanager
def _leaking(self: turns.Turns, who: Hashable, lane: turns.Lane) -> Iterator[None]:
    _kept.append(np.ones(KILOBYTES * 125))
    with _turn(self, who, lane):
        yield


if __name__ == "__main__":
    turns.Turns.turn = _leaking
    sys.exit(main())
