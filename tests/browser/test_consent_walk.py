"""A run that names a model of its own, in Chromium: asked once, then loaded for everybody."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.driving import DEMO, Console, at_rest, served, wait_for_model

pytestmark = pytest.mark.browser
LINK = "neuron=L4N415&text=They did not"


@pytest.fixture(scope="module")
def theirs(demo_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The demo run as somebody else made it: its model lies in a folder that is not the program's."""
    folder = tmp_path_factory.mktemp("theirs")
    shutil.copytree(DEMO / "model", folder / "their model")
    (store,) = demo_runs.glob("*.duckdb")
    shutil.copy(store, folder / "theirs.duckdb")
    with duckdb.connect(str(folder / "theirs.duckdb")) as con:
        named = json.dumps(str(folder / "their model"))
        con.execute("UPDATE manifest SET value = ? WHERE key = 'model'", (named,))
    with served(folder) as url:
        yield url


def test_one_click_loads_it_for_all(page: Page, browser: Browser, theirs: str) -> None:
    console = Console(page)
    page.goto(f"{theirs}/live?{LINK}")
    # The second colour scheme finds it agreed to already: agreeing holds for the server's life.
    ask = page.get_by_role("button", name="Load this model")
    ready = page.get_by_role("status").filter(has_text="ready")
    expect(ask.or_(ready).first).to_be_visible()
    at_rest(page)
    if ask.count():
        expect(page.locator(".nt-consent")).to_contain_text("their model")
        ask.click()
    wait_for_model(page)  # without a reload
    expect(page.locator(".nt-live-numbers")).to_be_visible()
    other = browser.new_page()
    other.set_default_timeout(60_000)
    other.goto(f"{theirs}/flow?{LINK}")
    wait_for_model(other)
    expect(other.get_by_role("button", name="Load this model")).to_have_count(0)
    other.close()
    assert console.errors == []
