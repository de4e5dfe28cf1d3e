"""The Findings page computes what it shows from the store's rows, and says what a run lacks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from streamlit.testing.v1 import AppTest

from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from explorer.resources.findings_tables import Bins, run_findings
from explorer.resources.removal_tables import curves, joint_rows, removals_of, scatter_rows
from tests.explorer.page_reader import chart, html_of, open_page, store_copy, text_of, widest
from tests.explorer.seeded import tables, write_seeded_store

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture()
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three runs: two with scores, one without an explainer and with a hostile name."""
    write_seeded_store(tmp_path, "alpha", explainer="contrast", end="2026-11-03T10:00:00+00:00")
    write_seeded_store(tmp_path, "beta", seed=1, explainer="contrast", model_name="model two")
    write_seeded_store(tmp_path, "gamma", seed=2, explainer="none", model_name=HOSTILE)
    monkeypatch.setenv("EXPLORER_STORE", str(tmp_path))
    return tmp_path


@pytest.fixture()
def alpha(folder: Path):
    with Store.open(folder / "alpha.duckdb") as opened:
        yield opened


def _open(*runs: str, **query: str) -> AppTest:
    app = AppTest.from_string("from explorer.views.findings import render\nrender()")
    app.default_timeout = 90
    app.query_params["run"] = list(runs)  # type: ignore[assignment]
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert [error.message for error in app.exception] == []
    return app


def _captions(app: AppTest) -> str:
    return " ".join(caption.value for caption in app.caption)


def test_the_sentences_state_the_runs_own_numbers(folder: Path, alpha: Store) -> None:
    text = text_of(_open("alpha"))
    scores = alpha.pair_scores("contrast").dropna(subset="score")
    random = scores["neuron_kind"] == "random"
    assert f"{scores.loc[~random, 'score'].mean():.2f} " in text
    assert f"{(~random).sum()} pairs of next-token neurons" in text
    assert f"against {random.sum()} pairs of random neurons" in text
    rows = alpha.removals("zero-last")
    x, y = rows["contribution"].to_numpy(float), -rows["delta_pre_activation"].to_numpy(float)
    agree = np.mean(np.sign(x) == np.sign(y))
    assert f"{100 * agree:.0f} % of {len(rows)} removals" in text
    assert f"Correlation {stats.pearsonr(x, y).statistic:.2f}" in text
    active = rows["active"].to_numpy(bool)
    assert f"{stats.pearsonr(x[active], y[active]).statistic:.2f} within active" in text
    assert f"Spearman r {stats.spearmanr(x, y).statistic:.2f}" in text


def test_the_scatter_shows_every_removal_and_y_is_what_was_lost(folder: Path, alpha: Store) -> None:
    app = _open("alpha")
    _, frames = chart(app, "Scatter of direct")
    marks = widest(frames, "x", "y", "agree", "prompt_id")
    rows = alpha.removals("zero-last")
    assert len(marks) == len(rows)
    assert sorted(marks["y"]) == pytest.approx(sorted(-rows["delta_pre_activation"]))
    assert (marks["agree"] == (marks["x"] * marks["y"] > 0)).all()
    assert marks["active"].sum() == rows["active"].sum()


def test_a_chosen_mark_is_ringed_and_leads_to_live(folder: Path, alpha: Store) -> None:
    row = alpha.removals("zero-last").iloc[5].to_dict()
    neuron = NeuronId(int(row["layer"]), int(row["neuron"]))
    head = HeadId(int(row["head_layer"]), int(row["head"]))
    app = _open("alpha", neuron=str(neuron), head=str(head), prompt=str(row["prompt_id"]))
    spec, _ = chart(app, "Scatter of direct")
    assert len(spec["layer"]) == 5
    assert f"{head.label} on {neuron.label}" in text_of(app)
    assert "Try it live →" in [markdown.value for markdown in app.markdown]
    assert "Click a mark" in text_of(_open("alpha"))


def test_the_kind_of_removal_is_a_tab_and_kept_in_the_url(folder: Path, alpha: Store) -> None:
    app = _open("alpha")
    app.button_group(key="findings-direct-kind-zero-last").set_value("zero-all").run()
    assert app.query_params["kind"] in ("zero-all", ["zero-all"])
    _, frames = chart(app, "Scatter of direct")
    lost = -alpha.removals("zero-all")["delta_pre_activation"]
    assert sorted(widest(frames, "x", "y", "agree")["y"]) == pytest.approx(sorted(lost))
    app = _open("alpha", kind="mean-all", measure="P(token)")
    rows = alpha.removals("mean-all")
    active = rows["active"].to_numpy(bool)
    delta = rows["delta_probability"].to_numpy(float)
    test = stats.ks_2samp(delta[active], delta[~active])
    assert f"KS distance D = {test.statistic:.2f}" in text_of(app)  # pyright: ignore
    assert "zero at the last position" in _captions(app)  # means have no tab in the scatter


