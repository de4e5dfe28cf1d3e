"""The Head page's words and removals: what is shown is what is stored, for every explainer and kind."""

from __future__ import annotations

import html
from pathlib import Path
from statistics import fmean, median

import pyarrow as pa
import pytest
from streamlit.testing.v1 import AppTest

from explorer.charts.style import number, signed
from explorer.core.rules import evidence, parse
from explorer.core.store import Store
from explorer.core.types import ABLATION_KINDS, HeadId, NeuronId
from explorer.resources.head_figures import ONE_CLASS
from explorer.resources.head_removals import QUANTITIES, removals
from explorer.resources.head_words import explained, prompt_texts
from tests.explorer.page_reader import (
    chart,
    html_of,
    open_page,
    store_copy,
    strips_of_page,
    text_of,
    widest,
)
from tests.explorer.seeded import tables, write_seeded_store
from tests.explorer.seeded_effects import HOSTILE_EXPLANATION, HOSTILE_REPLY, TWICE_EXPLAINED

NEURON = NeuronId(*TWICE_EXPLAINED)


def _heads(store: Store) -> list[HeadId]:
    """The neuron's studied heads, in order."""
    rows = store.head_activity(NEURON).query("studied").sort_values(by=["head_layer", "head"])
    return [HeadId(int(a), int(b)) for a, b in rows[["head_layer", "head"]].to_numpy()]


def _open(head: HeadId, neuron: NeuronId = NEURON, **query: str) -> AppTest:
    return open_page("head", neuron=str(neuron), head=str(head), **query)


def _pair_where(store: Store, condition: str) -> tuple[NeuronId, HeadId]:
    """The first pair whose score of the run's explainer meets a condition of ours."""
    found = store.sql(f"SELECT * FROM head_scores WHERE explainer = 'contrast' AND {condition}")
    layer, neuron, head_layer, head = (
        int(found[name].tolist()[0]) for name in ("layer", "neuron", "head_layer", "head")
    )
    return NeuronId(layer, neuron), HeadId(head_layer, head)


@pytest.mark.parametrize("explainer", ["contrast", "openai"])
def test_the_words_and_the_score_are_those_of_the_chosen_explainer(
    seeded: Store, explainer: str
) -> None:
    head = _heads(seeded)[0]
    row = seeded.head_scores(NEURON, head).set_index("explainer").loc[explainer]
    text = seeded.explanations(NEURON, head).set_index("explainer").loc[explainer, "text"]
    app = _open(head, explainer=explainer)
    assert html.escape(str(text)) in html_of(app)
    assert app.selectbox(key=f"head-explainer-{explainer}").value == explainer
    n = int(row["tp"] + row["fp"] + row["tn"] + row["fn"])
    assert f"{number(row['score'])} {int(row['tp'] + row['tn'])} of {n} right" in text_of(app)
    _, frames = chart(app, "The explanation was right about")
    dots = widest(frames, "prompt_id", "predicted")
    stored = seeded.classifications(NEURON, head, explainer)
    assert set(dots["prompt_id"]) == set(stored["prompt_id"]) and len(dots) == n
    assert dots["right"].tolist().count(True) == int(row["tp"] + row["tn"])


def test_the_rules_evidence_stands_under_the_words(seeded: Store) -> None:
    head = _heads(seeded)[0]
    rule = seeded.explanations(NEURON, head)["rule"].tolist()[0]
    lines = evidence(parse(rule))
    assert len(lines) > 2
    seen = html_of(_open(head, explainer="contrast"))
    for line in lines:
        assert f"<li>{html.escape(line)}</li>" in seen
    assert '<ul class="nt-clauses"' not in html_of(_open(head, explainer="openai"))


def test_a_rule_that_cannot_be_read_is_said_to_be_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seeded: Store
) -> None:
    broken = tables()
    explanations = broken["explanations"]
    place = explanations.schema.get_field_index("rule")
    rules = pa.array(['{"version": "<b>9"}'] * explanations.num_rows)
    broken["explanations"] = explanations.set_column(place, "rule", rules)
    path = store_copy(tmp_path / "broken", "seeded", broken)
    monkeypatch.setenv("EXPLORER_STORE", str(path.parent))
    app = _open(_heads(seeded)[0], explainer="contrast")
    assert "The stored rule could not be read" in text_of(app)
    assert "<b>9" not in html_of(app)


