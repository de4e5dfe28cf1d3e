"""The frame of every page: trail, links, notes, exports, and the offer of a newer run."""

from __future__ import annotations

import html
import io
import json
import os
import re
import zipfile
from functools import partial
from pathlib import Path

import altair as alt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from explorer.charts.export import PNG_WIDTH, to_png, to_svg
from explorer.charts.style import DARK, LIGHT, Palette
from explorer.components import chips
from explorer.components.export import file_stem, to_csv, to_json, to_zip
from explorer.components.figure import _build
from explorer.components.link_check import check, own_token, spans
from explorer.components.new_run import _newer
from explorer.core.runs import list_runs
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from explorer.selection import Selection
from tests.explorer.seeded import manifest, write_seeded_store

APP = Path(__file__).resolve().parents[2] / "explorer" / "app.py"


def _page() -> None:
    import streamlit as st

    from explorer.components import frame

    store, chosen = frame.page("neuron", ("neuron", "head", "prompt"))
    st.session_state["seen"] = (store.run_id, chosen)
    frame.question("Why?", "Because.")


def _html(at: AppTest) -> str:
    return "\n".join(element.proto.body for element in at.get("html"))


def _run(at: AppTest, **query: str) -> tuple[str, Selection]:
    at.query_params.clear()
    for name, value in query.items():
        at.query_params[name] = value
    at.run()
    assert not at.exception
    return at.session_state["seen"]


@pytest.fixture()
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_seeded_store(tmp_path, "old")
    write_seeded_store(tmp_path, "new", end="2026-11-02T00:00:00.000+00:00")
    monkeypatch.setenv("EXPLORER_STORE", str(tmp_path))
    return tmp_path


@pytest.fixture()
def at(folder: Path) -> AppTest:
    return AppTest.from_function(_page, default_timeout=60)


def test_the_newest_run_is_shown_and_named_in_the_url(at: AppTest) -> None:
    run, chosen = _run(at)
    assert run == "new" == chosen.run
    assert at.query_params["run"] == "new"
    assert _run(at, run="old")[0] == "old"


def test_a_neuron_brings_its_token_so_that_the_trail_leads_back(at: AppTest) -> None:
    _, chosen = _run(at, neuron="L4N3")
    assert chosen.token == " come"
    assert "token" not in at.query_params, "the token is no parameter of this page"
    labels = [element.value for element in at.markdown]
    assert any("`␣come`" in label for label in labels)
    assert any("**L4 N3**" in label for label in labels)


def test_a_link_is_the_whole_view_of_its_page(at: AppTest) -> None:
    _run(at, neuron="L4N3", head="L1H2", prompt="5")
    _, chosen = _run(at, neuron="L5N7")
    assert (chosen.neuron, chosen.head, chosen.prompt) == (NeuronId(5, 7), None, None)


def test_a_click_on_the_navigation_keeps_the_selection(at: AppTest) -> None:
    _run(at, neuron="L4N3", head="L1H2")
    _, chosen = _run(at)
    assert (chosen.neuron, chosen.head) == (NeuronId(4, 3), HeadId(1, 2))


def test_another_run_drops_what_need_not_exist_there(at: AppTest) -> None:
    _run(at, neuron="L4N3")
    at.selectbox(key="nt-run-new").select("old").run()
    run, chosen = at.session_state["seen"]
    assert (run, chosen.neuron, chosen.token) == ("old", None, " come")


def test_notes_name_what_could_not_be_read_and_are_escaped(at: AppTest) -> None:
    _run(at, neuron="<script>alert(1)</script>", run="nowhere")
    page = _html(at)
    assert "<script>" not in page
    assert "The link&#x27;s neuron could not be read" in page
    assert "There is no run <em>nowhere</em> here. Shown: <em>new</em>." in page


def test_without_a_run_the_page_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPLORER_STORE", str(tmp_path / "none"))
    at = AppTest.from_function(_page, default_timeout=60).run()
    assert not at.exception
    assert "There is no run in" in at.info[0].value


def test_the_app_shows_how_to_make_a_run_and_why_files_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "<i>junk.duckdb").write_text("junk")
    write_seeded_store(tmp_path, "other", schema_version=99)
    monkeypatch.setenv("EXPLORER_STORE", str(tmp_path))
    at = AppTest.from_file(str(APP), default_timeout=60).run()
    assert not at.exception
    assert any("python -m precompute --model MODEL" in code.value for code in at.code)
    page = _html(at)
    assert "<i>junk" not in page
    assert "schema version 99" in page


def test_a_damaged_store_is_a_message_and_no_traceback(folder: Path) -> None:
    whole = (folder / "new.duckdb").read_bytes()
    half = len(whole) // 2
    (folder / "new.duckdb").write_bytes(whole[:half] + os.urandom(len(whole) - half))
    at = AppTest.from_file(str(APP), default_timeout=60).run()
    assert not at.exception


def test_a_newer_run_is_offered_once_published(folder: Path) -> None:
    runs = list_runs(folder).runs
    assert _newer(runs, seen="2026-11-01T10:01:00.000+00:00") == runs[0]
    assert _newer(runs, seen=runs[0].end) is None
    assert _newer((), seen="") is None


# --- what links are checked against ------------------------------------------------------------


