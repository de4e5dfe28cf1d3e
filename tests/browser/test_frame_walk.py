"""The frame in a browser: the guided first minute, keys, notes, Copy as Python, presentation, a phone."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from explorer.core.store import Store
from explorer.core.types import NeuronId
from explorer.resources.notes_file import read_notes
from tests.browser.driving import (
    Console,
    at_rest,
    heading,
    in_link,
    query,
    strip_shows,
    wait_for_model,
)

pytestmark = pytest.mark.browser

PAGES = ("", "neuron", "head", "map", "live", "flow", "findings", "about")
_PROMPT = "Prompt: edit it, everything below follows"


@pytest.fixture()
def view(browser: Browser) -> Iterator[Page]:
    found = browser.new_page(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    found.set_default_timeout(60_000)
    yield found
    found.close()


def settled(page: Page, words: str = "") -> None:
    """Wait until the page's question is there, and its keys are heard."""
    heading(page, words)
    page.wait_for_function("() => !!window.ntKeyListener")
    at_rest(page)


def test_the_first_minute_leads_to_live_and_stays_hidden(view: Page, address: str) -> None:
    console = Console(view)
    view.goto(address)
    for number in (1, 2, 3):
        view.get_by_text(f"First minute, {number} of 4.").wait_for()
        view.locator(".st-key-nt-guide-go button").click()
    view.get_by_text("First minute, 4 of 4.").wait_for()
    expect(view).to_have_url(re.compile(r"/live(\?|$)"))
    expect(view.locator('[data-testid="stBaseButton-primary"]')).to_have_count(1)
    expect(view.locator(".st-key-nt-guide")).to_contain_text(re.compile(r"Switch L\d H\d off"))
    view.locator(".st-key-nt-guide-go button").click()
    in_link(view, "guide", "0")
    expect(view.get_by_text("First minute")).to_have_count(0)
    view.get_by_role("link", name="Neuron", exact=True).first.click()
    view.locator(".st-key-neuron-before").wait_for()
    settled(view)
    expect(view.get_by_text("First minute")).to_have_count(0)
    view.keyboard.press("?")
    view.get_by_role("button", name="Show the guide").click()
    view.get_by_text("First minute, 2 of 4.").wait_for()
    assert console.errors == []


def test_keys_step_search_and_help(view: Page, address: str, demo_runs: Path) -> None:
    console = Console(view)
    (path,) = demo_runs.glob("*.duckdb")
    with Store.open(path) as store:
        rows = store.studied_neurons()[["layer", "neuron"]].to_numpy().tolist()
    first, second = (str(NeuronId(*row)) for row in rows[:2])
    view.goto(f"{address}/about")
    settled(view, "What the numbers mean")
    view.keyboard.press("/")
    field = view.get_by_label("Token", exact=True)
    expect(field).to_be_focused()
    view.keyboard.type("j")
    expect(field).to_have_value("j")

    view.goto(f"{address}/map?neuron={first}")
    settled(view, "Which heads")
    view.keyboard.press("j")
    in_link(view, "neuron", second)
    view.keyboard.press("k")
    in_link(view, "neuron", first)
    head = query(view).get("head")
    view.keyboard.press("h")
    view.wait_for_function("head => !location.search.includes('head=' + head)", arg=head)

    view.keyboard.press("?")
    help_ = view.get_by_role("dialog", name="Keys and definitions")
    expect(help_).to_be_visible()
    view.keyboard.press("Escape")
    expect(help_).to_be_hidden()
    assert console.errors == []


def test_a_key_moves_live_to_the_next_prompt(view: Page, address: str) -> None:
    view.goto(f"{address}/live?neuron=L4N415&guide=0")
    wait_for_model(view)
    settled(view)
    before = query(view)["prompt"]
    field = view.get_by_label(_PROMPT, exact=True)
    shown = field.input_value()
    view.keyboard.press("n")
    view.wait_for_function("p => !location.search.includes('prompt=' + p)", arg=before)
    expect(field).not_to_have_value(shown)
    view.keyboard.press("p")
    in_link(view, "prompt", before)


def test_python_is_that_of_the_prompt_being_edited(browser: Browser, address: str) -> None:
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(f"{address}/live?neuron=L4N415&guide=0")
    wait_for_model(page)
    text = 'She "did" not'
    page.get_by_label(_PROMPT, exact=True).fill(text)
    strip_shows(page, text)
    page.get_by_role("button", name="Copy as Python").click()
    page.get_by_role("button", name="Copied").wait_for()
    code = page.evaluate("navigator.clipboard.readText()")
    assert text in [
        node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant)
    ]
    context.close()


def test_notes_of_two_sessions_are_both_kept(
    browser: Browser, address: str, demo_runs: Path
) -> None:
    neurons = ("L4N415", "L5N300")
    pages = [browser.new_page() for _ in neurons]
    for page, neuron in zip(pages, neurons, strict=True):
        page.set_default_timeout(60_000)
        page.goto(f"{address}/neuron?neuron={neuron}&guide=0")
        settled(page)
        page.get_by_role("button", name="Notes").click()
    for page, neuron in zip(pages, neurons, strict=True):
        field = page.get_by_label(f"Note on {NeuronId.parse(neuron).label}")
        field.fill(f"of {neuron} <b>")
        field.press("Control+Enter")
    expect(pages[1].get_by_text("of L5N300 <b>").last).to_be_visible()
    expect(pages[1].get_by_text("of L4N415 <b>").last).to_be_visible()
    for page in pages:
        page.close()
    (path,) = demo_runs.glob("*.notes.json")
    found = read_notes(path)
    assert {str(unit): note.text for unit, note in found.items()} == {
        n: f"of {n} <b>" for n in neurons
    }


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1366, 768)])
def test_no_page_is_wider_than_the_screen(
    browser: Browser, address: str, width: int, height: int
) -> None:
    page = browser.new_page(viewport={"width": width, "height": height})
    page.set_default_timeout(60_000)
    wide = []
    for name in PAGES:
        page.goto(f"{address}/{name}")
        settled(page)
        widths = page.evaluate(
            "() => { const m = document.querySelector('.stMain'); return [m.scrollWidth, m.clientWidth]; }"
        )
        if widths[0] > widths[1]:
            wide.append((name, widths))
    page.close()
    assert wide == []


def test_presentation_is_larger_and_fits(view: Page, address: str) -> None:
    sizes = []
    for big in ("", "?big=1"):
        view.goto(f"{address}/neuron{big}")
        settled(view, "neuron")
        view.locator("canvas, svg.marks").first.wait_for()
        box = view.locator("h1.nt-question").bounding_box()
        assert box is not None
        sizes.append(box["height"])
        overflow = view.evaluate("document.querySelector('.stMain').scrollWidth - innerWidth")
        assert overflow <= 0
    assert sizes[1] / sizes[0] == pytest.approx(1.3, abs=0.05)
    expect(view.get_by_text("First minute")).to_have_count(0)
