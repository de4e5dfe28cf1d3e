"""The Head page shows what is stored of a pair of head and neuron."""

from __future__ import annotations

import re
from statistics import median

import pytest

from explorer.charts.style import signed
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from explorer.resources.head_tables import MAX_NEURONS
from tests.explorer.page_reader import (
    chart,
    html_of,
    neurons_with,
    open_page,
    strips_of_page,
    text_of,
    widest,
)
from tests.explorer.seeded import N_PROMPTS

NEURON = NeuronId(5, 7)


def _pair(store: Store, *, studied: bool) -> tuple[HeadId, dict]:
    """A head of the neuron that is, or is not, studied and is active somewhere."""
    rows = store.head_activity(NEURON)
    row = rows[(rows["studied"] == studied) & (rows["n_active"] > 0)].iloc[0].to_dict()
    return HeadId(int(row["head_layer"]), int(row["head"])), row


def _active(store: Store, head: HeadId, split: str) -> dict[int, float]:
    """Contribution in each prompt where the head is active, by prompt id."""
    rows = store.attributions(NEURON, split).to_dict("records")
    flat = head.flat(8)
    return {r["prompt_id"]: float(r["heads"][flat]) for r in rows if flat in list(r["active"])}


def _rows(strips: str) -> dict[int, str]:
    parts = strips.split('<div class="row')[1:]
    return {int(re.findall(r'data-id="(\d+)"', part)[0]): part for part in parts}


@pytest.mark.parametrize("split", ["train", "test"])
def test_without_a_removal_the_answer_states_contributions_and_that_nothing_was_tested(
    seeded: Store, split: str
) -> None:
    head, _ = _pair(seeded, studied=False)
    active = _active(seeded, head, split)
    text = text_of(open_page("head", neuron=str(NEURON), head=str(head), split=split))
    assert f"Does {head.label} switch on L5 N7?" in text
    assert "not tested" in text
    if active:
        mean = signed(sum(active.values()) / len(active))
        assert f"directly, {mean} on average in the {len(active)} of {N_PROMPTS} {split}" in text


def test_with_a_removal_the_answer_is_its_verdict(seeded: Store) -> None:
    head, _ = _pair(seeded, studied=True)
    rows = seeded.ablations(NEURON, head).query("kind == 'zero-last'")
    active, other = rows.query("active"), rows.query("not active")
    columns = ("delta_pre_activation", "pre_activation", "delta_activation")
    lowered, clean, change = (median(active[name].tolist()) for name in columns)
    lost = -lowered / clean
    assert lost > 0.1  # the seeded head that is active does add, so its removal must show
    page = html_of(open_page("head", neuron=str(NEURON), head=str(head)))
    text = text_of(open_page("head", neuron=str(NEURON), head=str(head)))
    assert "<b>Yes</b>: without it" in page
    assert f"loses {100 * lost:.0f} % of its pre-activation in the {len(active)} prompt" in text
    assert f"in the {len(other)} others" in text
    assert "not tested" not in text
    assert f"{signed(change)} activation, median" in text


def test_prompts_are_parted_by_activity_and_tinted_by_stored_attention(seeded: Store) -> None:
    head, _ = _pair(seeded, studied=True)
    active = _active(seeded, head, "train")
    attention = {
        int(i): w
        for i, w in seeded.head_attention(NEURON, head)[["prompt_id", "weights"]].to_numpy()
    }
    left, right = (
        _rows(s)
        for s in strips_of_page(
            open_page("head", neuron=str(NEURON), head=str(head), split="train")
        )
    )
    assert set(left) == set(active)
    assert set(left) | set(right) == set(seeded.prompts(NEURON, "train")["prompt_id"])
    assert right
    for prompt_id, row in (left | right).items():
        weights = attention[prompt_id]
        shown = re.findall(r'title="attention ([\d.]+)"', row)
        assert shown == [f"{w:.2f}" for w in weights[1:]]
        assert f">{100 * weights[0]:.0f} %</span>" in row
    for prompt_id, row in left.items():
        assert f'<span class="v">{signed(active[prompt_id])}</span>' in row


def test_without_stored_attention_the_page_says_so_and_tints_nothing(seeded: Store) -> None:
    head, _ = _pair(seeded, studied=False)
    assert seeded.head_attention(NEURON, head).empty
    app = open_page("head", neuron=str(NEURON), head=str(head))
    assert any("this pair is not" in caption.value for caption in app.caption)
    for strips in strips_of_page(app):
        assert not re.search(r'class="[^"]* t\d"', strips)
    studied, _ = _pair(seeded, studied=True)
    tinted = strips_of_page(open_page("head", neuron=str(NEURON), head=str(studied)))
    assert re.search(r'class="[^"]* t\d"', tinted[0])  # the pattern does find a tint


def test_neurons_it_serves_are_the_stored_shares(seeded: Store) -> None:
    head, _ = _pair(seeded, studied=True)
    app = open_page("head", neuron=str(NEURON), head=str(head), split="train")
    _, frames = chart(app, "Share of prompts")
    drawn = widest(frames, "neuron", "share").set_index("neuron")
    shown = seeded.head_neurons(head).to_dict("records")[: MAX_NEURONS - 1]
    assert len(drawn) == MAX_NEURONS
    for row in shown:
        name = str(NeuronId(int(row["layer"]), int(row["neuron"])))
        assert drawn.loc[name, "share"] == pytest.approx(row["n_active"] / N_PROMPTS)
        assert drawn.loc[name, "studied"] == row["studied"]
    assert True in drawn["studied"].tolist()


def test_a_head_that_comes_too_late_cannot(seeded: Store) -> None:
    neuron = next(
        NeuronId(4, int(i))
        for layer, i in seeded.studied_neurons()[["layer", "neuron"]].to_numpy()
        if layer == 4
    )
    text = text_of(open_page("head", neuron=str(neuron), head="L5H0"))
    assert f"only heads of layers 0–4 write to the input of {neuron.label}" in text
    assert "no prompts to show" in text
    assert "only heads of" not in text_of(open_page("head", neuron=str(neuron), head="L4H0"))


def test_a_neuron_that_is_not_studied_has_no_prompts(seeded: Store) -> None:
    app = open_page("head", neuron="L3N1", head="L0H0")
    assert "No prompts are stored for L3 N1" in text_of(app)
    assert strips_of_page(app) == []


def test_the_head_picker_changes_the_head(seeded: Store) -> None:
    app = open_page("head", neuron=str(NEURON), head="L0H0")
    app.selectbox(key="nt-head-picker-L0H0").set_value(HeadId(2, 3)).run()
    assert "Does L2 H3 switch on L5 N7?" in text_of(app)
    assert app.query_params["head"] == "L2H3"


def test_every_panel_is_there_for_a_studied_pair(seeded: Store) -> None:
    head, _ = _pair(seeded, studied=True)
    app = open_page("head", neuron=str(NEURON), head=str(head))
    assert [h.value for h in app.header] == [
        "When is it active?",
        "Does the explanation hold on new prompts?",
        "Where it looks",
        "Neurons it serves",
        "What happens when it is removed",
        "Which components carry it",
    ]


@pytest.mark.parametrize("text", ["<script>", " <img src=x onerror=alert(1)>"])
def test_hostile_texts_are_escaped(seeded: Store, text: str) -> None:
    app = open_page("head", neuron=str(neurons_with(seeded, text)[0]), split="train")
    seen = html_of(app) + "".join(strips_of_page(app))
    assert text.strip()[:4] not in seen
    assert text.strip()[:4].replace("<", "&lt;") in seen
