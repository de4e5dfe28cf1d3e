"""Ten people edit on Live at once: eight over Streamlit's own WebSocket, two in Chromium.

Every figure says which prompt it was drawn for. Wrong is a figure that says another person's prompt, a
finished run whose figures do not all say one same prompt, or one that goes back to an older prompt. A
run that an edit overtakes is let be once its prompts are known to be the person's own. A label could be
right above wrong numbers, so a fresh server afterwards draws every prompt anew for one person alone, and
the numbers are compared.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from playwright.sync_api import Page
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from tests.benchmarks.live_session import N_SAYING, SHOWN, Numbers, Session, Tally
from tests.benchmarks.measure import Row
from tests.benchmarks.visit import joined
from tests.browser.driving import (
    CHROMIUM,
    Console,
    chromium,
    served,
    strip_shows,
    wait_for_model,
)

_SECONDS = 20.0
_LABEL = "Prompt: edit it, everything below follows"
_NAMES = ("Mary", "John", "Anna", "Peter", "Lily", "Tom", "Sara", "Ben", "Lucy", "Max")
"""One a person: the last two are those in Chromium."""
_N_SOCKETS = 8
_PLACES = ("shop", "river", "garden", "school", "park", "house", "lake")
_DEEDS = ("saw a dog", "found the", "gave it to", "was very", "did not", "said that", "took a", "came", "ran",
          "had", "could not see", "wanted to")  # fmt: skip


def prompt_of(name: str, n: int) -> str:
    """The n-th prompt of a person; no two are alike, of one person or of two."""
    words = f"{name} went to the {_PLACES[n % len(_PLACES)]} and {_DEEDS[n % len(_DEEDS)]}"
    return words + " then" * (n // (len(_PLACES) * len(_DEEDS)))


async def _one_person(
    url: str, number: int, seconds: float, together: asyncio.Barrier, started: threading.Event
) -> Tally:
    async with joined(url) as socket:
        session = Session(socket, Tally())
        await session.open(_NAMES[number])
        session.tally.seconds.clear()
        session.tally.numbers.clear()
        session.tally.checks = 0
        await together.wait()
        started.set()
        await session.listen(number / _N_SOCKETS)
        for n in range(int(seconds)):
            due = time.perf_counter() + 1
            await session.edit(prompt_of(_NAMES[number], n))
            session.tally.edits += 1
            await session.listen(due - time.perf_counter())
        last = prompt_of(_NAMES[number], int(seconds) - 1)
        await session.listen(30, until=last)
        if session.shown != last:
            session.tally.wrong.append(f"the last prompt never came: {last}")
        return session.tally


async def _eight_people(url: str, seconds: float, started: threading.Event) -> list[Tally]:
    together = asyncio.Barrier(_N_SOCKETS)
    people = [_one_person(url, i, seconds, together, started) for i in range(_N_SOCKETS)]
    return list(await asyncio.gather(*people))


async def _differing(url: str, found: dict[str, Numbers]) -> list[str]:
    """Prompts whose numbers are others than those that one person alone gets."""
    async with joined(url) as socket:
        alone = Session(socket, Tally())
        await alone.open("They")
        for prompt in found:
            await alone.edit(prompt)
            await alone.listen(30, until=prompt)
    return [p for p, numbers in found.items() if not _same(numbers, alone.tally.numbers.get(p))]


def _same(a: Numbers, b: Numbers | None) -> bool:
    return b is not None and a.keys() == b.keys() and all(
        len(a[k]) == len(b[k]) and np.allclose(a[k], b[k], rtol=1e-4, atol=1e-5, equal_nan=True)
        for k in a
    )  # fmt: skip


# --- in Chromium ----------------------------------------------------------------------------

_PATIENCE_MS = 10_000
"""For a prompt to be shown; longer is late."""
_LONG_MS = 60_000
"""For the last prompt of all; longer is lost."""
_STATE = """() => ({
  atRest: document.querySelector('[data-testid="stApp"]')?.dataset.testScriptState === 'notRunning',
  said: [[...document.querySelectorAll('[data-testid="stBidiComponentIsolated"]')].map((part) =>
      part.shadowRoot?.querySelector('#strip')).find(Boolean)?.dataset.prompt ?? '',
    ...[...document.querySelectorAll("[class*='st-key-nt-figure-live-'] svg.marks")].map((figure) =>
      figure.querySelector("[aria-label^='SHOWN']")?.getAttribute('aria-label').slice(LENGTH) ?? '')],
})""".replace("SHOWN", SHOWN).replace("LENGTH", str(len(SHOWN)))
_ALL_SAY = f"""(prompt) => {{
  const found = ({_STATE})();
  return found.atRest && found.said.length === {N_SAYING} && found.said.every((s) => s === prompt);
}}"""
_AGREE_OR_GO_ON = f"""() => {{
  const found = ({_STATE})();
  return !found.atRest || (found.said.length === {N_SAYING} && new Set(found.said).size === 1);
}}"""


def _shows(page: Page, prompt: str, patience_ms: float) -> bool:
    """Whether strip and figures come to say the prompt, the run ended."""
    try:
        page.wait_for_function(_ALL_SAY, arg=prompt, timeout=patience_ms)
    except PlaywrightTimeout:
        return False
    return True


def check(page: Page, typed: list[str], tally: Tally, patience_ms: float = _PATIENCE_MS) -> None:
    """Look at a tab after its person has typed these prompts, the newest last.

    Late: the newest is not shown in time. Wrong: what is shown then is none that this person typed, or
    the figures of a run that has ended do not say one same prompt.
    """
    tally.checks += 1
    tally.errors += page.get_by_test_id("stException").all_inner_texts()
    if _shows(page, typed[-1], patience_ms):
        return
    tally.late.append(typed[-1])
    said = page.evaluate(_STATE)["said"]
    # What is shown may be the beginning of a prompt that was being typed.
    others = [s for s in said if not any(own.startswith(s) for own in typed)]
    if others:
        tally.wrong.append(f"in Chromium, another person's prompt: {others[0]}")
    try:
        page.wait_for_function(_AGREE_OR_GO_ON, timeout=patience_ms)
    except PlaywrightTimeout:
        tally.wrong.append(f"in Chromium, figures of the prompts {sorted(set(said))} in one run")


@contextmanager
def two_tabs(url: str, count: int = 2) -> Iterator[tuple[list[Page], list[Console]]]:
    """People in Chromium, each on Live with a prompt of their own, and what their consoles say."""
    names = _NAMES[_N_SOCKETS:][:count]
    with chromium() as browser:
        pages = [browser.new_page(viewport={"width": 1440, "height": 900}) for _ in names]
        consoles = [Console(page) for page in pages]
        for page, name in zip(pages, names, strict=True):
            page.goto(f"{url}/live?text={name}")
            wait_for_model(page)
            strip_shows(page, name)
        yield pages, consoles


def browse(pages: list[Page], seconds: float, tally: Tally) -> None:
    """All type a prompt over the one before, about once a second; the last one must come."""
    begin = time.perf_counter()
    typed: list[list[str]] = [[name] for name in _NAMES[_N_SOCKETS:][: len(pages)]]
    n = 0
    while time.perf_counter() - begin < seconds:
        due = time.perf_counter() + 1
        for page, mine in zip(pages, typed, strict=True):
            mine.append(prompt_of(mine[0], n))
            page.get_by_label(_LABEL, exact=True).select_text()
            page.keyboard.type(mine[-1], delay=5)
            tally.edits += 1
        for page, mine in zip(pages, typed, strict=True):
            check(page, mine, tally)
        n += 1
        time.sleep(max(0.0, due - time.perf_counter()))
    for page, mine in zip(pages, typed, strict=True):
        if not _shows(page, mine[-1], _LONG_MS):
            tally.wrong.append(f"in Chromium, the last prompt never came: {mine[-1]}")


def _ten_people(url: str, seconds: float) -> tuple[list[Tally], Tally]:
    in_chromium, started = Tally(), threading.Event()
    with two_tabs(url) as (pages, consoles), ThreadPoolExecutor(1) as thread:
        others = thread.submit(lambda: asyncio.run(_eight_people(url, seconds, started)))
        while not started.wait(0.1):
            assert not others.done(), others.exception()
        browse(pages, seconds, in_chromium)
        by_socket = others.result()
    in_chromium.errors += [error for console in consoles for error in console.errors]
    return by_socket, in_chromium


def rows(folder: Path, seconds: float = _SECONDS) -> list[Row]:
    """The line of the table on a folder with a published run; none, said so, without Chromium."""
    if CHROMIUM is None:
        sys.stdout.write("Chromium is missing: ten sessions at once are left out\n")
        return []
    with served(folder) as url:
        by_socket, in_chromium = _ten_people(url, seconds)
    found = {prompt: numbers for tally in by_socket for prompt, numbers in tally.numbers.items()}
    with served(folder) as url:
        differing = asyncio.run(_differing(url, found))
    tallies = [*by_socket, in_chromium]
    errors = [error for tally in tallies for error in tally.errors]
    wrong = [w for t in tallies for w in t.wrong] + [f"other numbers: {p}" for p in differing]
    for line in errors + wrong:
        sys.stdout.write(f"{line}\n")
    took = sorted(second for tally in by_socket for second in tally.seconds)
    p95 = took[int(0.95 * (len(took) - 1))]
    sent = sum(tally.edits for tally in by_socket)
    note = (
        f"95th percentile {1000 * p95:.0f} ms; errors {len(errors)}, wrong prompts {len(wrong)}, "
        f"late in Chromium {len(in_chromium.late)}; {sent} "
        f"edits over 8 WebSockets ({sent - len(took)} overtaken), {in_chromium.edits} typed in 2 "
        f"Chromium; {len(found)} prompts' numbers compared with those of one person alone"
    )
    what = f"10 sessions editing at once for {seconds:.0f} s: edit to its run finished"
    return [Row(what, "", statistics.median(took), None, "errors 0, wrong prompts 0", note)]


if __name__ == "__main__":
    from tests.benchmarks.measure import table

    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("folder", type=Path)
    options.add_argument("--seconds", type=float, default=_SECONDS)
    chosen = options.parse_args()
    sys.stdout.write(table(rows(chosen.folder, chosen.seconds)) + "\n")
