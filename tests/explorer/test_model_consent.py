"""A run's own model is loaded after a person agrees, and not so much as opened before."""

from __future__ import annotations

import html
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from explorer.core.named_model import find_model
from explorer.core.store import Store
from explorer.resources import model_consent, models
from explorer.resources.model_consent import may_load
from explorer.resources.models import model_status, named_model
from tests.explorer.live_page import DEMO, write_live_store
from tests.explorer.page_reader import html_of, open_page, text_of
from tests.explorer.seeded import write_seeded_store

SHA = "a" * 64
PAGES = {
    "live": {"neuron": "L5N7", "text": "They did"},
    "flow": {"neuron": "L5N7", "text": "They did"},
    "channels": {"tab": "components", "src": "L1H0", "dst": "L5H0"},
}
"""Pages that need the model, each with a link that makes it ask for it."""


class _Touched:
    """What Python itself opened, listed or called, while it is on."""

    def __init__(self) -> None:
        self.on, self.seen = False, []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, details: tuple[Any, ...]) -> None:
        if self.on and (
            event in ("open", "os.listdir", "os.scandir") or event.startswith("socket.")
        ):
            self.seen.append((event, str(details)))

    def of(self, words: str) -> list[str]:
        return [event for event, details in self.seen if words in details]


@pytest.fixture(scope="module")
def touched() -> _Touched:
    return _Touched()


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch, touched: _Touched) -> Iterator[None]:
    monkeypatch.delenv(models.MODEL_VARIABLE, raising=False)
    monkeypatch.delenv(model_consent.AGREED_VARIABLE, raising=False)
    st.cache_resource.clear()
    yield
    touched.on, touched.seen = False, []
    st.cache_resource.clear()


@pytest.fixture(scope="module")
def own_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs whose one run names a copy of the bundled model that lies elsewhere."""
    folder = tmp_path_factory.mktemp("strange")
    shutil.copytree(DEMO, folder / "their-model")
    return write_live_store(folder, model=str(folder / "their-model"))


def _named(tmp_path: Path, model: Any, **more: Any) -> Store:
    return Store.open(write_seeded_store(tmp_path, model=model, **more))


def wait_for_state(store: Store, state: str) -> None:
    """Wait until the run's model is ready, failed or whatever it is to be."""
    end = time.monotonic() + 120
    while model_status(store).state != state:
        assert time.monotonic() < end, model_status(store)
        time.sleep(0.05)


def _fetch_button(app: AppTest) -> Any:
    (button,) = [b for b in app.button if b.label == "Load this model"]
    return button


@pytest.mark.parametrize("page", PAGES)
def test_every_page_that_loads_asks_first_and_touches_nothing(
    own_folder: Path, monkeypatch: pytest.MonkeyPatch, touched: _Touched, page: str
) -> None:
    monkeypatch.setenv("EXPLORER_STORE", str(own_folder))
    loads: list[str] = []
    monkeypatch.setattr(models, "_load", lambda s, **_: loads.append(s))
    monkeypatch.setattr(models, "_WARM_UP_AFTER_S", 0.0)
    touched.on = True
    app = open_page(page, **PAGES[page])
    time.sleep(0.2)
    touched.on = False
    assert loads == [] and touched.of("their-model") == []
    words = text_of(app)
    for said in (
        str(own_folder / "their-model"), "did not come with the explorer", "safetensors",
        "no code from the folder is run", "--load-models", "Checksum", "others are refused",
    ):  # fmt: skip
        assert said in words
    assert not _fetch_button(app).disabled


def test_agreeing_loads_it_for_every_session(
    own_folder: Path, monkeypatch: pytest.MonkeyPatch, touched: _Touched
) -> None:
    monkeypatch.setenv("EXPLORER_STORE", str(own_folder))
    app = open_page("live", **PAGES["live"])
    touched.on = True
    _fetch_button(app).click().run()
    with Store.open(own_folder / "live.duckdb") as store:
        wait_for_state(store, "ready")
    touched.on = False
    # The control of the test above: what is opened is heard.
    assert touched.of("their-model")
    other = open_page("flow", **PAGES["flow"])
    assert "demo ready" in text_of(other)
    assert [b.label for b in other.button if b.label == "Load this model"] == []


def test_another_model_is_asked_for_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[str] = []
    monkeypatch.setattr(
        models, "_load", lambda s, **_: loads.append(s) or SimpleNamespace(weights_sha256=SHA)
    )
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with (
        _named(tmp_path / "a", str(tmp_path / "one"), weights_sha256=SHA) as first,
        _named(tmp_path / "b", str(tmp_path / "two"), weights_sha256=SHA) as second,
        _named(tmp_path / "c", str(tmp_path / "b" / ".." / "one"), weights_sha256=SHA) as same,
    ):
        models.fetch(first, named_model(first))
        wait_for_state(first, "ready")
        assert model_status(second).state == "asks"
        assert model_status(same).state == "ready"  # another way to write the same folder
    assert loads == [str(tmp_path / "one")]


def test_a_link_that_is_turned_after_the_card_was_shown_is_asked_for_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "_load", lambda s, **_: pytest.fail(f"{s} was loaded"))
    for name in ("shown", "other"):
        (tmp_path / name).mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "shown")
    with _named(tmp_path / "runs", str(link)) as store:
        shown = named_model(store)
        assert shown.source == str(tmp_path / "shown")  # the card names where it leads
        link.unlink()
        link.symlink_to(tmp_path / "other")
        models.fetch(store, shown)
        assert model_status(store).state == "asks"


