"""The check in Chromium tells a tab that is late from one that shows something wrong."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page

from tests.benchmarks.live_session import N_SAYING, SHOWN, Tally
from tests.benchmarks.sessions import check
from tests.browser.driving import CHROMIUM, chromium

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
TYPED = ["Sara", "Sara went", "Sara went home"]


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with chromium() as browser:
        yield browser.new_page()


def _look(page: Page, said: list[str], state: str = "notRunning") -> Tally:
    """Check a tab whose strip and figures say these prompts."""
    figures = "".join(
        f'<div class="st-key-nt-figure-live-{n}"><svg class="marks">'
        f'<g aria-label="{SHOWN}{prompt}"></g></svg></div>'
        for n, prompt in enumerate(said[1:])
    )
    page.set_content(
        f'<div data-testid="stApp" data-test-script-state="{state}">'
        '<div data-testid="stBidiComponentIsolated"><template shadowrootmode="open">'
        f'<p id="strip" data-prompt="{said[0]}"></p></template></div>{figures}</div>'
    )
    tally = Tally()
    check(page, TYPED, tally, patience_ms=200)
    return tally


def test_the_newest_prompt_in_all_figures_is_right(page: Page) -> None:
    tally = _look(page, ["Sara went home"] * N_SAYING)
    assert tally.wrong == [] and tally.late == [] and tally.checks == 1


@pytest.mark.parametrize("shown", ["Sara went", "Sara we"])
def test_an_older_prompt_of_ones_own_is_late(page: Page, shown: str) -> None:
    tally = _look(page, [shown] * N_SAYING)
    assert tally.wrong == [] and tally.late == ["Sara went home"]


def test_figures_of_two_prompts_are_late_while_the_run_goes_on_and_wrong_once_it_ended(
    page: Page,
) -> None:
    mixed = ["Sara went home", *["Sara went"] * (N_SAYING - 1)]
    assert _look(page, mixed, "running").wrong == []
    assert "in one run" in _look(page, mixed).wrong[0]
    assert "in one run" in _look(page, mixed[:-1]).wrong[0]  # a figure is missing


def test_another_persons_prompt_is_wrong_even_while_the_run_goes_on(page: Page) -> None:
    other = ["Sara went home"] * (N_SAYING - 1) + ["Max went home"]
    assert "another person's prompt: Max" in _look(page, other, "running").wrong[0]
