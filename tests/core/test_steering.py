"""Inhibition scores and steering on a channel planted by hand, with what must not do the same.

After " left" the planted component makes the receiver look at " north", after " right" at " south"; here
the unembedding reads the channel too, so that setting the component decides which of the two is said.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from explorer.core.component_edit import ComponentEdit
from explorer.core.model import load_model
from explorer.core.model_blocks import Blocks
from explorer.core.model_component_edit import ComponentDials
from explorer.core.steering import (
    Axis,
    _others,
    _random,
    axis_values,
    fit_and_judge,
    halves,
    steer,
    steering_grid,
)
from explorer.core.steps import finish
from explorer.core.task_dials import dialled_answers
from explorer.core.task_runs import judge
from explorer.core.task_scores import attention_gap, inhibition_scores, receiver_gaps
from explorer.core.task_seen import UNKNOWN
from explorer.core.tasks import TaskPrompt
from explorer.core.types import HeadId
from tests.core.conftest import Pair
from tests.precompute import planted_channel as planted

SENDER, RECEIVER = HeadId(*planted.SENDER), HeadId(*planted.RECEIVER)
POLES = (planted.NORTH, planted.SOUTH)
NOISE = 0.03


def prompt_of(words: list[str], answer: str, order: tuple[str, ...]) -> TaskPrompt:
    ids = tuple(planted.WORDS.index(word) for word in words)
    candidates = tuple(planted.WORDS.index(word) for word in order)
    mentions = tuple(words.index(word) for word in order)
    return TaskPrompt("planted", "", UNKNOWN, "".join(words), ids, order, candidates,
                      order.index(answer), mentions)  # fmt: skip


def named(n: int) -> list[TaskPrompt]:
    """Prompts whose answer is the pole that the channel names."""
    return [
        prompt_of(words, planted.NAMED[side], tuple(sorted(POLES, key=words.index)))
        for words in planted.prompts(n, seed=4)
        for side in [next(w for w in words if w in planted.SIGN_OF)]
    ]


def undecided(n: int) -> list[TaskPrompt]:
    """Prompts whose answer has nothing to do with the channel: each pole equally often, in an order of
    its own."""
    answers = np.random.default_rng(2).permutation(n) % 2
    return [
        prompt_of(words, POLES[answer], POLES)
        for words, answer in zip(planted.prompts(n, seed=5), answers, strict=True)
    ]


@pytest.fixture(scope="module", params=[True, False], ids=["channel", "control"])
def dials(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    folder = tmp_path_factory.mktemp("steering") / "gpt2"
    planted.write_folder(folder, with_channel=request.param)
    yield ComponentDials(Blocks(load_model(folder, device="cpu"))), request.param


@pytest.fixture(scope="module")
def speaking(tmp_path_factory: pytest.TempPathFactory) -> ComponentDials:
    """The planted model with a mouth: the unembedding of both poles reads the channel."""
    folder: Path = tmp_path_factory.mktemp("speaking") / "gpt2"
    planted.write_folder(folder)
    model = planted.build_model()
    with torch.no_grad():
        model.lm_head.weight *= 0.02
        for word, sign in zip(POLES, (1, -1), strict=True):
            model.lm_head.weight[planted.WORDS.index(word)] += sign * planted.CHANNEL
    model.save_pretrained(folder)
    return ComponentDials(Blocks(load_model(folder, device="cpu")))


# --- inhibition scores ------------------------------------------------------------------------


def test_the_planted_component_alone_has_the_score_worked_out_by_hand(dials: Any) -> None:
    own, has_channel = dials
    prompts = named(16)
    scores = finish(inhibition_scores(own, prompts, RECEIVER))
    assert len(scores) == RECEIVER.layer * planted.N_HEADS * planted.D_HEAD
    by_hand = []
    for p in prompts:
        words = [planted.WORDS[i] for i in p.token_ids]
        sign = next(planted.SIGN_OF[w] for w in words if w in planted.SIGN_OF)
        gaps = []
        for activation in (sign, 0.0):
            attention = planted.attention_by_hand(words, activation)
            other = p.mentions[1 - p.position]
            gaps.append(attention[1 + p.mentions[p.position]] - attention[1 + other])
        by_hand.append(gaps[0] - gaps[1])
    first, second = scores[:2]
    others = [abs(s.score) for s in scores if (s.head, s.component) != (SENDER, 0)]
    if has_channel:
        assert (first.head, first.component) == (SENDER, 0)
        assert first.score == pytest.approx(np.mean(by_hand), abs=NOISE)
        assert first.score > 0.9 and second.score < 0.1
    assert max(others) < 0.1
    if not has_channel:  # the control: the same component, which nobody reads
        mine = next(s for s in scores if (s.head, s.component) == (SENDER, 0))
        assert abs(mine.score) < 0.1


def test_the_receiver_is_the_head_with_the_largest_gap(dials: Any) -> None:
    own, has_channel = dials
    gaps = receiver_gaps(own.blocks, named(16))
    if has_channel:
        assert np.unravel_index(gaps.argmax(), gaps.shape) == planted.RECEIVER
        assert gaps.max() > 0.9
    assert np.sort(gaps.ravel())[-2] < 0.1


def test_gaps_are_read_from_the_raw_models_attention(pair: Pair) -> None:
    rng = np.random.default_rng(1)
    prompts = []
    for row in range(6):
        ids = rng.choice(np.arange(1, 400), size=6 + row % 3, replace=False).tolist()
        prompts.append(
            TaskPrompt(
                "t", "", UNKNOWN, "", tuple(ids), ("a", "b"), (ids[1], ids[3]), row % 2, (1, 3)
            )
        )
    found = receiver_gaps(Blocks(pair.model), prompts)
    expected = np.zeros_like(found)
    for p in prompts:
        attention = pair.raw.run(pair.with_bos(list(p.token_ids))).attention[:, :, -1]
        answer, other = (2, 4) if p.position == 0 else (4, 2)
        expected += (attention[:, :, answer] - attention[:, :, other]).numpy() / len(prompts)
    assert found == pytest.approx(expected, abs=1e-5)


def test_mistakes_in_scores_are_refused(dials: Any) -> None:
    own, _ = dials
    with pytest.raises(ValueError, match="below the layer"):
        finish(inhibition_scores(own, named(2), RECEIVER, [HeadId(2, 0)]))
    with pytest.raises(ValueError, match="two candidates"):
        attention_gap(torch.zeros(0, 3), [])
    with pytest.raises(ValueError, match="a receiver alone"):
        own.clean([(1, 2)], 0).edited([], stop_at_receiver=True)


# --- the grid ---------------------------------------------------------------------------------

CHANNEL_AXIS = Axis(SENDER, 0, (-2.0, -0.5, 0.5, 2.0))
WEAK_AXIS = Axis(SENDER, 3, (-1.0, 1.0))


def test_each_cell_is_what_setting_the_components_gives(speaking: ComponentDials) -> None:
    prompts = undecided(8)
    axes = (WEAK_AXIS, CHANNEL_AXIS)
    grid = finish(steering_grid(speaking, prompts, axes))
    clean = speaking.clean([p.token_ids for p in prompts], 0)
    cells = [(a, b) for a in WEAK_AXIS.values for b in CHANNEL_AXIS.values]
    assert grid.cells == cells
    for index, values in enumerate(cells):
        edits = [
            ComponentEdit.set_to(axis.head, axis.component, value)
            for axis, value in zip(axes, values, strict=True)
        ]
        expected = judge(clean.edited(edits).logits, prompts)
        assert (grid.answers.winners[1 + index] == expected.winners).all()
        # North where the channel is positive, south where it is negative, whatever else is set.
        assert grid.shares[index].tolist() == ([1.0, 0.0] if values[1] > 0 else [0.0, 1.0])
    assert (grid.answers.winners[0] == judge(clean.edited([]).logits, prompts).winners).all()


def test_a_weak_component_moves_no_answer(speaking: ComponentDials) -> None:
    grid = finish(steering_grid(speaking, undecided(8), (WEAK_AXIS,)))
    assert (grid.answers.winners == grid.answers.winners[0]).all()
    assert 0 < grid.answers.winners[0].mean() < 1


def test_progress_counts_every_point(speaking: ComponentDials) -> None:
    steps = list(steering_grid(speaking, undecided(4), (CHANNEL_AXIS,)))
    assert steps == [(i, 5) for i in range(1, 6)]


# --- dials ------------------------------------------------------------------------------------


def test_dialled_answers_are_those_of_each_prompt_alone(speaking: ComponentDials) -> None:
    prompts = undecided(10)
    found = finish(dialled_answers(speaking, prompts, [(SENDER, 0, -1.0)], chunk=3))
    plain = finish(dialled_answers(speaking, prompts, [], chunk=4))
    for row, p in enumerate(prompts):
        alone = speaking.clean([p.token_ids], 0)
        turned = judge(alone.edited([ComponentEdit(SENDER, 0, scale=-1.0)]).logits, [p])
        clean = judge(alone.edited([]).logits, [p])
        assert found.dialled.winners[row] == turned.winners[0]
        assert found.clean.winners[row] == plain.dialled.winners[row] == clean.winners[0]
        own = float(alone.activations(SENDER)[0, 0])
        assert found.activations[row, 0] == pytest.approx(own, abs=1e-5)
    # Turned round, the channel names the other pole: every answer changes.
    assert (found.dialled.winners != found.clean.winners).all()


# --- steering ---------------------------------------------------------------------------------


def test_the_planted_component_steers_and_others_of_equal_norm_do_not(
    speaking: ComponentDials,
) -> None:
    prompts = undecided(32)
    steering, _ = finish(steer(speaking, prompts, (CHANNEL_AXIS,), n_controls=3))
    assert steering.n_prompts.tolist() == [8, 8]
    assert steering.steered.n_right.tolist() == [8, 8]
    assert steering.clean.n_right.sum() <= 12  # the answer has nothing to do with what it says
    others = [c for c in steering.controls if c.name.startswith("other")]
    assert len(others) == 3 and len(steering.controls) == 6
    for control in others:
        assert control.n_right.sum() == steering.clean.n_right.sum()


def test_control_directions_are_unit_and_within_the_heads_output(
    speaking: ComponentDials,
) -> None:
    axes = (CHANNEL_AXIS, WEAK_AXIS, Axis(HeadId(0, 2), 1, (0.0, 1.0)))
    written = []
    for head, index, basis in _random(speaking, axes, seed=3):
        assert basis is not None
        w_o = speaking.blocks.model.w_o[head.layer, head.index].double()
        written.append(basis.steps[index] @ w_o)
        inside = speaking.writes(head).double()
        assert float((inside @ written[-1]).norm()) == pytest.approx(1, abs=1e-6)
    assert [float(d.norm()) for d in written] == pytest.approx([1, 1, 1], abs=1e-6)
    assert float(written[0] @ written[1]) == pytest.approx(0, abs=1e-6)
    other = _others(speaking, axes, seed=3)
    taken = {(axis.head, axis.component) for axis in axes}
    assert len({(h, i) for h, i, _ in other} | taken) == 6
    assert [h for h, _, _ in other] == [axis.head for axis in axes]


def test_what_fits_noise_on_one_half_is_chance_on_the_other() -> None:
    """With 300 points of mere guesses the fitted half looks far better than it is."""
    rng = np.random.default_rng(0)
    positions = np.arange(400) % 4
    right = rng.random((300, 400)) < 0.25
    fitted = (np.arange(400) // 4) % 2 == 0
    found = fit_and_judge("noise", right, positions, fitted)
    judged = found.n_right.sum() / 200
    assert judged == pytest.approx(0.25, abs=0.1)
    on_itself = sum(right[found.chosen[p], (positions == p) & fitted].sum() for p in range(4)) / 200
    assert on_itself > 0.4
    swapped = fit_and_judge("noise", right, positions, ~fitted)
    assert (swapped.chosen != found.chosen).any()


def test_halves_split_each_place_evenly() -> None:
    prompts = undecided(16)
    fitted = halves(prompts)
    for place in (0, 1):
        mine = np.array([p.position == place for p in prompts])
        assert (mine & fitted).sum() == (mine & ~fitted).sum() == 4
    with pytest.raises(ValueError, match="two prompts at least"):
        halves(prompts[:3])


def test_values_lie_around_what_the_component_does() -> None:
    found = axis_values(torch.tensor([1.0, 2.0, 3.0]), 5)
    assert found == pytest.approx((-1.0, 0.5, 2.0, 3.5, 5.0))
    steady = axis_values(torch.tensor([2.0, 2.0, 2.01]), 3)  # to its removal, and as far beyond
    assert steady == pytest.approx((0.0, 2.0033, 4.0067), abs=1e-3)
    with pytest.raises(ValueError, match="two values"):
        axis_values(torch.tensor([1.0, 2.0]), 1)


def test_axes_must_be_different_and_few(speaking: ComponentDials) -> None:
    for axes in ((), (CHANNEL_AXIS, CHANNEL_AXIS), (CHANNEL_AXIS,) * 4):
        with pytest.raises(ValueError, match="one to three"):
            finish(steering_grid(speaking, undecided(4), axes))
