"""Every figure on every page can be taken away: SVG, PNG 1,600 pixels wide, and its numbers as CSV."""

from __future__ import annotations

import io
import struct
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import streamlit as st

from explorer.charts.export import PNG_WIDTH, to_svg
from explorer.charts.style import DARK
from explorer.components.chips import plain_markdown, unmarked
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from explorer.resources import models
from tests.explorer.live_page import write_live_store
from tests.explorer.page_reader import open_page
from tests.explorer.seeded_channels import PLANTED_RECEIVER, PLANTED_SOURCE
from tests.explorer.seeded_effects import TWICE_EXPLAINED

STORED = {
    "tokens": {"Heads that switch them on", "Top 20 neurons by congruence", "Where these 20 neurons sit"},
    "neuron": {"What each head adds, prompt by prompt", "In what share of prompts", "Truncation of",
               "Tokens it writes to", "Prompts that activate it most"},
    "head": {"Neurons it serves", "Does the explanation hold on new prompts?", "When is it active?",
             "What happens when it is removed", "Where it looks"},
    "map": {"Share active"},
    "findings": {"How well explanations hold on new prompts", "Where each token's best neuron sits",
                 "Does the model say the neuron's token?", "Direct contribution against measured effect",
                 "Removing a head where it is active, and where it is not", "The run in numbers"},
    "about": {"Every number", "Counted warnings", "Rows stored"},
}  # fmt: skip
"""Figures that each page must have, by the start of their titles."""
HTML_DRAWINGS = {"Prompts that activate it most", "Where it looks"}
"""Those drawn as HTML, which is what is taken away of them."""

Taken = dict[str, dict[str, Callable[[], Any]]]
"""By figure (key of its menu) and kind of file: what makes the file."""


@pytest.fixture()
def taken(monkeypatch: pytest.MonkeyPatch) -> Taken:
    """What the download buttons of a page's figures would make."""
    found: Taken = {}

    def button(label: str, data: Any, file_name: str, *_: Any, key: str = "", **__: Any) -> bool:
        name, ending = key.rsplit("-", 1) if "-" in key else (key, "")
        if ending in ("csv", "png", "svg", "html"):
            found.setdefault(name, {})[ending] = data
        return False

    monkeypatch.setattr(st, "download_button", button)
    return found


@pytest.fixture()
def titles(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The title of each figure on a page, by the key of its menu."""
    from explorer.components import figure

    found: dict[str, str] = {}
    menu = figure._menu

    def remember(title: str, caption: Any, chart: Any, data: Any, key: str, *rest: Any) -> bool:
        found[key] = title
        return menu(title, caption, chart, data, key, *rest)

    monkeypatch.setattr(figure, "_menu", remember)
    return found


def _png_width(png: bytes) -> int:
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    return int(struct.unpack(">I", png[16:20])[0])


def _check(files: dict[str, Callable[[], Any]], drawn: bool) -> None:
    table = pd.read_csv(io.BytesIO(files["csv"]()))
    assert len(table.columns) > 0
    if not drawn:
        return
    svg = files["svg"]()
    names = {str(element.tag).rpartition("}")[2] for element in ElementTree.fromstring(svg).iter()}
    assert "script" not in names and "foreignObject" not in names
    assert {"path", "text"} <= names
    assert _png_width(files["png"]()) == PNG_WIDTH


def _pair(store: Store) -> dict[str, str]:
    neuron = NeuronId(*TWICE_EXPLAINED)
    row = store.head_activity(neuron).query("studied").iloc[0]
    return {"neuron": str(neuron), "head": f"L{row['head_layer']}H{row['head']}"}


@pytest.mark.parametrize("view", list(STORED))
def test_every_stored_figure_can_be_taken_away(
    view: str, seeded: Store, taken: Taken, titles: dict[str, str]
) -> None:
    open_page(view, **_pair(seeded))
    missing = {
        want for want in STORED[view] if not any(t.startswith(want) for t in titles.values())
    }
    assert not missing, sorted(titles.values())
    assert set(titles) == set(taken), "a figure without a menu, or a menu without files"
    n_drawn = 0
    for key, title in titles.items():
        drawn = "svg" in taken[key]
        n_drawn += drawn
        assert ("html" in taken[key]) == (title in HTML_DRAWINGS)
        _check(taken[key], drawn)
        if "html" in taken[key]:
            page = taken[key]["html"]()
            assert 'role="listitem"' in page and "<script" not in page
            assert title in page and "default-src 'none'" in page
    assert (
        n_drawn >= {"tokens": 2, "neuron": 4, "head": 3, "map": 1, "findings": 5, "about": 0}[view]
    )


@pytest.mark.parametrize(("tab", "n_least"), [("heads", 1), ("components", 3)])
def test_every_figure_of_the_channels_can_be_taken_away(
    tab: str, n_least: int, seeded: Store, taken: Taken, titles: dict[str, str]
) -> None:
    source, receiver = HeadId(*PLANTED_SOURCE), HeadId(*PLANTED_RECEIVER)
    open_page("channels", tab=tab, src=str(source), dst=str(receiver), **_pair(seeded))
    assert set(titles) == set(taken)
    for files in taken.values():
        _check(files, drawn="svg" in files)
    assert sum("svg" in files for files in taken.values()) >= n_least


@pytest.fixture(scope="module")
def live_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield write_live_store(tmp_path_factory.mktemp("exported-live"))


@pytest.fixture()
def live(live_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """The store of the bundled model, once that is ready; the explorer looks at it."""
    monkeypatch.delenv(models.MODEL_VARIABLE, raising=False)
    monkeypatch.setenv("EXPLORER_STORE", str(live_folder))
    with Store.open(live_folder / "live.duckdb") as store:
        end = time.monotonic() + 240
        while models.model_status(store).state != "ready":
            assert time.monotonic() < end, models.model_status(store)
            time.sleep(0.1)
        yield store


class _Open:
    """A popover that is open, so that its menu is filled."""

    open = True

    def __enter__(self) -> _Open:
        return self

    def __exit__(self, *_: object) -> None:
        return None


@pytest.mark.parametrize(("view", "n_least"), [("live", 4), ("flow", 1)])
def test_every_live_figure_can_be_taken_away(
    view: str, n_least: int, live: Store, taken: Taken, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(st, "popover", lambda *_, **__: _Open())
    open_page(view, text="They went down to the river and sat", **_pair(live))
    figures = {key: files for key, files in taken.items() if "svg" in files}
    assert len(figures) >= n_least, sorted(taken)
    for files in figures.values():
        _check(files, drawn=True)


def test_what_markdown_escapes_is_plain_in_a_file() -> None:
    name = "a_b*c (d) <e> \\f"
    assert unmarked(plain_markdown(name)) == name
    assert plain_markdown(name) != name


def test_exports_are_drawn_in_the_palette_asked_for(seeded: Store, taken: Taken) -> None:
    open_page("neuron", **_pair(seeded))
    make = taken["neuron-tokens"]["svg"]
    assert isinstance(make, partial)
    assert DARK.page not in make()
    assert DARK.page in to_svg(make.args[0](palette=DARK), "title", [], DARK)
