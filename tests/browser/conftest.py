"""A small real run of the bundled model, served and looked at in Chromium."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from precompute.__main__ import main
from tests.browser.driving import CHROMIUM, DEMO, chromium, served, small_corpus

if CHROMIUM is None and not os.environ.get("CI"):
    collect_ignore_glob = ["test_*.py"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say it where the browser tests are left out; in CI their absence is a failure."""
    if CHROMIUM is None:
        terminalreporter.write_line(
            "Chromium is missing: tests/browser was left out; install chromium"
        )

expect.set_options(timeout=30_000)
"""Generous: a busy machine draws late, and a test that waits costs nothing where it is quick."""


@pytest.fixture(scope="session")
def demo_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one small run of the bundled model."""
    folder = tmp_path_factory.mktemp("demo-runs")
    corpus = small_corpus(folder, 240)
    options = ["--neurons-per-layer", "3", "--random-neurons-per-layer", "1", "--prompts", "6"]
    call = ["--model", str(DEMO / "model"), "--corpus", str(corpus), "--tokens", "␣come",
            "--out", str(folder / "runs"), *options]  # fmt: skip
    assert main(call) == 0
    return folder / "runs"


@pytest.fixture(scope="session")
def address(demo_runs: Path) -> Iterator[str]:
    with served(demo_runs) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, closed after each file: its event loop must not run on under other tests."""
    with chromium() as found:
        yield found


@pytest.fixture(params=["light", "dark"])
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    found = browser.new_page(
        viewport={"width": 1440, "height": 900}, color_scheme=request.param, reduced_motion="reduce"
    )
    found.set_default_timeout(60_000)
    yield found
    found.close()
