"""A neuron or a head taken away as one HTML page: downloaded with a click, read without a network."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Dialog, Page, Route

from explorer.charts.style import DARK, LIGHT
from explorer.core.store import Store
from tests.browser.driving import Console, at_rest, heading, served
from tests.explorer.page_reader import neurons_with
from tests.explorer.seeded import write_seeded_store

WIDTHS = (1100, 390)


@pytest.fixture(scope="module")
def hostile_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the seeded store, whose texts are hostile."""
    return write_seeded_store(tmp_path_factory.mktemp("hostile")).parent


@pytest.fixture(scope="module")
def hostile_address(hostile_runs: Path) -> Iterator[str]:
    with served(hostile_runs) as url:
        yield url


@pytest.fixture(scope="module")
def pair(hostile_runs: Path) -> tuple[str, str]:
    """A neuron one of whose prompts holds `<script>`, and a head that is studied for it."""
    with Store.open(hostile_runs / "seeded.duckdb") as store:
        for neuron in neurons_with(store, "<script>"):
            rows = store.head_activity(neuron).query("studied")
            if not rows.empty:
                return str(neuron), f"L{rows['head_layer'].iloc[0]}H{rows['head'].iloc[0]}"
    raise AssertionError("the seeded store has such a pair")


def _take(page: Page, folder: Path) -> Path:
    """Click the page's way to its file, once the page is whole: a menu closes when it is redrawn."""
    at_rest(page)
    page.locator("[data-testid=stVegaLiteChart] svg").first.wait_for()
    page.get_by_role("button", name="Export", exact=True).click()
    with page.expect_download() as download:
        page.get_by_role("button", name="HTML page, self-contained").click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


@pytest.mark.parametrize("view", ["neuron", "head"])
def test_the_file_is_read_without_scripts_or_network(
    browser: Browser, hostile_address: str, pair: tuple[str, str], view: str, tmp_path: Path
) -> None:
    neuron, head = pair
    explorer = browser.new_page(viewport={"width": 1440, "height": 900})
    explorer.set_default_timeout(60_000)
    explorer.goto(f"{hostile_address}/{view}?neuron={neuron}&head={head}")
    heading(explorer, neuron.replace("N", " N"))
    path = _take(explorer, tmp_path)
    explorer.close()
    assert re.fullmatch(r"seeded-l\dn\d+(-l\dh\d)?\.html", path.name)
    for scheme, colours in (("light", LIGHT), ("dark", DARK)):
        for width in WIDTHS:
            _read(browser, path, scheme, colours.page, width)


def _read(browser: Browser, path: Path, scheme: str, background: str, width: int) -> None:
    page = browser.new_page(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,  # type: ignore[arg-type]
    )
    asked: list[str] = []
    alerts: list[str] = []

    def note(route: Route) -> None:
        asked.append(route.request.url)
        route.continue_()

    def dismiss(dialog: Dialog) -> None:
        alerts.append(dialog.message)
        dialog.dismiss()

    console = Console(page)
    page.route("**", note)
    page.on("dialog", dismiss)
    page.goto(path.as_uri())
    assert asked == [path.as_uri()]
    assert alerts == [] and console.errors == []
    assert page.locator("script, img, iframe, object, embed, link").count() == 0
    shown = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert shown == f"rgb({', '.join(str(int(background[i : i + 2], 16)) for i in (1, 3, 5))})"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("svg").count() >= 3
    assert "<script>" in page.locator("main").inner_text().replace("␣", " ")
    peaks = page.locator(".row .peak")
    assert peaks.count() > 0
    for place in range(min(3, peaks.count())):  # the peak token is in sight without scrolling
        box = peaks.nth(place).bounding_box()
        assert box is not None and 0 <= box["x"] < box["x"] + box["width"] <= width
    # The control: what the page forbids is refused here, and would run elsewhere.
    assert not _runs_scripts(page)
    page.goto("about:blank")
    assert _runs_scripts(page)
    page.close()


def _runs_scripts(page: Page) -> bool:
    page.evaluate(
        "const s = document.createElement('script'); s.textContent = 'window.ran = 1';"
        "document.body.append(s)"
    )
    return bool(page.evaluate("window.ran === 1"))
