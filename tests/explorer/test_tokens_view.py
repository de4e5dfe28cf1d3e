"""The home page on a seeded store: search, table, figures, and what it says when there is nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from explorer.charts.style import DARK, LIGHT
from explorer.charts.token_charts import head_lollipops, layer_bars
from explorer.components.token_search import NO_MATCH
from explorer.core.schema import write_store
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from explorer.resources.token_tables import (
    N_PAIRS,
    best_neuron,
    first_tokens,
    search,
    token_tables,
)
from tests.explorer.seeded import tables, write_seeded_store

APP = Path(__file__).resolve().parents[2] / "explorer" / "app.py"


@pytest.fixture()
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_seeded_store(tmp_path)
    monkeypatch.setenv("EXPLORER_STORE", str(tmp_path))
    return tmp_path


@pytest.fixture()
def store(folder: Path):
    with Store.open(folder / "seeded.duckdb") as opened:
        yield opened


def _open(**query: str) -> AppTest:
    at = AppTest.from_file(str(APP), default_timeout=60)
    for name, value in query.items():
        at.query_params[name] = value
    at.run()
    assert not at.exception
    return at


def _html(at: AppTest) -> str:
    return "\n".join(element.proto.body for element in at.get("html"))


def _charts(at: AppTest) -> list[dict[str, Any]]:
    return [json.loads(element.proto.spec) for element in at.get("vega_lite_chart")]


def test_a_first_visit_opens_on_the_token_that_was_asked_for(folder: Path) -> None:
    at = _open()
    assert "<h1" in _html(at)
    assert "come</span>?" in _html(at)
    assert "<b>L5 N7</b> points at it most, congruence 14.2." in _html(at)
    assert at.query_params["token"] == "␣come"
    assert at.query_params["neuron"] == "L5N7"
    assert len(_charts(at)) == 2


def test_typing_chooses_the_best_match_and_its_strongest_neuron(folder: Path) -> None:
    at = _open()
    at.text_input(key="token-search").set_value("together").run()
    assert not at.exception
    assert at.query_params["token"] == "␣together"
    assert at.query_params["neuron"] == "L5N2"
    assert at.session_state["token-matches"] == " together"


def test_a_search_without_a_match_says_so_and_keeps_the_page(folder: Path) -> None:
    at = _open()
    at.text_input(key="token-search").set_value("zzzz").run()
    assert NO_MATCH in _html(at)
    assert at.query_params["token"] == "␣come"
    assert len(_charts(at)) == 2


def test_a_match_and_a_good_first_token_can_be_chosen(folder: Path) -> None:
    at = _open()
    pills = at.get("button_group")
    assert [group.proto.label for group in pills] == ["3 tokens match", "Good first tokens"]
    at.session_state["token-matches"] = "come"
    at.run()
    assert at.query_params["token"] == "␣come", "what is drawn follows the selection alone"
    at = _open(token="come")
    assert at.query_params["token"] == "come"
    assert at.session_state["token-matches"] == "come"


@pytest.mark.parametrize("token", ["<script>", "␣<img␣src=x␣onerror=alert(1)>", '"', "\n", "\t"])
def test_hostile_tokens_are_shown_and_not_run(folder: Path, token: str) -> None:
    at = _open(token=token)
    page = _html(at)
    assert "<script>" not in page
    assert "<img" not in page
    assert at.query_params["token"] == token
    assert len(_charts(at)) == 2


def test_a_neuron_that_is_not_there_is_said_with_what_is(folder: Path) -> None:
    at = _open(token="␣come", neuron="L9N9999", head="L7H0")
    page = _html(at)
    assert "Run <em>seeded</em> has no neuron L9 N9999. Layers 4–5 are studied." in page
    assert at.query_params["neuron"] == "L5N7"


def test_a_token_or_run_that_is_not_there_is_said(folder: Path) -> None:
    page = _html(_open(token="␣nothing", run="other"))
    assert "There is no run <em>other</em> here. Shown: <em>seeded</em>." in page
    assert "has no token “␣nothing”" in page


def test_the_neuron_of_a_link_is_kept(folder: Path) -> None:
    at = _open(token="␣come", neuron="L3N19")
    assert at.query_params["neuron"] == "L3N19"
    assert "L3 N19" in " ".join(button.label for button in at.button)


def test_arrow_keys_move_through_the_table_and_stop_at_its_ends(folder: Path) -> None:
    at = _open(token="␣come")
    at.button(key="neuron-down").click().run()
    assert at.query_params["neuron"] == "L4N3"
    at.button(key="neuron-up").click().run()
    at.button(key="neuron-up").click().run()
    assert at.query_params["neuron"] == "L5N7"


def _scores(store: Store) -> dict[tuple[int, ...], float]:
    rows = store.sql(
        "SELECT layer, neuron, head_layer, head, score FROM head_scores "
        "WHERE explainer = ? AND score IS NOT NULL",
        (store.manifest["explainer"],),
    )
    return {tuple(map(int, row[:4])): float(row[4]) for row in rows.to_numpy()}


def test_the_table_says_what_is_stored_and_nothing_else(store: Store) -> None:
    token = store.token_id(" come")
    assert token is not None
    found = token_tables(store, token)
    scores = _scores(store)
    assert found.table["score"].notna().any()
    assert found.table["rank"].tolist() == list(range(1, 21))
    assert found.table["congruence"].is_monotonic_decreasing
    for place, neuron in enumerate(found.ids):
        row = found.table.iloc[place]
        activity = store.head_activity(neuron)
        studied = activity[activity["studied"]]
        assert row["studied"] == (len(activity) > 0)
        if studied.empty:
            assert row["best head"] is None or pd.isna(row["best head"])
            assert pd.isna(row["share active"])
            continue
        heads = zip(studied["head_layer"], studied["head"], strict=True)
        mine = studied.assign(
            score=[scores.get((neuron.layer, neuron.index, int(a), int(b)), -1.0) for a, b in heads]
        )
        order = ["score", "share", "mean_attribution"]
        best = mine.sort_values(order, ascending=False).iloc[0]
        if best["score"] < 0:
            assert pd.isna(row["score"])
        else:
            assert row["score"] == pytest.approx(best["score"])
        assert row["best head"] == HeadId(int(best["head_layer"]), int(best["head"])).label
        assert row["share active"] == pytest.approx(best["share"])


def test_pairs_are_studied_first_and_never_more_than_are_drawn(store: Store) -> None:
    token = store.token_id(" come")
    assert token is not None
    pairs = token_tables(store, token).pairs
    assert 0 < len(pairs) <= N_PAIRS
    assert pairs["studied"].tolist() == sorted(pairs["studied"], reverse=True)
    scores = pairs.loc[pairs["studied"], "score"].dropna()
    assert len(scores) > 1
    assert scores.is_monotonic_decreasing
    assert not pairs.loc[pairs["studied"], "score"].isna().tolist()[0]
    assert pairs.loc[pairs["studied"], "share"].between(0.25, 0.75).all()
    assert (pairs.loc[~pairs["studied"], "share"] > 0).all()
    for pair in pairs.itertuples():
        activity = store.head_activity(NeuronId.parse(str(pair.neuron_id)))
        head = HeadId.parse(str(pair.head_id))
        row = activity[(activity["head_layer"] == head.layer) & (activity["head"] == head.index)]
        assert row["n_active"].tolist() == [pair.n_active]


def test_search_finds_tokens_with_and_without_the_space(store: Store) -> None:
    assert search(store, "come")[:3] == [" come", "come", " Come"]
    assert search(store, "␣come")[0] == " come"
    assert search(store, "↵") == ["\n"]
    assert search(store, "") == []
    assert search(store, "\x00") == []


def test_good_first_tokens_begin_with_those_asked_for(store: Store) -> None:
    tokens = first_tokens(store)
    assert tokens[0] == " come"
    assert len(tokens) == len(set(tokens)) == 4
    assert all(store.token_id(token) is not None for token in tokens)
    assert best_neuron(store, " come") == NeuronId(5, 7)
    assert best_neuron(store, "no such token") is None


def test_a_run_without_studied_neurons_still_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPLORER_STORE", str(tmp_path))
    kept = ("manifest", "tokens", "token_neurons", "neuron_tokens")
    rows = tables(tokens=[])
    write_store(tmp_path / "bare.duckdb", {name: rows[name] for name in kept})
    at = _open(token="␣come")
    assert "None of these neurons is studied" in _html(at)
    assert "No head is stored for these neurons" in _html(at)
    assert len(_charts(at)) == 1
    assert not _open().exception


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_the_figures_are_valid_and_described(store: Store, palette) -> None:
    token = store.token_id(" come")
    assert token is not None
    found = token_tables(store, token)
    layers = store.neurons_per_layer(token)
    assert layers["n"].sum() == 20
    bars = layer_bars(layers, studied=[4, 5], palette=palette).to_dict()
    lollipops = head_lollipops(found.pairs, palette=palette, neuron="L5N7").to_dict()
    assert "most in layer 5" in bars["description"]
    assert str(len(found.pairs)) in lollipops["description"]
    assert palette.teal in json.dumps(bars)
    right = next(
        frame for frame in lollipops["datasets"].values() if frame and "status" in frame[0]
    )
    assert [row["status"] for row in right] == [
        f"{pair.score:.2f}" if pair.studied and pair.score == pair.score else "–" if pair.studied
        else "not studied" for pair in found.pairs.itertuples()
    ]  # fmt: skip
    bold = lollipops["layer"][1]["encoding"]["y"]["axis"]["labelFontWeight"]["condition"]
    chosen = found.pairs[found.pairs["neuron_id"] == "L5N7"]
    assert bold["test"]["oneOf"] == [f"{head} → L5 N7" for head in chosen["head"]] != []