def test_the_score_stands_over_its_nulls_and_the_random_neurons(seeded: Store) -> None:
    head = _heads(seeded)[0]
    _, frames = chart(_open(head, explainer="contrast"), "The explanation was right about")
    shown = widest(frames, "name", "value", "low").set_index("name")
    nulls = seeded.score_nulls(NEURON, head, "contrast").set_index("null_kind")
    means = seeded.mean_scores("contrast").set_index("kind")
    assert shown.loc["Another head’s", "value"] == pytest.approx(nulls.loc["other-head", "score"])
    assert shown.loc["Shuffled activity", "value"] == pytest.approx(nulls.loc["shuffle", "score"])
    assert f"p = {nulls.loc['shuffle', 'p_value']:.3f}" in shown.loc["Shuffled activity", "shown"]
    assert shown.loc["Random neurons", "value"] == pytest.approx(means.loc["random", "score"])
    own = seeded.head_scores(NEURON, head).set_index("explainer").loc["contrast"]
    assert shown.loc["This explanation", "low"] == pytest.approx(own["ci_low"])
    assert shown.loc["This explanation", "high"] == pytest.approx(own["ci_high"])


def test_marks_say_where_the_explanation_was_right_and_a_cell_shows_its_prompts(
    seeded: Store,
) -> None:
    neuron, head = _pair_where(seeded, "fn > 0 AND tp > 0 AND fp > 0")
    verdicts = seeded.classifications(neuron, head, "contrast")
    wrong = set(verdicts.loc[verdicts["active"] != verdicts["predicted"], "prompt_id"])
    app = _open(head, neuron)
    rows = [row for strips in strips_of_page(app) for row in strips.split('<div class="row')[1:]]
    marked = {int(row.split('data-id="')[1].split('"')[0]): row for row in rows}
    assert {i for i, row in marked.items() if "✗" in row} == wrong
    assert {i for i, row in marked.items() if "✓" in row} == set(verdicts["prompt_id"]) - wrong
    pills = next(group for group in app.pills if group.label == "Prompts of one cell")
    missed = verdicts.loc[verdicts["active"] & ~verdicts["predicted"].astype(bool), "prompt_id"]
    pills.set_value("missed").run()
    shown = "".join(strips_of_page(app))
    assert [f'data-id="{i}"' in shown for i in missed] == [True] * len(missed)
    assert shown.count('data-id="') == len(missed) < len(marked)


def test_no_marks_on_train_prompts(seeded: Store) -> None:
    strips = "".join(strips_of_page(_open(_heads(seeded)[0], split="train")))
    assert "✓" not in strips and "✗" not in strips


def test_one_class_has_dots_but_no_score(seeded: Store) -> None:
    neuron, head = _pair_where(seeded, "score IS NULL")
    app = _open(head, neuron)
    assert ONE_CLASS in text_of(app)
    spec, frames = chart(app, "The explanation was right about")
    assert "score" not in spec["description"]
    assert len(widest(frames, "prompt_id", "predicted")) == 6


@pytest.mark.parametrize("kind", ABLATION_KINDS)
def test_the_strips_are_the_stored_changes_of_the_kind_in_the_link(
    seeded: Store, kind: str
) -> None:
    head = _heads(seeded)[0]
    app = _open(head, kind=kind)
    stored = seeded.ablations(NEURON, head).query("kind == @kind").set_index("prompt_id")
    for quantity in QUANTITIES.values():
        app.selectbox(key="head-quantity").set_value(quantity.name).run()
        _, frames = chart(app, "Change of the")
        drawn = widest(frames, "prompt_id", "value", "active").set_index("prompt_id")
        assert len(drawn) == len(stored)
        for prompt_id, row in stored.iterrows():
            assert drawn.loc[prompt_id, "value"] == pytest.approx(
                row[quantity.column] * quantity.scale
            )
            assert drawn.loc[prompt_id, "active"] == row["active"]
        labels = widest(frames, "median", "words").set_index("name")
        middle = median(stored.query("active")[quantity.column].tolist()) * quantity.scale
        assert labels.loc["Active", "words"] == f"median {signed(middle, quantity.digits)}"


def test_beside_it_stand_the_joint_removal_and_the_neurons_own(seeded: Store) -> None:
    head = _heads(seeded)[0]
    rows = seeded.ablations(NEURON, head).query("kind == 'zero-last' and active")
    mine = {"mine": rows["prompt_id"].tolist()}
    joint = seeded.joint_ablations(NEURON).query(
        "kind == 'zero-last' and prompt_id in @mine", local_dict=mine
    )
    own = seeded.neuron_ablations(NEURON).query("prompt_id in @mine", local_dict=mine)
    together, n_heads = median(joint["delta_activation"].tolist()), fmean(joint["n_heads"].tolist())
    lost = 100 * median(own["delta_probability"].tolist())
    text = text_of(_open(head))
    assert f"({n_heads:.1f} on average) {signed(together)}" in text
    assert f"the neuron itself {signed(lost, 1)} points" in text


