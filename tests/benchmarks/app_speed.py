"""The app as a person feels it, in Chromium: first page of a cold server, key to chart redrawn, text
typed without a pause, a head clicked away."""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

from playwright.sync_api import Page

from tests.benchmarks.dial_page import dial_to_charts_seconds
from tests.benchmarks.measure import Row
from tests.browser.driving import (
    CHROMIUM,
    chromium,
    heading,
    served,
    strip_shows,
    wait_for_model,
)

# Times, in the page's own clock, of the last key and of the first change of the heatmap after it.
_WATCH = """() => {
  window.keyAt = null;
  window.drawnAt = null;
  document.addEventListener('keydown', () => {
    window.keyAt = performance.now();
    window.drawnAt = null;
  }, true);
  const isHeatmap = (change) => change.target.parentElement?.closest('.st-key-nt-figure-live-heads svg');
  new MutationObserver((changes) => {
    if (window.keyAt && !window.drawnAt && changes.some(isHeatmap)) window.drawnAt = performance.now();
  }).observe(document.body, {subtree: true, childList: true, attributes: true});
}"""
_TEXT = "When the two of them had gone down to the river she would"
_TYPED = " went down to the river and did not come"
"""Forty characters."""
_N_CLICKS = 12

# Times, in the page's own clock, of a click's end and of the numbers that follow it.
_WATCH_CLICK = """() => {
  window.clickAt = null;
  window.numbersAt = null;
  const numbers = () => document.querySelector('.nt-live-numbers')?.textContent;
  document.addEventListener('pointerup', () => {
    window.clickAt = performance.now();
    window.numbersAt = null;
    window.before = numbers();
  }, true);
  new MutationObserver(() => {
    if (window.clickAt && !window.numbersAt && numbers() && numbers() !== window.before)
      window.numbersAt = performance.now();
  }).observe(document.body, {subtree: true, childList: true, characterData: true});
}"""
# Middle of the place of a head in the heatmap.
_CELL = """(head) => {
  const marks = document.querySelectorAll('.st-key-nt-figure-live-heads svg.marks [aria-label]');
  const place = [...marks].filter((m) => m.getAttribute('aria-label').includes(`Head: ${head};`)).at(-1);
  const box = place.getBoundingClientRect();
  return [box.x + box.width / 2, box.y + box.height / 2];
}"""


def _first_page_seconds(page: Page, folder: Path) -> tuple[float, float]:
    """From the start of the server to the page's heading and answer, and to its first figure."""
    begin = time.perf_counter()
    with served(folder) as url:
        page.goto(url, wait_until="commit")
        heading(page, "Which neurons make the model say")
        painted = time.perf_counter() - begin
        page.locator("canvas, svg.marks").first.wait_for()
        return painted, time.perf_counter() - begin


def _key_to_chart_seconds(page: Page, url: str) -> list[float]:
    page.goto(f"{url}/live?text=They")
    wait_for_model(page)
    strip_shows(page, "They")
    page.get_by_label("Prompt: edit it, everything below follows", exact=True).press("End")
    time.sleep(2)
    page.evaluate(_WATCH)
    found = []
    for letter in " " + _TEXT:
        page.keyboard.press("Space" if letter == " " else letter)
        page.wait_for_function("window.drawnAt !== null")
        found.append(page.evaluate("(window.drawnAt - window.keyAt) / 1000"))
        time.sleep(0.4)
    return found[5:]


def _typed_without_a_pause(page: Page, url: str) -> tuple[int, float]:
    """Characters lost of forty typed at 80 ms a key, and seconds from the last key to its figures."""
    page.goto(f"{url}/live?text=They")
    wait_for_model(page)
    strip_shows(page, "They")
    field = page.get_by_label("Prompt: edit it, everything below follows", exact=True)
    field.press("End")
    time.sleep(2)
    page.keyboard.type(_TYPED, delay=80)
    began = time.perf_counter()
    strip_shows(page, "They" + _TYPED)
    seconds = time.perf_counter() - began
    time.sleep(1)
    return len("They" + _TYPED) - len(field.input_value()), seconds


def _click_to_numbers_seconds(page: Page, url: str) -> list[float]:
    """From a click on a head to the numbers before and after; off, and on again."""
    page.goto(f"{url}/live?text=They asked the old man if he would")
    wait_for_model(page)
    page.locator(".st-key-nt-figure-live-heads svg.marks").wait_for()
    time.sleep(3)
    page.evaluate(_WATCH_CLICK)
    found = []
    for number in range(_N_CLICKS):
        x, y = page.evaluate(_CELL, f"L{1 + number // 4} H{number % 2}")
        page.mouse.click(x, y)
        page.wait_for_function("window.numbersAt !== null")
        found.append(page.evaluate("(window.numbersAt - window.clickAt) / 1000"))
        time.sleep(1)
    return found


def rows(folder: Path) -> list[Row]:
    """Lines of the table on a folder with a published run; none, said so, without Chromium."""
    if CHROMIUM is None:
        sys.stdout.write("Chromium is missing: the app's own figures are left out\n")
        return []
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(60_000)
        firsts = [_first_page_seconds(page, folder) for _ in range(5)]
        painted, drawn = (statistics.median(seconds) for seconds in zip(*firsts, strict=True))
        with served(folder) as url:
            keys = sorted(_key_to_chart_seconds(page, url))
            lost, settled = _typed_without_a_pause(page, url)
            clicks = sorted(_click_to_numbers_seconds(page, url))
            dial = sorted(dial_to_charts_seconds(page, url))
    p95 = keys[int(0.95 * (len(keys) - 1))]
    return [
        Row("first page painted (heading and answer), cold start", "", painted, None, "3 s",
            f"its first figure after {drawn:.1f} s"),
        Row("key pressed to heatmap redrawn", "", statistics.median(keys), None, "350 ms median",
            f"95th percentile {1000 * p95:.0f} ms (600), {len(keys)} keys, the 150 ms pause included"),
        Row("40 characters typed at 80 ms a key: last key to its figures", "", settled, None, "800 ms",
            f"characters lost: {lost}"),
        Row("click on a head to before and after shown", "", statistics.median(clicks), None,
            "500 ms", f"longest of {len(clicks)}: {1000 * clicks[-1]:.0f} ms"),
        Row("dial of a component moved to its three curves redrawn", "", statistics.median(dial), None,
            "500 ms", f"slowest {1000 * dial[-1]:.0f} ms of {len(dial)}"),
    ]  # fmt: skip
