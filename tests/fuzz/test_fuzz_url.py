"""Any link: what cannot be read is said, what is not in the run is forgotten, no page has a traceback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from explorer.components.link_check import check
from explorer.core.store import Store
from explorer.selection import _READERS, Selection, parse
from tests.explorer.seeded import write_seeded_store
from tests.fuzz.amounts import inputs, tried
from tests.fuzz.hostile import hostile_text

PAGES = ("tokens", "neuron", "head", "map", "live", "channels", "flow", "findings", "about")
GOOD = (
    "seeded", "L5N7", "L4N3", "L1H2", "L0H0", "train", "test", "0", "3", "11", " come", "zero-last",
    "mean-all", "heads", "components", "laundry", "Q", "K", "V", "OV", "QK", "scale-last", "set-all",
    "1.5", "-2", "score", "L1H2,L3H0", "They went down", "1",
)  # fmt: skip
one = st.one_of(st.sampled_from(GOOD), hostile_text)
queries = st.dictionaries(
    st.one_of(st.sampled_from(sorted(_READERS)), st.sampled_from(["x", "", "__class__"])),
    st.one_of(one, st.lists(one, min_size=1, max_size=5).map(tuple)),
    max_size=8,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz-runs")
    write_seeded_store(folder, model="not/there/at/all")
    return folder


@pytest.fixture(scope="module")
def opened(folder: Path) -> Store:
    return Store.open(folder / "seeded.duckdb")


def _first(value: Any) -> str:
    return value if isinstance(value, str) else value[0]


@inputs("url")
@given(query=queries, page=st.sampled_from(PAGES))
def test_any_link_is_read_and_fits_the_run(opened: Store, query: dict[str, Any], page: str) -> None:
    tried["URL"] += 1
    flat = {n: v if n == "others" else _first(v) for n, v in query.items()}
    wanted, notes = parse(flat)
    assert all("\n" not in note for note in notes)
    # What was read says itself again in the same words.
    again, said = parse(wanted.to_query())
    assert said == () and again == Selection(**{**vars(wanted), "others": None})
    for run in (wanted.run, *(wanted.others or ())):
        assert run is None or (not {"/", "\\"} & set(run) and not run.startswith("."))
    changes, _ = check(opened, wanted, page)
    fits = {**vars(wanted), **changes}
    if fits["neuron"] is not None:
        assert fits["neuron"].layer < 6 and fits["neuron"].index < 32
    if fits["head"] is not None:
        assert fits["head"].layer < 6 and fits["head"].index < 8
    if fits["token"] is not None:
        assert fits["token"] in opened.token_texts


@inputs("pages")
@given(query=queries, page=st.sampled_from(PAGES))
def test_any_link_draws_a_page(folder: Path, query: dict[str, Any], page: str) -> None:
    tried["pages"] += 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXPLORER_STORE", str(folder))
        patch.delenv("EXPLORER_MODEL", raising=False)
        app = AppTest.from_string(f"from explorer.views.{page} import render\nrender()")
        app.default_timeout = 120
        for name, value in query.items():
            # What a browser sends is UTF-8.
            texts = [value] if isinstance(value, str) else list(value)
            app.query_params[name or "x"] = [
                t.encode("utf-8", "replace").decode("utf-8") for t in texts
            ]
        app.run()
    assert [error.message for error in app.exception] == []
    bodies = " ".join(piece.proto.body for piece in app.get("html"))
    assert "<script>window" not in bodies and "<img src=x" not in bodies
