"""The first walk: search a token, open its neuron, open a head, edit a prompt live, reload the link."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

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


def search(page: Page, address: str, words: str) -> None:
    page.goto(address)
    heading(page, "Which neurons make the model say")
    field = page.get_by_label("Token", exact=True)
    field.fill(words)
    page.locator("h1", has_text=words).wait_for()


def test_first_walk(page: Page, address: str) -> None:
    console = Console(page)
    search(page, address, "come")
    in_link(page, "token", "␣come")

    page.get_by_role("link", name=re.compile("^2 Neuron")).click()
    heading(page, "neuron")
    at_rest(page)
    neuron = query(page)["neuron"]
    assert re.fullmatch(r"L[45]N\d+", neuron)

    page.get_by_role("link", name=re.compile("^Meet head")).click()
    heading(page, "switch on")
    at_rest(page)
    assert query(page)["neuron"] == neuron
    assert re.fullmatch(r"L[0-5]H[0-7]", query(page)["head"])

    page.get_by_role("link", name=re.compile("^Try it live")).first.click()
    heading(page, "What switches on the")
    wait_for_model(page)
    prompt = page.get_by_label("Prompt: edit it, everything below follows", exact=True)
    prompt.fill("They asked the old man if he would")
    strip_shows(page, "They asked the old man if he would")
    at_rest(page)
    before = page.locator(".nt-live-numbers").inner_text()
    assert "rank" in before
    prompt.press("End")
    page.keyboard.type(" kindly", delay=60)
    strip_shows(page, "They asked the old man if he would kindly")
    expect(page.locator(".nt-live-numbers")).not_to_have_text(before, use_inner_text=True)

    page.reload()
    heading(page, "What switches on the")
    strip_shows(page, "They asked the old man if he would kindly")
    in_link(page, "neuron", neuron)
    assert console.errors == []


def test_typing_never_shows_another_prompt(page: Page, address: str) -> None:
    page.goto(f"{address}/live?neuron=L4N415&text=She")
    wait_for_model(page)
    strip_shows(page, "She")
    field = page.get_by_label("Prompt: edit it, everything below follows", exact=True)
    field.press("End")
    text = " went down to the river and did not"
    page.keyboard.type(text, delay=80)
    strip_shows(page, "She" + text)
    expect(field).to_have_value("She" + text)
    tokens = page.locator("#strip .token .box").all_inner_texts()
    assert "".join(tokens).replace("␣", " ") == "She" + text


def test_a_link_to_nothing_says_so_and_shows_the_rest(page: Page, address: str) -> None:
    console = Console(page)
    page.goto(f"{address}/neuron?neuron=L9N9999")
    heading(page, "neuron")
    expect(page.get_by_text("no neuron L9 N9999").first).to_be_visible()
    assert console.errors == []


def test_hostile_text_is_shown_as_text(page: Page, address: str) -> None:
    evil = "<img src=x onerror=window.evil=1><script>window.evil=1</script>"
    page.goto(f"{address}/live?neuron=L4N415")
    wait_for_model(page)
    page.get_by_label("Prompt: edit it, everything below follows", exact=True).fill(evil)
    strip_shows(page, evil)
    at_rest(page)
    assert page.evaluate("window.evil") is None