@pytest.fixture()
def store(folder: Path):
    with Store.open(folder / "new.duckdb") as opened:
        yield opened


def test_what_does_not_exist_is_forgotten_and_said_with_what_does(store: Store) -> None:
    wanted = Selection(neuron=NeuronId(9, 9999), head=HeadId(5, 8), token=" nothing")
    changes, notes = check(store, wanted)
    assert changes == {"neuron": None, "head": None, "token": None}
    assert notes[0] == "Run *new* has no neuron L9 N9999. Layers 4–5 are studied."
    assert "L5 H8" in notes[1]
    assert "0–7" in notes[1]


def test_what_exists_is_left_alone(store: Store) -> None:
    wanted = Selection(neuron=NeuronId(5, 31), head=HeadId(5, 7), token=" come")
    assert check(store, wanted) == ({}, ())


def test_a_studied_neuron_brings_the_token_it_is_studied_for(store: Store) -> None:
    studied = store.studied_neurons()
    for row in studied.itertuples(index=False):
        assert own_token(store, NeuronId(row.layer, row.neuron)) == store.token_texts[row.token_id]


@pytest.mark.parametrize(
    ("layers", "shown"), [([4, 5], "4–5"), ([5], "5"), ([0, 3, 4, 5], "0, 3–5"), ([9, 1], "1, 9")]
)
def test_layers_are_written_as_spans(layers: list[int], shown: str) -> None:
    assert spans(layers) == shown


# --- names and escaping ------------------------------------------------------------------------


@given(st.text(max_size=40))
def test_chips_never_let_markup_through(text: str) -> None:
    inside = chips.token_chip(text).removeprefix('<span class="nt-chip">').removesuffix("</span>")
    bare = inside.replace('<span class="nt-space">', "").replace("</span>", "")
    assert "<" not in bare
    assert html.unescape(bare).count("␣") == text.count(" ") + text.count("␣")


@given(st.text("`a␣ ", max_size=20))
def test_code_of_markdown_is_closed_by_its_own_fence(text: str) -> None:
    code = chips.token_code(text)
    fence = re.match("`+", code)
    assert fence is not None
    assert code.endswith(fence[0])
    inner = code[len(fence[0]) : -len(fence[0])]
    assert fence[0] not in re.findall("`+", inner)


def test_markdown_is_escaped() -> None:
    shown = chips.plain_markdown("a *b* [c](d) `e` <f> $g$ :red[h]")
    assert shown == r"a \*b\* \[c\]\(d\) \`e\` \<f\> \$g\$ \:red\[h\]"


# --- exports -----------------------------------------------------------------------------------

_FRAME = pd.DataFrame({"layer": [0, 1], "n": [3.0, None], "tokens": [[" a"], ["<b>"]]})


def _bars(data: pd.DataFrame, *, palette: Palette) -> alt.Chart:
    chart = alt.Chart(data[["layer", "n"]]).mark_bar(color=palette.teal)
    return chart.encode(x="layer:O", y="n:Q").properties(description="Two bars.")


def test_a_page_is_exported_whole_with_its_manifest() -> None:
    content = json.loads(to_json({"Bars": _FRAME}, manifest(), "http://127.0.0.1/?run=x"))
    assert content["manifest"] == manifest()
    assert content["link"] == "http://127.0.0.1/?run=x"
    assert content["tables"]["Bars"] == [
        {"layer": 0, "n": 3.0, "tokens": [" a"]},
        {"layer": 1, "n": None, "tokens": ["<b>"]},
    ]
    with zipfile.ZipFile(io.BytesIO(to_zip({"Bars <1>": _FRAME}, manifest(), ""))) as archive:
        assert archive.namelist() == ["about.json", "1-bars-1.csv"]
        table = pd.read_csv(io.BytesIO(archive.read("1-bars-1.csv")))
    assert table["layer"].tolist() == [0, 1]


def test_a_table_keeps_its_spaces_as_csv() -> None:
    table = pd.read_csv(io.BytesIO(to_csv(pd.DataFrame({"token": [" come", "␣"]}))))
    assert table["token"].tolist() == [" come", "␣"]


@given(st.text(max_size=60))
def test_file_names_are_harmless(text: str) -> None:
    assert re.fullmatch(r"[a-z0-9-]{1,80}", file_stem(text, text))


def test_a_figure_says_where_it_is_from_and_png_is_1600_wide() -> None:
    chart = _bars(_FRAME, palette=LIGHT)
    svg = to_svg(chart, "How many <b>", ["seeded · 2026-11-01", "http://127.0.0.1/"])
    assert "How many &lt;b&gt;" in svg
    assert "http://127.0.0.1/" in svg
    assert LIGHT.teal in svg
    png = to_png(chart, "How many", [])
    assert abs(int.from_bytes(png[16:20], "big") - PNG_WIDTH) <= 2


def test_a_figure_is_built_as_altair_would_build_it() -> None:
    built = _build(partial(_bars, _FRAME), DARK)
    assert built["description"] == "Two bars."
    assert built["mark"] == {"type": "bar", "color": DARK.teal}
    assert built["encoding"] == _bars(_FRAME, palette=DARK).to_dict()["encoding"]
    assert built["usermeta"]["embedOptions"]["actions"] is False