def test_scores_stand_beside_the_neurons_it_serves(seeded: Store) -> None:
    head = _heads(seeded)[0]
    _, frames = chart(_open(head), "Share of prompts")
    drawn = widest(frames, "neuron", "scored").set_index("neuron")
    for row in seeded.scores_of_head(head, "contrast").to_dict("records"):
        assert drawn.loc[f"L{row['layer']}N{row['neuron']}", "scored"] == number(row["score"])
    others = drawn[~drawn["studied"].astype(bool)]
    assert not others.empty and set(others["scored"]) == {"not studied"}


def test_hostile_words_are_shown_as_words(seeded: Store) -> None:
    head = _heads(seeded)[0]
    app = _open(head, explainer="openai")
    assert seeded.explanations(NEURON, head)["text"].tolist()[1] == HOSTILE_EXPLANATION
    seen = html_of(app)
    assert "<script>alert" not in seen and "<img src=x" not in seen
    assert html.escape(HOSTILE_EXPLANATION) in seen
    assert HOSTILE_REPLY in [block.value for block in app.code]  # a block that shows text as it is


def test_a_link_to_an_explainer_or_kind_that_is_not_there_is_said(seeded: Store) -> None:
    app = _open(_heads(seeded)[0], explainer="<b>nobody", kind="half-last")
    text = text_of(app)
    assert "No explanation of this pair by <b>nobody is stored. Shown: contrast’s." in text
    assert "The link's kind could not be read" in text
    assert "<b>nobody" not in html_of(app)


@pytest.fixture()
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run made with `--explainer none`, before removals were measured."""
    left_out = ("ablations", "joint_ablations", "neuron_ablations")
    kept = {n: t for n, t in tables(explainer="none").items() if n not in left_out}
    path = store_copy(tmp_path / "bare", "seeded", kept)
    monkeypatch.setenv("EXPLORER_STORE", str(path.parent))
    return path


def test_a_run_without_these_stages_says_what_fills_them(bare: Path) -> None:
    with Store.open(bare) as store:
        head = _heads(store)[0]
        app = _open(head)
    text = text_of(app)
    assert "not tested: the model was not re-run without it" in text
    command = (
        "python -m precompute --model assets/demo/model --corpus assets/demo/corpus/train.jsonl"
    )
    assert "The contrast explainer needs no key" in text
    assert f"{command} --test-corpus assets/demo/corpus/test.jsonl --explainer contrast" in text
    assert f"{command} --test-corpus assets/demo/corpus/test.jsonl --force" in text
    assert "Does the explanation hold on new prompts?" not in [h.value for h in app.header]
    assert len(strips_of_page(app)) == 2


def test_an_unstudied_pair_says_that_only_studied_ones_are_told_and_tested(seeded: Store) -> None:
    rows = seeded.head_activity(NEURON).query("not studied").iloc[0]
    text = text_of(_open(HeadId(int(rows["head_layer"]), int(rows["head"]))))
    assert text.count("this head is not studied for the neuron") == 2


def test_a_failed_explanation_is_said_with_its_reason(seeded: Store) -> None:
    failed = seeded.sql("SELECT * FROM failures WHERE subject NOT LIKE '%prompt%' ORDER BY subject")
    subjects = [str(subject).split(" ") for subject in failed["subject"]]
    assert {explainer for explainer, *_ in subjects} == {"contrast", "openai"}
    for explainer, neuron, head in subjects:
        app = _open(HeadId.parse(head), NeuronId.parse(neuron))
        said = f"{explainer} failed for this pair: no <b>reply</b> in 60 s."
        assert said in text_of(app).replace("\n", " ")
        assert "<b>reply" not in html_of(app)
        told = explainer == "openai"  # the run's own explainer did explain that pair
        assert ("<blockquote" in html_of(app)) == told


def _texts(store: Store) -> dict[int, str]:
    return prompt_texts(store, NEURON)


def test_the_runs_own_explainer_comes_first(tmp_path: Path) -> None:
    with Store.open(write_seeded_store(tmp_path)) as store:
        head = _heads(store)[0]
        told = explained(store, NEURON, head, None, _texts(store))
        assert told is not None and told.explainer == "contrast"
        assert told.explainers == ("contrast", "openai")
        again = explained(store, NEURON, head, "openai", _texts(store))
        assert again is not None and again.explainer == "openai"


def test_the_verdict_uses_zero_last_alone(seeded: Store) -> None:
    head = _heads(seeded)[0]
    found = removals(seeded, NEURON, head, _texts(seeded))
    assert found is not None and found.verdict is not None
    rows = seeded.ablations(NEURON, head)
    shares = {}
    for kind in ABLATION_KINDS:
        mine = rows.query("kind == @kind and active")
        names = ("delta_pre_activation", "pre_activation")
        delta, clean = (median(mine[name].tolist()) for name in names)
        shares[kind] = -delta / clean
    assert found.verdict.lost_active == pytest.approx(shares.pop("zero-last"))
    assert all(abs(found.verdict.lost_active - share) > 1e-6 for share in shares.values())
