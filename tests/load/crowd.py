"""A seminar room at one server: some edit on Live, others walk the stored pages, two sit at Chromium.

Editors send an edit a second, viewers open a page every three seconds; the timers of each tab go on
as in a browser. Meanwhile tabs are cut off in the middle of an analysis, and a newer run is published,
which everybody is offered, opens, and goes on with. Wrong is a figure that says another prompt than
its person's own last one, a stored page that is not the one asked for, and a run that nobody was
offered.
"""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Page
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from tests.benchmarks.live_session import Session, Tally
from tests.benchmarks.sessions import browse, prompt_of, two_tabs
from tests.benchmarks.visit import Visit, joined
from tests.load.server import Watched, publish_newer
from tests.load.viewer import Opened, Place, Viewer, places

NEWER = "a-newer-run"
_EVERY_S = 3.0
_PATIENCE_S = 60.0
"""What has not come by then is lost: a busy machine is late, and that is another matter."""
_AFTER_PUBLISHING = 0.25
"""Share of the time after which the newer run is published."""


@dataclass(frozen=True)
class Mix:
    """How many of each, and for how long."""

    editors: int
    viewers: int
    tabs: int
    seconds: float
    cut_every_s: float = 2.0


@dataclass
class Crowd:
    """What all met together."""

    mix: Mix
    edited: Tally = field(default_factory=Tally)
    opened: Opened = field(default_factory=Opened)
    typed: Tally = field(default_factory=Tally)
    """In Chromium."""
    cut: int = 0
    polls: int = 0
    not_offered: list[str] = field(default_factory=list)
    offered_s: list[float] = field(default_factory=list)
    """Seconds from the publication to its offer, a session each."""
    began: float = 0.0
    ended: float = 0.0

    @property
    def errors(self) -> list[str]:
        return [*self.edited.errors, *self.opened.errors, *self.typed.errors]

    @property
    def wrong(self) -> list[str]:
        return [*self.edited.wrong, *self.opened.wrong, *self.typed.wrong, *self.not_offered]

    @property
    def requests(self) -> int:
        """Edits, pages and polls asked for, and tabs that were cut off."""
        return self.edited.edits + self.typed.edits + self.opened.pages + self.polls + self.cut


