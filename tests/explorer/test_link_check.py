"""A bad or stale link: what in it is not there is said, and the rest is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from explorer.components.frame import run_labels
from explorer.components.link_check import check, split_of
from explorer.core.runs import RunInfo
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from explorer.selection import Selection
from tests.explorer.page_reader import open_page, text_of

NEURON = NeuronId(5, 7)


def _prompt(store: Store, split: str, neuron: NeuronId = NEURON) -> int:
    return int(store.prompts(neuron, split)["prompt_id"].iloc[0])


def test_a_prompt_that_is_not_there_is_said_on_every_page(store: Store) -> None:
    for page in ("neuron", "head", "live", "flow", "findings", None):
        changes, notes = check(store, Selection(neuron=NEURON, token=" come", prompt=99999), page)
        assert changes == {"prompt": None}
        assert notes == ("Run *seeded* has no prompt 99999.",)


def test_a_prompt_of_another_neuron_is_shown_where_any_prompt_is(store: Store) -> None:
    wanted = Selection(neuron=NEURON, token=" come", prompt=_prompt(store, "train", NeuronId(4, 3)))
    assert check(store, wanted, "live") == ({}, ())
    changes, notes = check(store, wanted, "neuron")
    assert changes == {"prompt": None}
    assert "is one of L4 N3, not of L5 N7." in notes[0]
    assert check(store, wanted, "neuron", arrived=False) == ({"prompt": None}, ())


def test_a_prompt_brings_its_split(store: Store) -> None:
    wanted = Selection(neuron=NEURON, token=" come", prompt=_prompt(store, "test"))
    assert check(store, wanted, "neuron") == ({"split": "test"}, ())
    changes, notes = check(store, Selection(**{**vars(wanted), "split": "train"}), "neuron")
    assert changes == {"split": "test"}
    assert notes == (f"Prompt {wanted.prompt} is a test prompt: the test prompts are shown.",)
    assert split_of(store, wanted.prompt) == "test"
    assert split_of(store, None) is None


@pytest.mark.parametrize(
    ("page", "field", "value"),
    [("map", "measure", "colour"), ("map", "sort", "layer-size"), ("findings", "measure", "share")],
)
def test_an_unknown_way_of_showing_is_said_with_what_there_is(
    store: Store, page: str, field: str, value: str
) -> None:
    changes, notes = check(store, Selection(**{field: value}), page)
    assert changes == {field: None}
    assert f"“{value}”" in notes[0]
    assert check(store, Selection(**{field: value}), page, arrived=False) == ({field: None}, ())


def test_known_ways_of_showing_stay(store: Store) -> None:
    assert check(store, Selection(measure="effect", sort="similar-total"), "map") == ({}, ())
    assert check(store, Selection(measure="P(token)"), "findings") == ({}, ())


def test_all_that_is_wrong_is_said_at_once_and_the_rest_is_shown(seeded: Store) -> None:
    at = open_page(
        "neuron", run="gone", neuron="L5N7", head="L9H9", prompt="99999", split="both", guide="maybe",
        big="2", token="␣nowhere",
    )  # fmt: skip
    page = text_of(at)
    for words in ("no run gone", "no head L9 H9", "no prompt 99999", "link's split", "link's guide",
                  "link's big", "no token “␣nowhere”"):  # fmt: skip
        assert words in page, words
    assert "L5 N7, the" in page
    assert at.query_params["neuron"] == "L5N7"


def test_hostile_measures_are_escaped(seeded: Store) -> None:
    page = open_page("map", measure="<img src=x onerror=alert(1)>", sort="<script>")
    bodies = "".join(piece.proto.body for piece in page.get("html"))
    assert "<img" not in bodies
    assert "<script>" not in bodies
    assert "&lt;img" in bodies


# --- the run picker ------------------------------------------------------------------------------


def _run(run_id: str, corpus: str = "train") -> RunInfo:
    return RunInfo(run_id, Path(f"{run_id}.duckdb"), "demo model", corpus, "")


def test_runs_of_one_title_are_told_apart_by_what_differs_in_their_ids() -> None:
    runs = (_run("demo-model-train-c8add3d8"), _run("demo-model-train-4ba7a434"), _run("x", "pile"))
    assert list(run_labels(runs).values()) == [
        "c8add3d8 · demo model · train", "4ba7a434 · demo model · train", "demo model · pile",
    ]  # fmt: skip


def test_where_the_ends_agree_the_whole_id_is_shown() -> None:
    labels = run_labels((_run("a-1"), _run("b-1")))
    assert list(labels.values()) == ["a-1 · demo model · train", "b-1 · demo model · train"]


def test_a_head_of_a_link_is_kept(store: Store) -> None:
    assert check(store, Selection(head=HeadId(5, 7)), "head") == ({}, ())
