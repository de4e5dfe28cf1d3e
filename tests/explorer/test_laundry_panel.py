"""The Laundry List tab: what it says of stored answers, when it shows a mechanism, and live runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from streamlit.testing.v1 import AppTest

from explorer.charts import task_charts
from explorer.charts.accuracy_text import in_words, verdict
from explorer.charts.style import DARK, LIGHT
from explorer.core.accuracy import Accuracy
from explorer.core.schema import arrow_schema
from explorer.core.store import Store
from explorer.core.task_seen import Condition
from explorer.core.tasks import LAUNDRY_LIST, NAME_INHIBITION
from explorer.core.types import HeadId
from explorer.resources import models, task_live, task_tables
from explorer.resources.task_values import Asked, Sentence, TaskRun, parse_components, written
from tests.explorer import seeded
from tests.explorer.page_reader import chart, store_copy, text_of, widest
from tests.explorer.test_live_view import live_store  # noqa: F401 a fixture

PAGE = """
from explorer.components import frame
from explorer.components.laundry_panel import answer, laundry_tab
store, chosen = frame.page("channels", ("tab", "src", "dst", "comp", "strength", "items"))
frame.question("Q", answer(store))
laundry_tab(store)
"""
HOSTILE = "<script>alert(1)</script> {all} {rest} **x**"
SEEN, NEW = Condition(True, True, True), Condition(False, False, True)


def task_rows() -> list[dict[str, Any]]:
    """Lists of 2 and 4: seen ones always right, new ones by chance; two templates, one hostile."""
    found = []
    for n in (2, 4):
        for condition, template in ((SEEN, "a {all}"), (SEEN, HOSTILE), (NEW, "b {all}")):
            for position in range(n):
                right = 12 if condition == SEEN else 12 // n
                own = {"template": template, "condition": str(condition), "n": n,
                       "position": position, "n_prompts": 12}  # fmt: skip
                found.append({"task": LAUNDRY_LIST, **own, "n_right": right, "chance": 1 / n})
                found.append(
                    {"task": f"{LAUNDRY_LIST} top-1", **own, "n_right": right // 2, "chance": 0.01}
                )
    return found


@pytest.fixture(scope="module")
def tasks_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("task-runs")
    tables = seeded.tables(model=str(folder / "moved"))
    tables["task_results"] = pa.Table.from_pylist(task_rows(), schema=arrow_schema("task_results"))
    with Store.open(store_copy(folder, "tasks", tables)) as store:
        yield store


def opened(folder: Path, monkeypatch: pytest.MonkeyPatch, **query: str) -> AppTest:
    monkeypatch.setenv("EXPLORER_STORE", str(folder))
    monkeypatch.delenv(models.MODEL_VARIABLE, raising=False)
    app = AppTest.from_string(PAGE)
    app.default_timeout = 120
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert [error.message for error in app.exception] == []
    return app


# --- stored -----------------------------------------------------------------------------------


def test_sums_are_those_of_the_rows(tasks_store: Store) -> None:
    rows = task_tables.by_length(tasks_store, LAUNDRY_LIST)
    plain = pd.DataFrame(task_rows())
    for row in rows.to_dict("records"):
        mine = plain[(plain["condition"] == row["condition"]) & (plain["n"] == row["n"])]
        own = mine[mine["task"] == LAUNDRY_LIST]
        assert (row["n_prompts"], row["n_right"]) == (own["n_prompts"].sum(), own["n_right"].sum())
        assert row["n_top1"] == mine[mine["task"] != LAUNDRY_LIST]["n_right"].sum()
        assert row["share"] == pytest.approx(row["n_right"] / row["n_prompts"])
        assert row["low"] <= row["share"] <= row["high"]
        assert row["chance"] == pytest.approx(1 / row["n"])
    assert len(rows) == 4
    places = task_tables.by_position(tasks_store, LAUNDRY_LIST, 4)
    assert len(places) == 8 and set(places["position"]) == {0, 1, 2, 3}
    assert task_tables.accuracy(rows, "new template", 2) is None
    assert task_tables.by_length(tasks_store, NAME_INHIBITION).empty


def test_the_page_says_what_the_model_can_do_and_what_it_cannot(
    tasks_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = opened(tasks_store.path.parent, monkeypatch, items="4")
    words = text_of(app)
    assert "Template and words seen: better than chance (96 of 96, 100 % [96, 100]" in words
    assert "new template and words: not better than chance (12 of 48, 25 % [15, 39]" in words
    assert "Of a list, right in 100 % (template and words seen), 33 % (new template" in words
    spec, frames = chart(app, "Share right by items in the list")
    drawn = widest(frames, "x", "share", "low", "high", "line")
    assert sorted(zip(drawn["line"], drawn["x"], drawn["share"], strict=True)) == [
        ("new template and words", 2, 0.5), ("new template and words", 4, 0.25),
        ("template and words seen", 2, 1.0), ("template and words seen", 4, 1.0),
    ]  # fmt: skip
    guess = [f for f in frames if [*f] == ["x", "share"]]
    assert [sorted(f["share"]) for f in guess] == [[0.25, 0.5]]  # chance is drawn in
    assert "dashed: chance" in spec["description"]
    assert "model" in words and "no model folder" in words  # live runs say what they need
    assert "Run" not in [b.label for b in app.button]


def test_the_other_task_was_left_out_and_the_page_says_how_to_have_it(
    tasks_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = opened(tasks_store.path.parent, monkeypatch)
    app.session_state["laundry-task"] = NAME_INHIBITION
    app.run()
    assert "was made without this task" in text_of(app)
    assert f"--tasks {NAME_INHIBITION}" in text_of(app)


def test_templates_from_outside_are_text(
    tasks_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = opened(tasks_store.path.parent, monkeypatch)
    every = "\n".join(piece.proto.body for piece in app.get("html"))
    assert "<script>alert" not in every


def test_a_verdict_needs_the_whole_interval() -> None:
    assert verdict(Accuracy(40, 48, 0.5)).startswith("better")
    assert verdict(Accuracy(29, 48, 0.5)).startswith("not better")
    assert in_words(Accuracy(0, 0, 0.5)) == "–"


# --- charts -----------------------------------------------------------------------------------


def lines_frame() -> pd.DataFrame:
    return pd.DataFrame(
        [{"line": line, "x": x, "share": 0.5, "low": 0.2, "high": 0.8, "n_right": 4, "n_prompts": 8,
          "chance": 1 / x} for line in ("a", "b") for x in (2, 3, 5)]
    )  # fmt: skip


def test_charts_are_valid_and_carry_their_numbers() -> None:
    one = task_charts.accuracy_lines(
        lines_frame(), lines=["a", "b"], x_title="items", palette=LIGHT, chosen=3, seen=(2, 3)
    ).to_dict()
    rows = [r for data in one["datasets"].values() for r in data if "at" in r]
    at = {(r["line"], r["x"]): r["at"] for r in rows}
    assert at["a", 2] < 2 < at["b", 2]  # side by side, around their place
    cells = pd.DataFrame(
        [{"x": x, "y": y, "panel": z, "place": 1 + int(x), "share": 0.4}
         for x in (0.0, 1.0) for y in (0.0, 1.0) for z in (0.0, 1.0)]
    )  # fmt: skip
    for names in (["L0H0.1"], ["L0H0.1", "L0H1.2"], ["L0H0.1", "L0H1.2", "L1H0.0"]):
        drawn = task_charts.winner_grid(cells, names=names, palette=DARK).to_dict()
        assert ("facet" in drawn) == (len(names) == 3)
        assert names[0] in drawn["description"]


# --- live -------------------------------------------------------------------------------------


def silent(done: float, left: float | None) -> None:
    """Progress that nobody watches."""


@pytest.fixture()
def live(live_store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:  # noqa: F811
    """The store of the bundled model, once that is ready."""
    monkeypatch.setenv("EXPLORER_STORE", str(live_store))
    monkeypatch.delenv(models.MODEL_VARIABLE, raising=False)
    with Store.open(live_store / "live.duckdb") as store:
        end = time.monotonic() + 240
        while models.model_status(store).state != "ready":
            assert time.monotonic() < end, models.model_status(store)
            time.sleep(0.1)
        yield store


def sentence_of(store: Store, task: str, group: str) -> Sentence:
    return next(s for s in task_live.sentences(store, task) if s.group == group)


def test_the_demo_model_can_do_what_it_saw_and_not_what_it_did_not(live: Store) -> None:
    known = sentence_of(live, NAME_INHIBITION, "template and words seen")
    fresh = sentence_of(live, NAME_INHIBITION, "new template and words")
    told: list[float] = []
    found = task_live.run_task(
        live, Asked(NAME_INHIBITION, known, 2), lambda done, left: told.append(done)
    )
    assert told == sorted(told) and told[-1] == 1.0 and len(told) > 1
    assert found.overall.share == 1.0 and found.overall.beats_chance
    other = task_live.run_task(live, Asked(NAME_INHIBITION, fresh, 2), silent)
    assert not other.overall.beats_chance
    # The head that looks most at the answer is the one found by attention alone.
    receiver, gap = task_live.receivers(live, known)[0]
    assert receiver.layer > 2 and gap > 0.3


def test_dials_change_answers_and_a_factor_of_one_does_not(live: Store) -> None:
    known = sentence_of(live, LAUNDRY_LIST, "template and words seen")
    assert 15 <= known.longest <= 20
    components = ((HeadId(0, 5), 1), (HeadId(0, 7), 1))
    same = task_live.run_task(live, Asked(LAUNDRY_LIST, known, 5, components, 1.0), silent)
    assert same.dialled == same.clean
    removed = task_live.run_task(live, Asked(LAUNDRY_LIST, known, 5, components, 0.0), silent)
    assert removed.clean == same.clean
    assert removed.overall_dialled is not None
    assert removed.overall_dialled.n_right < removed.overall.n_right - 10
    for example in removed.examples:
        assert example.dialled != example.clean and len(example.words) == 5


def test_steering_stands_beside_its_controls(live: Store) -> None:
    known = sentence_of(live, LAUNDRY_LIST, "template and words seen")
    found = task_live.steer_task(live, Asked(LAUNDRY_LIST, known, 8, ((HeadId(0, 5), 1),)), silent)
    names = [name for name, _ in found.rows]
    assert names[:2] == ["as it is", "steered"] and len(names) == 6
    assert len({own.n for _, own in found.rows}) == 1
    assert found.shares.shape == (9, 8)
    assert np.allclose(found.shares.sum(1), 1)


def test_where_the_model_cannot_do_the_task_no_mechanism_is_shown(
    live: Store, live_store: Path, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:  # fmt: skip
    app = opened(live_store, monkeypatch, items="5")
    (run,) = [b for b in app.button if b.label == "Run"]
    run.click()
    app.run()
    assert [error.message for error in app.exception] == []
    assert "Fit steering" in [b.label for b in app.button]
    chart(app, "Probability of each item")
    (sentence,) = [box for box in app.selectbox if box.label == "Sentence"]
    bad = next(o for o in sentence.options if o.startswith("New template and words"))
    sentence.select(bad)
    app.run()
    assert "Settings have changed since this run" in text_of(app)
    (run,) = [b for b in app.button if b.label == "Run"]
    run.click()
    app.run()
    assert "cannot do the task here, so no mechanism is shown" in text_of(app)
    assert "Fit steering" not in [b.label for b in app.button]


# --- words ------------------------------------------------------------------------------------


def test_components_are_read_as_they_are_written() -> None:
    found = parse_components("L0H5.1, l3h2.0 ,L0H5.1", 6, 8, 32)
    assert found == ((HeadId(0, 5), 1), (HeadId(3, 2), 0))
    assert parse_components(written(found), 6, 8, 32) == found
    assert parse_components("", 6, 8, 32) == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [("L0H5", "such as"), ("L0H9.1", "heads 0 to 7"), ("L6H0.0", "layers 0 to 5"),
     ("L0H0.32", "components 0 to 31"), ("<b>", "such as"),
     ("L0H0.0,L0H0.1,L0H0.2,L0H0.3", "at most three")],
)  # fmt: skip
def test_other_words_for_components_are_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_components(text, 6, 8, 32)


def test_a_run_adds_its_places() -> None:
    sentence = Sentence("x", None, "g", 4)
    run = TaskRun(Asked(LAUNDRY_LIST, sentence, 2), "training unknown",
                  (Accuracy(1, 4, 0.5), Accuracy(3, 4, 0.5)), None, 0, ())  # fmt: skip
    assert (run.overall.n_right, run.overall.n, run.overall.chance) == (4, 8, 0.5)
    assert run.overall_dialled is None