def test_a_hub_name_is_not_a_folder_that_appears_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "_load", lambda s, **_: pytest.fail(f"{s} was loaded"))
    monkeypatch.chdir(tmp_path)
    with _named(tmp_path / "runs", "someone/model") as store:
        shown = named_model(store)
        assert shown.kind == "hub"
        (tmp_path / "someone" / "model").mkdir(parents=True)
        models.fetch(store, shown)
        assert named_model(store).kind == "folder"
        assert model_status(store).state == "asks"


def test_the_bundled_model_a_given_folder_and_load_models_are_not_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    assert may_load(find_model(str(DEMO))) and may_load(find_model("assets/demo/model"))
    (tmp_path / "link").symlink_to(DEMO)
    assert find_model(str(tmp_path / "link")).source == str(DEMO)  # loaded from there, not the link
    assert not may_load(find_model(str(own)))
    assert may_load(find_model(str(own), given=True))
    assert not may_load(find_model("gpt2"))
    assert not may_load(find_model("gpt2", given=True))  # a name, not a folder
    monkeypatch.setenv(model_consent.AGREED_VARIABLE, "1")
    assert may_load(find_model(str(own))) and may_load(find_model("gpt2"))
    assert not may_load(find_model("//host/share")) and not may_load(find_model("/not/there"))


def test_a_folder_where_the_server_runs_is_not_taken_for_the_bundled_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "assets" / "demo" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    found = find_model("assets/demo/model")
    assert found.source == str(tmp_path / "assets" / "demo" / "model")
    assert not may_load(found)


@pytest.mark.parametrize(
    "named",
    [
        r"\\host\share\model", "//host/share/model", r"\\?\UNC\host\share", r"/\host\share",
        r"\/host/share", "//./pipe/x", r"\\host@SSL\dav",
    ],
)  # fmt: skip
def test_a_network_path_is_not_even_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    real = os.stat
    looked: list[str] = []
    monkeypatch.setattr(os, "stat", lambda p, **o: looked.append(str(p)) or real(p, **o))
    assert find_model(named).kind == "network"
    assert looked == []
    find_model(str(tmp_path))
    assert looked  # the control: a local folder is looked for
    monkeypatch.undo()
    with _named(tmp_path, named) as store:
        status = model_status(store)
        models.fetch(store, named_model(store))
        assert model_status(store) == status
    assert status.state == "missing" and "network path" in status.message
    assert status.message.endswith("python -m explorer --model DIR")


@pytest.mark.parametrize(
    "named",
    [
        "", "   ", "\0", "a\0b", "~nobody-of-this-name/model", "~" * 40, "x" * 5000, "/" + "y" * 300,
        "a/" * 3000, "\ud800", "half\udcff", "https://host/x", "hf://a/b", "file:///etc", "org/name@main",
        "a..b", "org/../x", "datasets/a/b", "-rf", "a--b", "C:\\models\\x",
        "\x1b[31mred", "\u202egpt2", "gpt2\n", " gpt2", "gpt2/", "/proc/self/mem", "/dev/stdin",
        "ｇｐｔ２", "gpt２",
    ],
)  # fmt: skip
def test_what_is_neither_folder_nor_hub_name_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    monkeypatch.setattr(models, "_load", lambda s, **_: pytest.fail(f"{s} was loaded"))
    found = find_model(named)
    assert found.kind == "missing", found
    monkeypatch.setenv(model_consent.AGREED_VARIABLE, "1")
    assert not may_load(found)
    with _named(tmp_path, named) as store:
        models.warm_up(store)
        assert model_status(store).state == "missing"


@pytest.mark.parametrize(
    "named", ["", "\0", "~nobody-of-this-name/m", "x" * 5000, "\ud800", "\x1b[31m\u202e"]
)
def test_a_page_says_what_it_cannot_find(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    write_seeded_store(tmp_path, model=named)
    monkeypatch.setenv("EXPLORER_STORE", str(tmp_path))
    words = text_of(open_page("live", neuron="L5N7"))
    assert "there is no model folder at" in words
    assert not {c for c in words if not c.isprintable()} & set("\0\x1b\u202e\ud800\udcff")


@pytest.mark.parametrize("named", [None, 7, [], {"a": 1}, True, ["gpt2"]])
def test_a_model_that_is_no_text_breaks_no_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: Any
) -> None:
    monkeypatch.setattr(models, "_load", lambda s, **_: pytest.fail(f"{s} was loaded"))
    write_seeded_store(tmp_path, model=named)
    monkeypatch.setenv("EXPLORER_STORE", str(tmp_path))
    open_page("live", neuron="L5N7")


def test_the_card_shows_hostile_words_as_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = "<img src=x onerror=alert(1)>\u202e\x1b[2J\0"
    folder = tmp_path / "<b onclick=alert(1)>"
    folder.mkdir()
    write_seeded_store(
        tmp_path / "runs", model=str(folder), model_name=evil, weights_sha256=f"<i>{evil}"
    )
    monkeypatch.setenv("EXPLORER_STORE", str(tmp_path / "runs"))
    page = html_of(open_page("live", neuron="L5N7"))
    assert "<img" not in page and "<b onclick" not in page and "<i>" not in page
    assert html.escape(str(folder)) in page
    assert "&lt;img src=x onerror=alert(1)&gt;&lt;0x202E&gt;&lt;0x1B&gt;[2J&lt;0x00&gt;" in page
