"""The dial of Channels as a person feels it, in Chromium: dial moved to all three curves redrawn."""

from __future__ import annotations

import time

from playwright.sync_api import Page

from tests.browser.driving import wait_for_model

_N_MOVES = 14
_QUERY = "tab=components&text=They asked the old man if he would"
# Times, in the page's own clock, of a key on the dial and of the last curve's first change after it.
_WATCH = """() => {
  const curves = ['p', 'neuron', 'attention'].map((name) => `.st-key-nt-figure-channels-${name} svg`);
  window.movedAt = null;
  window.drawnAt = null;
  let waiting = new Set();
  document.addEventListener('keydown', () => {
    window.movedAt = performance.now();
    window.drawnAt = null;
    waiting = new Set(curves);
  }, true);
  new MutationObserver((changes) => {
    for (const change of changes)
      for (const curve of [...waiting])
        if (change.target.parentElement?.closest(curve)) waiting.delete(curve);
    if (window.movedAt && !window.drawnAt && waiting.size === 0) window.drawnAt = performance.now();
  }).observe(document.body, {subtree: true, childList: true, attributes: true});
}"""


def dial_to_charts_seconds(page: Page, url: str) -> list[float]:
    """Seconds for each of some moves of the dial by a key, after the first few."""
    page.goto(f"{url}/channels?{_QUERY}")
    wait_for_model(page)
    page.locator(".st-key-nt-figure-channels-attention svg.marks").wait_for()
    dial = page.get_by_role("slider").first
    dial.focus()
    time.sleep(3)
    page.evaluate(_WATCH)
    found = []
    for number in range(_N_MOVES):
        page.keyboard.press("ArrowLeft" if number < _N_MOVES // 2 else "ArrowRight")
        page.wait_for_function("window.drawnAt !== null")
        found.append(page.evaluate("(window.drawnAt - window.movedAt) / 1000"))
        time.sleep(0.6)
    return found[3:]
