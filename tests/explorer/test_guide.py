"""The guide of the first minute: its steps name what the run holds; it hides, stays hidden, comes back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from explorer.components.guide import step_of
from explorer.core.schema import write_store
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from explorer.resources.first_minute import clearest_prompt, looked_at, words_to_swap
from explorer.resources.gallery import LEVEL, gallery_of
from explorer.resources.live_values import stored_prompt
from explorer.resources.token_tables import best_neuron
from explorer.selection import Selection
from tests.explorer.page_reader import html_of, open_page, text_of
from tests.explorer.seeded import tables

APP = Path(__file__).resolve().parents[2] / "explorer" / "app.py"


def _pair(store: Store, scored: bool) -> tuple[NeuronId, HeadId]:
    rows = store.pairs().query("studied")
    for row in rows.to_dict("records"):
        neuron = NeuronId(int(row["layer"]), int(row["neuron"]))
        head = HeadId(int(row["head_layer"]), int(row["head"]))
        if bool(store.head_scores(neuron, head)["score"].notna().any()) == scored:
            return neuron, head
    raise AssertionError("expected such a pair in the seeded store")


# --- what it says -------------------------------------------------------------------------------


def test_each_step_names_what_the_run_holds_and_leads_on(store: Store) -> None:
    neuron = best_neuron(store, " come")
    assert neuron is not None
    first = step_of(store, "tokens", Selection(token=" come", neuron=neuron))
    assert first is not None and first.page == "neuron"
    assert "The strongest neuron for" in first.text
    assert first.label == f"Open {neuron.label} →"
    scored = _pair(store, scored=True)
    chosen = Selection(neuron=scored[0], head=scored[1])
    second, third = step_of(store, "neuron", chosen), step_of(store, "head", chosen)
    assert second is not None and third is not None
    assert second.label == f"Meet head {scored[1].label} →"
    assert "the dots show how often it is right" in third.text
    prompt = third.changes["prompt"]
    last = step_of(store, "live", replace(chosen, prompt=prompt))
    assert last is not None and last.label == "Done"
    assert f"Switch {scored[1].label} off." in last.text


def test_the_count_of_the_second_step_is_that_of_the_split_shown(store: Store) -> None:
    neuron, head = _pair(store, scored=True)
    rows = store.head_activity(neuron, "test").query(
        "head_layer == @head.layer and head == @head.index"
    )
    found = step_of(store, "neuron", Selection(neuron=neuron, head=head, split="test"))
    assert found is not None
    n_active, n = int(rows["n_active"].iloc[0]), int(rows["n_prompts"].iloc[0])
    assert f"One head pushes in {n_active} of {n}." in found.text
    firsts = store.prompts(neuron, "test")["token_rank"].tolist().count(1)
    assert ("All these prompts" in found.text) == (firsts == n)


def test_without_a_score_the_third_step_claims_none(store: Store) -> None:
    neuron = _pair(store, scored=True)[0]
    rows = store.pairs().query("not studied and layer == @neuron.layer and neuron == @neuron.index")
    head = HeadId(int(rows["head_layer"].iloc[0]), int(rows["head"].iloc[0]))
    found = step_of(store, "head", Selection(neuron=neuron, head=head))
    assert found is not None
    assert "the dots" not in found.text


def test_a_neuron_without_prompts_is_no_dead_end(store: Store) -> None:
    found = step_of(store, "tokens", Selection(token=" come", neuron=NeuronId(0, 1)))
    assert found is not None
    assert "No prompts are stored for L0 N1." in found.text
    assert not store.prompts(found.changes["neuron"], "train").empty


def test_the_prompt_to_try_is_one_in_which_the_head_adds_most(store: Store) -> None:
    neuron, head = _pair(store, scored=True)
    rows = store.attributions(neuron, "train")
    flat = head.flat(store.shape.n_heads)
    active = [r for r in rows.to_dict("records") if flat in list(r["active"])]
    best = max(active, key=lambda r: r["heads"][flat])["prompt_id"]
    assert clearest_prompt(store, neuron, head) == best
    assert clearest_prompt(store, NeuronId(4, 3), HeadId(5, 0)) is None, "it comes too late"


@pytest.mark.parametrize(
    ("tokens", "weights", "word"),
    [
        ([" the", " villages", " came"], [0.1, 0.2, 0.6, 0.1], "villages"),
        ([" un", "happ", "ily", " so"], [0.0, 0.1, 0.8, 0.0, 0.1], "unhappily"),
        ([" go", ",", " so"], [0.0, 0.1, 0.8, 0.1], "go"),
        ([".", ","], [0.0, 0.5, 0.5], None),
        ([" a", "7"], [0.9, 0.1, 0.0], None),
    ],
)
def test_the_word_looked_at_is_a_whole_word(
    tokens: list[str], weights: list[float], word: str | None
) -> None:
    assert looked_at(tokens, weights) == word


def test_the_words_to_swap_are_of_this_prompt_and_of_another(store: Store) -> None:
    for row in store.pairs().query("studied").to_dict("records"):
        neuron = NeuronId(int(row["layer"]), int(row["neuron"]))
        head = HeadId(int(row["head_layer"]), int(row["head"]))
        prompt = clearest_prompt(store, neuron, head)
        pair = words_to_swap(store, neuron, head, prompt, None)
        stored = stored_prompt(store, neuron, prompt)
        if pair is None or stored is None:
            continue
        assert pair[0] in stored.text
        assert pair[0].lower() != pair[1].lower()
        assert words_to_swap(store, neuron, head, prompt, "typed") is None
        return
    raise AssertionError("expected a pair with words to swap")


# --- the strip ----------------------------------------------------------------------------------


def _has_strip(at: AppTest) -> bool:
    return "First minute" in text_of(at)


def test_it_is_hidden_for_good_and_comes_back(seeded: Store) -> None:
    at = open_page("neuron", neuron="L5N7")
    assert _has_strip(at)
    at.button(key="nt-guide-hide").click().run()
    assert not _has_strip(at)
    assert at.query_params["guide"] == "0"
    at.query_params.clear()
    at.query_params["neuron"] = "L4N3"
    at.run()
    assert not _has_strip(at), "another link of the session leaves it hidden"
    at.query_params["guide"] = "1"
    at.run()
    assert _has_strip(at)


def test_presentation_has_no_guide_and_larger_type(seeded: Store) -> None:
    assert "zoom: 1.3" not in html_of(open_page("neuron", neuron="L5N7"))
    at = open_page("neuron", neuron="L5N7", big="1")
    assert not _has_strip(at)
    assert "zoom: 1.3" in html_of(at)
    assert at.query_params["big"] == "1"


def test_the_button_leads_to_the_neuron(seeded: Store) -> None:
    at = AppTest.from_file(str(APP), default_timeout=60).run()
    assert not at.exception
    assert text_of(at).count("First minute, 1 of 4.") == 1
    at.button(key="nt-guide-go").click().run()
    assert not at.exception
    assert at.query_params["neuron"] == "L5N7"


def test_hostile_tokens_stay_text(seeded: Store) -> None:
    at = AppTest.from_file(str(APP), default_timeout=60)
    at.query_params["token"] = "<script>"
    at.run()
    assert _has_strip(at)
    assert "<script>" not in html_of(at)


# --- the gallery --------------------------------------------------------------------------------


def test_the_gallery_counts_what_it_chose_from(store: Store) -> None:
    rows = store.told_and_removed(str(store.main_explainer()))
    removed = store.removals("zero-last")
    for row in rows.head(3).to_dict("records"):
        mine = removed.query(
            "layer == @row['layer'] and neuron == @row['neuron'] and "
            "head_layer == @row['head_layer'] and head == @row['head']"
        )
        active = mine["active"].astype(bool)
        assert row["lost_active"] == pytest.approx(
            -mine.loc[active, "delta_pre_activation"].median()
        )
        assert row["lost_inactive"] == pytest.approx(
            -mine.loc[~active, "delta_pre_activation"].median()
        )
    assert rows["score"].is_monotonic_decreasing
    found = gallery_of(store)
    assert found is not None
    beat = rows[rows["p_value"] <= LEVEL]
    assert (found.n_pairs, found.n_beat) == (len(rows), len(beat))
    for one in found.found:
        assert one.p_value <= LEVEL and one.lost_active > one.lost_inactive
    assert len({one.head for one in found.found}) == len(found.found)


def test_a_run_without_words_has_no_gallery_and_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = tables()
    for name in ("explanations", "head_scores", "score_nulls", "classifications", "ablations"):
        found[name] = found[name].slice(0, 0)
    write_store(tmp_path / "bare.duckdb", found)
    monkeypatch.setenv("EXPLORER_STORE", str(tmp_path))
    with Store.open(tmp_path / "bare.duckdb") as store:
        assert gallery_of(store) is None
    at = AppTest.from_file(str(APP), default_timeout=60).run()
    assert not at.exception
    assert "Found in this run" not in [h.value for h in at.header]
