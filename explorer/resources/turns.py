"""Whose turn it is: runs of pages and the model's jobs in turn over the sessions, waiting without CPU.

Python does one thing at a time, so runs that go on at once only make each other slow. A few go on, the
others wait for their turn. A session that asks for much waits for its own; the others are not kept.
Nothing here knows Streamlit or the model.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Generic, Literal, TypeVar

T = TypeVar("T")
Lane = Literal["page", "edit"]
"""A whole page, or an edit on Live."""
_PLACES = 2
"""Runs that go on at once: one may wait for the store while the other one draws."""
_EDIT_EVERY = 4
"""Where pages and edits both wait, every so manieth turn is an edit's."""


class RoundRobin(Generic[T]):
    """A queue that serves its customers in turn, each one's own things in order. Not thread-safe."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[Hashable, deque[T]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def put(self, who: Hashable, thing: T, first: bool = False) -> None:
        """`first`: this customer comes next."""
        self._waiting.setdefault(who, deque()).append(thing)
        if first:
            self._waiting.move_to_end(who, last=False)

    def get(self) -> T:
        """The next thing. Raises LookupError where nothing waits."""
        if not self._waiting:
            raise LookupError("nothing waits")
        who, things = self._waiting.popitem(last=False)
        thing = things.popleft()
        if things:
            self._waiting[who] = things  # behind all others
        return thing


class Turns:
    """A few places for runs; edits take one of them at most, and begin while no page goes on or waits.

    Every so manieth turn is an edit's nevertheless. A thread that holds a place and asks again goes on
    with the one it has.
    """

    def __init__(self, places: int = _PLACES, edit_every: int = _EDIT_EVERY) -> None:
        self._lock = threading.Lock()
        self._free, self._edit_every = places, edit_every
        self._going: dict[Lane, int] = {"page": 0, "edit": 0}
        self._since_edit = 0
        self._waiting: dict[Lane, RoundRobin[threading.Event]] = {
            "page": RoundRobin(), "edit": RoundRobin(),
        }  # fmt: skip
        self._kept: set[Hashable] = set()
        self._mine = threading.local()

    @contextmanager
    def turn(self, who: Hashable, lane: Lane) -> Iterator[None]:
        """Wait for a place, hold it, and give it to the next one."""
        if getattr(self._mine, "place", None) is not None:
            yield
            return
        self._take(who, lane)
        self._mine.place = (who, lane)
        try:
            yield
        finally:
            if not getattr(self._mine, "aside", False):
                self._give_back(lane)
            self._mine.place, self._mine.aside = None, False

    def come_again(self, who: Hashable) -> None:
        """This session leaves its place for a newer run of its own, which comes next: it has waited."""
        with self._lock:
            self._kept.add(who)

    def step_aside(self) -> None:
        """Let others have this thread's place while it waits for something long; no place, no matter."""
        place = getattr(self._mine, "place", None)
        if place is not None and not getattr(self._mine, "aside", False):
            self._mine.aside = True
            self._give_back(place[1])

    def step_back(self) -> None:
        """Wait for a place again after `step_aside`."""
        if getattr(self._mine, "aside", False):
            self._take(*self._mine.place)
            self._mine.aside = False

    @property
    def n_waiting(self) -> int:
        """How many runs wait."""
        with self._lock:
            return sum(map(len, self._waiting.values()))

    def _take(self, who: Hashable, lane: Lane) -> None:
        came = threading.Event()
        with self._lock:
            self._waiting[lane].put(who, came, first=who in self._kept)
            self._kept.discard(who)
            self._call_next()
        came.wait()

    def _give_back(self, lane: Lane) -> None:
        with self._lock:
            self._free += 1
            self._going[lane] -= 1
            self._call_next()

    def _call_next(self) -> None:
        while self._free and (lane := self._next_lane()) is not None:
            self._free -= 1
            self._going[lane] += 1
            self._since_edit = 0 if lane == "edit" else self._since_edit + 1
            self._waiting[lane].get().set()

    def _next_lane(self) -> Lane | None:
        pages, edits = len(self._waiting["page"]), len(self._waiting["edit"])
        if edits and not self._going["edit"]:
            # Beside a page, an edit would make it last twice as long; it can be replaced, a page not.
            quiet = not pages and not self._going["page"]
            if quiet or self._since_edit >= self._edit_every - 1:
                return "edit"
        return "page" if pages else None


@cache
def runs() -> Turns:
    """The places of this server's runs."""
    return Turns()
