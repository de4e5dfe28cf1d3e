"""A served explorer and a Chromium that looks at it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "assets" / "demo"
CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
SLOW_MS = 60_000


def small_corpus(folder: Path, n_documents: int) -> Path:
    """The first documents of the bundled text."""
    lines = (DEMO / "corpus" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    path = folder / "some.jsonl"
    path.write_text("\n".join(lines[:n_documents]), encoding="utf-8")
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_up(url: str, server: subprocess.Popen[bytes]) -> None:
    """Return once the explorer answers."""
    for _ in range(300):
        assert server.poll() is None, "the explorer ended before it answered"
        try:
            with urllib.request.urlopen(f"{url}/_stcore/health", timeout=1) as reply:
                if reply.status == 200:
                    return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"nothing answers at {url}")


@contextmanager
def served(store_folder: Path) -> Iterator[str]:
    """`python -m explorer` on a free port; gives the address."""
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "explorer", "--store", str(store_folder), "--port", str(port),
         "--no-browser"],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ),
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_up(url, server)
        yield url
    finally:
        server.terminate()
        try:
            server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            server.kill()


@contextmanager
def chromium() -> Iterator[Browser]:
    assert CHROMIUM is not None
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


class Console:
    """Collects a page's console errors and uncaught exceptions.

    A page below the root makes Streamlit's own client ask for its health under that path first and
    fall back to the root; Chromium logs the two misses. They are not the explorer's.
    """

    PROBES = ("/_stcore/health", "/_stcore/host-config")

    def __init__(self, page: Page) -> None:
        self.errors: list[str] = []
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _hear(self, message: ConsoleMessage) -> None:
        is_probe = str(message.location.get("url", "")).endswith(self.PROBES)
        if message.type == "error" and not is_probe:
            self.errors.append(message.text)


def query(page: Page) -> dict[str, str]:
    """What the page's link says, by name."""
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).query).items()}


def in_link(page: Page, name: str, value: str) -> None:
    """Wait until the page's link says this."""
    page.wait_for_function(
        "([name, value]) => new URLSearchParams(location.search).get(name) === value",
        arg=[name, value],
        timeout=SLOW_MS,
    )


def heading(page: Page, words: str) -> None:
    """Wait until the page's question holds these words."""
    page.locator("h1", has_text=words).first.wait_for(timeout=SLOW_MS)


def at_rest(page: Page, longer_than_ms: int = 400) -> None:
    """Wait until no script of the page has run for a while: what it shows is then its last word."""
    page.wait_for_function(
        """(ms) => {
          const app = document.querySelector('[data-testid="stApp"]');
          if (app?.dataset.testScriptState !== 'notRunning') { delete window.ntRest; return false; }
          window.ntRest ??= performance.now();
          return performance.now() - window.ntRest > ms;
        }""",
        arg=longer_than_ms,
        timeout=SLOW_MS,
    )
    page.evaluate("() => { delete window.ntRest; }")


def wait_for_model(page: Page) -> None:
    """Wait until the model is there, and the page drawn with it."""
    page.get_by_role("status").filter(has_text="ready").first.wait_for(timeout=SLOW_MS)
    at_rest(page)


def strip_shows(page: Page, text: str) -> None:
    """Wait until the token strip is that of this prompt."""
    page.locator(f"#strip[data-prompt={json.dumps(text)}]").wait_for(timeout=SLOW_MS)