class _Room:
    """One gathering: its people meet, and are sent off together."""

    def __init__(self, server: Watched, folder: Path, mix: Mix) -> None:
        self.server, self.folder, self.mix = server, folder, mix
        self.crowd = Crowd(mix)
        (store_file,) = folder.glob("*.duckdb")
        self.places = places(store_file)
        self.together = asyncio.Barrier(mix.editors + mix.viewers + 2)
        self.started = threading.Event()
        self.published: float | None = None

    async def gather(self) -> None:
        people = [self._editor(i) for i in range(self.mix.editors)]
        people += [self._viewer(i) for i in range(self.mix.viewers)]
        await asyncio.gather(*people, self._cutter(), self._publisher())

    async def _meet(self) -> float:
        await self.together.wait()
        self.started.set()
        if not self.crowd.began:
            self.crowd.began = time.perf_counter()
        return self.crowd.began + self.mix.seconds

    async def _editor(self, number: int) -> None:
        who = f"Editor{number}"
        async with joined(self.server.url) as socket:
            session = Session(socket, Tally(errors=self.crowd.edited.errors))
            await session.open(who)
            session.tally.seconds.clear()
            end = await self._meet()
            await session.listen(number / self.mix.editors)
            n = 0
            while (now := time.perf_counter()) < end:
                if session.is_offered and session.run != NEWER:
                    await self._open_newer(session)
                await session.edit(prompt_of(who, n))
                n += 1
                await session.listen(max(0.0, now + 1 - time.perf_counter()))
            last = prompt_of(who, n - 1)
            await session.listen(_PATIENCE_S, until=last)
            if session.shown != last:
                session.tally.wrong.append(f"the last prompt never came: {last}")
            await self._take_leave(session, who)
        mine, all_ = session.tally, self.crowd.edited
        all_.edits += n
        all_.checks += mine.checks
        all_.wrong += mine.wrong
        all_.seconds += mine.seconds

    async def _viewer(self, number: int) -> None:
        who, run = f"viewer {number}", None
        async with joined(self.server.url) as socket:
            viewer = Viewer(socket, self.crowd.opened)
            step = 13 * number
            await viewer.open(self._place(step), measured=False)
            end = await self._meet()
            await viewer.rest(_EVERY_S * number / self.mix.viewers)
            while (now := time.perf_counter()) < end:
                if viewer.is_offered and run is None:
                    await self._open_newer(viewer)
                    run = NEWER
                step += 1
                await viewer.open(self._place(step), run)
                await viewer.rest(max(0.0, now + _EVERY_S - time.perf_counter()))
            await self._take_leave(viewer, who)

    def _place(self, step: int) -> Place:
        return self.places[step % len(self.places)]

    async def _open_newer(self, visit: Visit) -> None:
        """Press *Open it*, and wait for the whole page of the newer run."""
        n_ended, end = visit.n_ended, time.perf_counter() + _PATIENCE_S
        await visit.open_newer_run()
        while visit.run != NEWER or visit.n_ended == n_ended:
            if not await visit.hear_next(end):
                visit.errors.append("the newer run did not open")
                return

    async def _take_leave(self, visit: Visit, who: str) -> None:
        """What was published late may be offered after the time; nobody goes before."""
        self.crowd.ended = max(self.crowd.ended, time.perf_counter())
        end = time.perf_counter() + _PATIENCE_S
        while visit.offered_at is None and await visit.hear_next(end):
            pass
        if visit.is_offered and visit.run != NEWER:
            await self._open_newer(visit)
        self.crowd.polls += visit.polls
        if visit.offered_at is None or self.published is None:
            self.crowd.not_offered.append(f"{who} was not offered the newer run")
        elif visit.run != NEWER:
            self.crowd.not_offered.append(f"{who} stayed with the run {visit.run}")
        else:
            self.crowd.offered_s.append(visit.offered_at - self.published)

    async def _cutter(self) -> None:
        """Tabs that ask for an analysis and are cut off while it goes on."""
        end = await self._meet()
        while time.perf_counter() < end:
            async with joined(self.server.url) as socket:
                session = Session(socket, Tally(errors=self.crowd.edited.errors))
                await session.open(f"Cut{self.crowd.cut}")
                await session.edit(f"Cut{self.crowd.cut} " + "the way home " * 20)
                await asyncio.sleep(0.03)
                socket.transport.abort()
            self.crowd.cut += 1
            await asyncio.sleep(self.mix.cut_every_s)

    async def _publisher(self) -> None:
        await self._meet()
        await asyncio.sleep(_AFTER_PUBLISHING * self.mix.seconds)
        await asyncio.to_thread(publish_newer, self.folder, NEWER)
        self.published = time.perf_counter()


def gather(server: Watched, folder: Path, mix: Mix) -> Crowd:
    """Have them all work for a while. `folder` holds one run, and another one afterwards."""
    with ExitStack() as stack, ThreadPoolExecutor(1) as thread:
        pages, consoles = stack.enter_context(two_tabs(server.url, mix.tabs))
        room = _Room(server, folder, mix)
        others = thread.submit(lambda: asyncio.run(room.gather()))
        while not room.started.wait(0.1):
            assert not others.done(), others.exception()
        if pages:
            browse(pages, mix.seconds, room.crowd.typed)
        others.result()
        for page in pages:
            _open_newer_run(page, room.crowd)
        room.crowd.typed.errors += [e for console in consoles for e in console.errors]
    return room.crowd


def _open_newer_run(page: Page, crowd: Crowd) -> None:
    try:
        page.get_by_role("button", name="Open it").click(timeout=10_000)
        page.wait_for_url(f"**run={NEWER}*", timeout=10_000)
    except PlaywrightTimeout:
        crowd.not_offered.append("a tab in Chromium did not open the newer run")
