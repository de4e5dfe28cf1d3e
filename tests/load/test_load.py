"""A crowd at one server: no error, no wrong prompt, stored pages in a second, no leak.

`make test` has a few people for seconds; `make soak` has thirty and two in Chromium for five minutes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from precompute.__main__ import main
from tests.browser.driving import CHROMIUM, DEMO, small_corpus
from tests.load.crowd import Crowd, Mix, gather
from tests.load.server import Watched, watched
from tests.load.table import SOAK_MIX, all_pages, growth, p95, report
from tests.sizes import SOAK

MIX = SOAK_MIX if SOAK else Mix(editors=3, viewers=5, tabs=1, seconds=12.0)
PAGE_S = 1.0
"""A stored page, at the 95th percentile."""
LEAK_KB = 20.0 if SOAK else 400.0
"""Growth a request that is no leak: the allocator's own unrest, over some 8,000 requests or 100."""


@pytest.fixture(scope="module")
def store_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run of the bundled model."""
    folder = tmp_path_factory.mktemp("load")
    options = ["--neurons-per-layer", "3", "--random-neurons-per-layer", "1", "--prompts", "6",
               "--tasks", "none"]  # fmt: skip
    call = ["--model", str(DEMO / "model"), "--corpus", str(small_corpus(folder, 240)),
            "--tokens", "␣come", "--out", str(folder / "runs"), *options]  # fmt: skip
    assert main(call) == 0
    (found,) = (folder / "runs").glob("*.duckdb")
    return found


def _gather(store_file: Path, folder: Path, mix: Mix, *program: str) -> tuple[Crowd, Watched]:
    runs = folder / "runs"
    runs.mkdir(parents=True)
    (runs / store_file.name).write_bytes(store_file.read_bytes())
    with watched(runs, folder / "log.txt", *([program] if program else [])) as server:
        crowd = gather(server, runs, mix if CHROMIUM else replace(mix, tabs=0))
    return crowd, server


@pytest.fixture(scope="module")
def met(
    store_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Crowd, Watched]]:
    crowd, server = _gather(store_file, tmp_path_factory.mktemp("crowd"), MIX)
    print(report(crowd, server))  # noqa: T201 shown where a test fails
    yield crowd, server


@pytest.mark.timeout(MIX.seconds + 300)
def test_nobody_meets_an_error_or_another_prompt(met: tuple[Crowd, Watched]) -> None:
    crowd, server = met
    assert crowd.errors == [] and server.tracebacks() == []
    assert crowd.wrong == []
    # Enough was asked for and checked, that this says something.
    assert crowd.edited.checks >= MIX.editors and len(crowd.edited.seconds) >= MIX.editors
    assert crowd.opened.pages >= 0.25 * MIX.viewers * MIX.seconds / 3
    assert crowd.typed.checks >= (1 if CHROMIUM else 0)
    assert crowd.cut >= 2 and len(crowd.offered_s) == MIX.editors + MIX.viewers


@pytest.mark.skipif(not SOAK, reason="a busy machine makes pages late; make soak has it to itself")
def test_stored_pages_stay_quick(met: tuple[Crowd, Watched]) -> None:
    assert p95(all_pages(met[0])) < PAGE_S


def test_the_servers_memory_stays(met: tuple[Crowd, Watched]) -> None:
    assert growth(*met) < LEAK_KB


@pytest.mark.timeout(600)
def test_a_planted_leak_would_be_found(store_file: Path, tmp_path: Path) -> None:
    """Control of the test before: something is kept at each page and edit."""
    mix = replace(MIX, tabs=0, seconds=min(MIX.seconds, 120.0))
    crowd, server = _gather(store_file, tmp_path, mix, "-m", "tests.load.leaking")
    print(report(crowd, server))  # noqa: T201 shown where a test fails
    assert growth(crowd, server) > LEAK_KB
