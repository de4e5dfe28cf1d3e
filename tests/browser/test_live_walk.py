"""The demo story on Live: a head clicked away, the word changes, two prompts, the link in another browser."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from playwright.sync_api import Browser, Page, TimeoutError, expect

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

MARY = "When Mary and John went to the shop, John gave a book to"


def click_head(page: Page, head: str) -> None:
    """Click a head's place in the heatmap, once it stands still."""
    at_rest(page)
    quick_click(page, head)


def quick_click(page: Page, head: str) -> None:
    """Click it at once."""
    marks = page.locator(".st-key-nt-figure-live-heads svg.marks")
    marks.locator(f"[aria-label*='Head: {head};']").last.click()


def off(page: Page, *heads: str) -> None:
    """Wait until exactly these heads are off, in the URL and on the page."""
    wanted = ",".join(head.replace(" ", "") for head in heads)
    page.wait_for_function(
        "(off) => (new URL(location).searchParams.get('off') || '') === off", arg=wanted
    )
    expect(page.locator("[class*='st-key-live-off-'] button")).to_have_count(len(heads))


def numbers(page: Page) -> str:
    return page.locator(".nt-live-numbers").inner_text().replace("\n", " ")


def test_three_heads_away_and_the_word_changes(page: Page, address: str) -> None:
    console = Console(page)
    page.goto(f"{address}/live?neuron=L5N612&token=␣Mary&text={MARY}")
    wait_for_model(page)
    strip_shows(page, MARY)
    expect(page.locator(".nt-live-numbers")).to_contain_text("99.8 %")
    at_rest(page)
    assert "→" not in numbers(page)
    for n, head in enumerate(("L3 H0", "L5 H3", "L5 H5"), start=1):
        click_head(page, head)
        off(page, *("L3 H0", "L5 H3", "L5 H5")[:n])
    expect(page.locator(".nt-live-numbers")).to_contain_text("12.0 %")
    expect(page.get_by_text("Contributions alone predict")).to_be_visible()
    expect(page.locator(".st-key-nt-figure-live-next")).to_contain_text("John")
    expect(page.locator(".st-key-live-attention")).to_contain_text("Where L5 H5 looks")
    # The same head again switches it on; Escape on the strip switches on all.
    click_head(page, "L5 H5")
    off(page, "L3 H0", "L5 H3")
    page.locator("#strip").focus()
    page.keyboard.press("Escape")
    off(page)
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("location.search.includes('pos=12')")
    assert console.errors == []


def test_two_prompts_and_their_difference(page: Page, address: str, browser: Browser) -> None:
    console = Console(page)
    page.goto(f"{address}/live?neuron=L4N415&text=They did not")
    wait_for_model(page)
    strip_shows(page, "They did not")
    page.get_by_role("button", name="+ Second prompt").click()
    second = page.get_by_label("Prompt B", exact=True)
    expect(second).to_have_value("They did not")
    at_rest(page)
    second.fill("They had not")
    strip_shows(page, "They had not")
    at_rest(page)
    heading_words = page.locator("[class*='st-key-nt-figure-live'] h2").all_inner_texts()
    assert [w for w in heading_words if w.startswith("B − A")] == [
        "B − A · Heads", "B − A · All parts", "B − A · What comes next"]  # fmt: skip
    click_head(page, "L2 H3")
    off(page, "L2 H3")
    table = page.locator(".nt-live-two")
    expect(table).to_contain_text("B − A")
    at_rest(page)
    before = table.inner_text()
    page.get_by_role("button", name="Swap").click()
    in_link(page, "text", "They had not")
    strip_shows(page, "They had not")
    expect(table).not_to_have_text(before, use_inner_text=True)
    in_link(page, "text2", "They did not")
    at_rest(page)
    # Another browser shows the same from the link alone.
    link, shown = page.url, table.inner_text()
    other = browser.new_page(viewport={"width": 1366, "height": 768})
    other.set_default_timeout(60_000)
    other.goto(link)
    wait_for_model(other)
    expect(other.locator(".nt-live-two")).to_have_text(shown, use_inner_text=True)
    off(other, "L2 H3")
    other.close()
    assert console.errors == []


def test_quick_clicks_all_count_and_back_goes_back(page: Page, address: str) -> None:
    console = Console(page)
    page.goto(f"{address}/live?neuron=L5N612&token=␣Mary&text={MARY}")
    wait_for_model(page)
    strip_shows(page, MARY)
    at_rest(page)
    for head in ("L3 H0", "L5 H3", "L5 H5"):
        quick_click(page, head)
        page.wait_for_timeout(200)  # a quick hand; the drawing follows later
    off(page, "L3 H0", "L5 H3", "L5 H5")
    expect(page.locator(".nt-live-numbers")).to_contain_text("12.0 %")
    at_rest(page)
    click_head(page, "L5 H5")
    off(page, "L3 H0", "L5 H3")
    page.go_back()  # at once: no message has told the server yet that its address has arrived
    off(page, "L3 H0", "L5 H3", "L5 H5")
    expect(page.locator(".nt-live-numbers")).to_contain_text("12.0 %")
    page.go_forward()
    off(page, "L3 H0", "L5 H3")
    assert console.errors == []


def test_a_click_on_a_page_that_is_being_left_harms_nothing(page: Page, address: str) -> None:
    console = Console(page)
    page.goto(f"{address}/live?neuron=L5N612&token=␣Mary&text={MARY}")
    wait_for_model(page)
    for head, other in (("L3 H0", "Map"), ("L5 H3", "About"), ("L5 H5", "Head")):
        quick_click(page, head)
        page.get_by_role("link", name=other, exact=True).first.click()
        with suppress(TimeoutError):  # the chart may be gone already
            page.locator(".st-key-nt-figure-live-heads svg.marks [aria-label*='Head: L4 H4;']").last.click(
                timeout=300
            )
        expect(page).to_have_url(re.compile(f"/{other.lower()}(\\?|$)"))
        at_rest(page)
        page.get_by_role("link", name="Live", exact=True).first.click()
        strip_shows(page, MARY)
        wait_for_model(page)
    assert console.errors == []


def test_an_example_opens_and_a_surprise_is_another_prompt(page: Page, address: str) -> None:
    page.goto(f"{address}/live?neuron=L4N415&text=They did not")
    wait_for_model(page)
    page.get_by_role("button", name="Examples").click()
    page.get_by_role("button", name=re.compile("The last thing on the list")).click()
    heading(page, "What switches on the")
    page.wait_for_function("location.search.includes('L4N311')")
    click_head(page, "L4 H4")
    off(page, "L4 H4")
    expect(page.locator(".nt-live-numbers")).to_contain_text("26.4 %")
    page.get_by_role("button", name="Surprise me").click()
    page.wait_for_function("location.search.includes('prompt=')")
    off(page)
    at_rest(page)
    assert "text" not in query(page)


def test_hostile_second_prompt_is_shown_as_text(page: Page, address: str) -> None:
    evil = "<img src=x onerror=window.evil=1><script>window.evil=1</script>"
    page.goto(f"{address}/live?neuron=L4N415&text=They&text2=went&off=L2H3")
    wait_for_model(page)
    page.get_by_label("Prompt B", exact=True).fill(evil)
    strip_shows(page, evil)
    expect(page.locator(".st-key-live-attention")).to_contain_text("cript")
    at_rest(page)
    assert page.evaluate("window.evil") is None