def test_runs_are_compared_and_each_is_named(folder: Path) -> None:
    app = _open("alpha", "beta", "gamma")
    assert app.query_params["run"] == ["alpha", "beta", "gamma"]
    _, frames = chart(app, "Share of tokens")
    lines = widest(frames, "run", "layer", "share")
    assert set(lines["run"]) == {"seeded model", "model two", HOSTILE}
    assert lines.groupby("run")["share"].sum().tolist() == pytest.approx([1, 1, 1])
    _, frames = chart(app, "Distributions of score")
    labels = widest(frames, "name", "right")
    assert labels["note"].tolist()[2] == "no score"
    assert HOSTILE not in html_of(app)
    assert "&lt;img" in html_of(app)


def test_runs_are_added_and_taken_out_up_to_four(folder: Path) -> None:
    app = _open("alpha")
    app.selectbox(key="nt-add-run").set_value("beta").run()
    assert app.query_params["run"] == ["alpha", "beta"]
    app.button(key="nt-run-0").click().run()
    assert app.query_params["run"] in ("beta", ["beta"])
    assert app.button(key="nt-run-0").disabled  # the last one stays


def test_a_run_that_is_not_there_is_said_and_left_out(folder: Path) -> None:
    app = _open("alpha", "nowhere")
    assert "There is no run nowhere here to compare with." in text_of(app)
    assert app.query_params["run"] in ("alpha", ["alpha"])


def test_a_run_without_scores_says_why(folder: Path) -> None:
    text = text_of(_open("gamma"))
    assert "No score yet" in text
    assert "was made without an explainer" in text
    assert "No run shown has a score" in text
    assert "The sign is" in text  # its removals are there all the same


def test_a_run_without_removals_or_prompts_still_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = tables(explainer="contrast")
    for name in ("ablations", "joint_ablations", "neuron_ablations"):
        changed[name] = changed[name].slice(0, 0)
    store_copy(tmp_path / "some", "no-removals", changed)
    monkeypatch.setenv("EXPLORER_STORE", str(tmp_path / "some"))
    text = text_of(_open("no-removals"))
    assert "Not tested by removal" in text
    assert text.count("This run holds no removal") == 3
    kept = ("manifest", "tokens", "token_neurons", "neuron_tokens")
    store_copy(tmp_path / "bare", "bare", {name: changed[name] for name in kept})
    monkeypatch.setenv("EXPLORER_STORE", str(tmp_path / "bare"))
    text = text_of(_open("bare"))
    assert "no studied pair" in text
    assert "No prompt is kept" in text


def test_a_sample_of_marks_keeps_the_chosen_one_and_the_numbers_of_all(alpha: Store) -> None:
    removals = removals_of(alpha, "zero-last")
    row = removals.rows.iloc[7].to_dict()
    neuron = str(NeuronId(int(row["layer"]), int(row["neuron"])))
    head = str(HeadId(int(row["head_layer"]), int(row["head"])))
    pick = (int(row["prompt_id"]), neuron, head)
    for seed in range(5):
        few = scatter_rows(removals, alpha.token_texts, pick, limit=20, seed=seed)
        assert len(few) in (19, 20)
        chosen = few[["prompt_id", "neuron", "head"]].itertuples(index=False, name=None)
        assert pick in list(chosen)
        assert few["active"].is_monotonic_increasing  # active marks lie on top
    again = scatter_rows(removals, alpha.token_texts, pick, limit=20, seed=0)
    assert again.equals(scatter_rows(removals, alpha.token_texts, pick, limit=20, seed=0))
    assert removals.agreement(active=False).n == len(removals.rows)


def test_what_is_drawn_adds_up(alpha: Store) -> None:
    found = run_findings(alpha, "m", "c")
    assert sum(Bins.of(found.scores.chosen).counts) == len(found.scores.chosen)
    assert sum(Bins.of(found.probabilities(False)).shares) == pytest.approx(1)
    assert found.scores.n_studied == len(found.scores.chosen) + found.scores.n_no_score + (
        found.scores.n_unexplained
    )
    prompts = alpha.prompt_probabilities().query("neuron_kind != 'random'")
    means = prompts.groupby(["layer", "neuron"])["probability"].mean()
    assert found.low_neurons is not None
    assert found.low_neurons.value == pytest.approx((means < 0.1).mean())
    removals = removals_of(alpha, "zero-last")
    drawn = curves(removals, "pre-activation")
    assert drawn.groupby("group")["share"].max().tolist() == pytest.approx([1, 1])
    assert len(joint_rows(removals)) == len(removals.joint) <= removals.n_joint


def test_removed_together_against_one_by_one(alpha: Store) -> None:
    """With prompts whose active heads are all studied: their own removals add up."""
    removals = removals_of(alpha, "zero-last")
    assert removals.more_together is None or len(removals.joint)
    every = alpha.joint_removals("zero-last").query("n_heads > 1")
    assert removals.n_joint == len(every)
    assert len(removals.joint) == (every["n_alone"] == every["n_heads"]).sum()


def test_the_single_run_page_opens_without_a_link(folder: Path) -> None:
    app = open_page("findings")
    assert app.query_params["run"] in ("alpha", ["alpha"])  # the newest
    assert len(app.get("vega_lite_chart")) >= 5
