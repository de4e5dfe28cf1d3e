"""A store that is hostile in every text, on every page, in Chromium: all of it is shown, none of it runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, Request, expect

from explorer.core.store import Store
from tests.browser.driving import SLOW_MS, Console, at_rest, served
from tests.explorer.hostile_store import EVIL, IMG, write_hostile_store

pytestmark = pytest.mark.browser
SHOWN = "src=x onerror=window.evil=1"
"""A piece of the hostile texts, as a person must be able to read it."""
CONTROLS = set("\x1b\x07\u202e\u2066\ufeff")
"""What no page may hold: it would turn or hide what stands around it."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile-runs")
    write_hostile_store(folder)
    (folder / f"junk {IMG}\u202e.duckdb").write_text("no store")
    return folder


@pytest.fixture(scope="module")
def hostile(runs: Path) -> Iterator[str]:
    with served(runs) as url:
        yield url


@pytest.fixture(scope="module")
def pages(runs: Path) -> dict[str, str]:
    """Every page with a link that shows as much of it as can be."""
    (path,) = (p for p in runs.glob("*.duckdb") if not p.name.startswith("junk"))
    with Store.open(path) as store:
        pair = store.sql(
            "SELECT layer, neuron, head_layer, head FROM explanations WHERE explainer <> 'contrast' LIMIT 1"
        ).iloc[0]
        neuron = f"L{pair['layer']}N{pair['neuron']}"
        head = f"L{pair['head_layer']}H{pair['head']}"
    evil = quote(EVIL)
    return {
        "tokens": f"?token={evil}",
        "neuron": f"neuron?neuron={neuron}",
        "head": f"head?neuron={neuron}&head={head}&explainer={evil}",
        "map": f"map?neuron={neuron}&measure={evil}",
        "live": f"live?neuron={neuron}&text={evil}&text2={evil}",
        "flow": f"flow?neuron={neuron}&text={evil}",
        "channels": f"channels?tab=components&src=L1H0&dst=L5H0&explainer={evil}",
        "laundry": "channels?tab=laundry",
        "findings": f"findings?measure={evil}&run={evil}",
        "about": "about",
    }


def _harm(page: Page) -> list[str]:
    """What of the hostile texts became more than text."""
    return page.evaluate(
        """() => {
          const found = [];
          if (window.evil !== undefined) found.push(`it ran: ${window.evil}`);
          for (const node of document.querySelectorAll(
            'img[src="x"], img[src*="beacon"], iframe[srcdoc], svg[onload], '
            + 'a[href^="javascript:" i], [onerror]'
          )) found.push(node.outerHTML.slice(0, 120));
          for (const script of document.scripts)
            if (script.textContent.includes("window.evil")) found.push("a script");
          return found;
        }"""
    )


def _text(page: Page) -> str:
    return page.evaluate(
        "() => document.body.innerText + [...document.querySelectorAll('svg [aria-label]')]"
        ".map((n) => n.getAttribute('aria-label')).join(' ')"
    )


NAMES = (
    "tokens",
    "neuron",
    "head",
    "map",
    "live",
    "flow",
    "channels",
    "laundry",
    "findings",
    "about",
)


@pytest.mark.parametrize("name", NAMES)
def test_every_page_shows_hostile_texts_and_none_runs(
    browser: Browser, hostile: str, pages: dict[str, str], name: str
) -> None:
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.set_default_timeout(SLOW_MS)
    console, asked = Console(page), []
    dialogs: list[str] = []

    def hear(request: Request) -> None:
        if not request.url.startswith((hostile, "data:", "blob:")):
            asked.append(request.url)

    page.on("request", hear)
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.goto(f"{hostile}/{pages[name]}")
    page.locator("h1").first.wait_for()
    at_rest(page)
    for part in page.locator("details:not([open]) > summary").all():
        part.click()
    words = _text(page)
    assert SHOWN in words.replace("\u2423", " "), words[:2000]
    assert not CONTROLS & set(words)
    assert _harm(page) == []
    assert (dialogs, asked) == ([], [])
    assert not [e for e in console.errors if "evil" in e or "Content Security" in e]
    expect(page.locator('[data-testid="stException"]')).to_have_count(0)
    # The control: on this very page, what was shown would run if it were markup.
    page.evaluate("(evil) => document.body.insertAdjacentHTML('beforeend', evil)", EVIL)
    page.wait_for_function("() => window.evil !== undefined")
    assert _harm(page) != []
    page.close()


def test_menus_and_pickers_too(browser: Browser, hostile: str, pages: dict[str, str]) -> None:
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.set_default_timeout(SLOW_MS)
    page.goto(f"{hostile}/{pages['neuron']}")
    at_rest(page)
    page.get_by_role("combobox", name="Run").click()
    expect(page.get_by_role("option").first).to_be_visible()
    page.keyboard.press("Escape")
    for menu in ("Export", "Notes"):
        button = page.get_by_role("button", name=menu).first
        if button.count():
            button.click()
            page.wait_for_timeout(300)
            page.keyboard.press("Escape")
    page.keyboard.press("?")
    page.wait_for_timeout(300)
    assert _harm(page) == []
    page.close()


@pytest.mark.parametrize("name", ["neuron", "head"])
def test_the_exported_page_too(
    browser: Browser, hostile: str, pages: dict[str, str], tmp_path: Path, name: str
) -> None:
    page = browser.new_page(viewport={"width": 1440, "height": 900}, accept_downloads=True)
    page.set_default_timeout(SLOW_MS)
    page.goto(f"{hostile}/{pages[name]}")
    at_rest(page)
    page.locator("[data-testid=stVegaLiteChart] svg").first.wait_for()
    page.get_by_role("button", name="Export", exact=True).click()
    with page.expect_download() as download:
        page.get_by_role("button", name="HTML page, self-contained").click()
    suggested = download.value.suggested_filename
    assert "/" not in suggested and ".." not in suggested and "\u202e" not in suggested
    path = tmp_path / "taken.html"
    download.value.save_as(path)
    page.goto(path.as_uri())
    assert SHOWN in _text(page).replace("\u2423", " ")
    assert _harm(page) == []
    # The control: without its policy and escapes the same file would run.
    path.write_text(f"<!doctype html><title>x</title><body>{EVIL}")
    page.goto(path.as_uri())
    page.wait_for_function("() => window.evil !== undefined")
    page.close()
