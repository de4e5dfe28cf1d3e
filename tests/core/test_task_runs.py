"""Answers judged: an oracle is always right, guesses are right by chance, batches change nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from explorer.core.model_blocks import Blocks
from explorer.core.task_material import LIST_TEMPLATES, NAME_TEMPLATES
from explorer.core.task_runs import accuracy_of, joined, judge, last_logits, run_tasks, tallies
from explorer.core.task_seen import UNKNOWN
from explorer.core.tasks import TaskPrompt
from tests.core.conftest import Pair
from tests.core.test_tasks import MAKERS, SEEN

VOCAB = 8192
TEMPLATE = LIST_TEMPLATES[4]


def lists(n: int, repeats: int) -> list[TaskPrompt]:
    return MAKERS["demo"].lists(TEMPLATE, n, repeats, words=False)


def noise(n: int, seed: int = 0) -> Tensor:
    return torch.randn(n, VOCAB, generator=torch.Generator().manual_seed(seed))


def test_an_oracle_is_always_right_and_its_opposite_never() -> None:
    prompts = [*lists(3, 4), *lists(9, 2), *MAKERS["demo"].names(NAME_TEMPLATES[0], 6, words=True)]
    logits = noise(len(prompts))
    for row, p in enumerate(prompts):
        logits[row, p.answer] = 20.0
    judged = judge(logits, prompts)
    assert judged.right.all() and judged.top1.all()
    assert (judged.winners == [p.position for p in prompts]).all()
    for row, p in enumerate(prompts):
        logits[row, p.answer] = -20.0
    judged = judge(logits, prompts)
    assert not judged.right.any() and not judged.top1.any()


@pytest.mark.parametrize("n", [2, 5, 12])
def test_guesses_are_right_by_chance(n: int) -> None:
    prompts = lists(n, 1200 // n)
    judged = judge(noise(len(prompts), seed=n), prompts)
    found = accuracy_of(prompts, judged.right)
    assert found.chance == pytest.approx(1 / n)
    error = math.sqrt(found.chance * (1 - found.chance) / found.n)
    assert found.share == pytest.approx(found.chance, abs=4 * error)
    assert judged.top1.mean() < 0.02
    for place in range(n):  # no place is favoured
        won = (judged.winners == place).mean()
        assert won == pytest.approx(1 / n, abs=4.5 * error)


def test_right_is_against_the_candidates_alone_and_ties_are_wrong() -> None:
    (p, *_) = lists(3, 1)
    logits = torch.zeros(1, VOCAB)
    other = next(token for token in p.candidates if token != p.answer)
    outside = next(token for token in range(VOCAB) if token not in p.candidates)
    assert not judge(logits, [p]).right[0]  # all equal
    logits[0, p.answer], logits[0, outside] = 1.0, 2.0
    judged = judge(logits, [p])
    assert judged.right[0] and not judged.top1[0]
    logits[0, outside] = 1.0  # none is higher
    assert judge(logits, [p]).top1[0]
    logits[0, other] = 1.0
    assert not judge(logits, [p]).right[0]


def test_probabilities_are_the_softmax_over_the_vocabulary() -> None:
    prompts = [*lists(2, 2), *lists(6, 1)]
    logits = noise(len(prompts))
    judged = judge(logits, prompts)
    for row, p in enumerate(prompts):
        expected = logits[row].double().softmax(0)[list(p.candidates)].numpy()
        assert judged.probabilities[row, : p.n] == pytest.approx(expected, rel=1e-5)
        assert np.isnan(judged.probabilities[row, p.n :]).all()


def test_counts_are_those_of_a_plain_loop() -> None:
    prompts = [*lists(2, 5), *lists(4, 3)]
    judged = judge(noise(len(prompts), 3) + 0.1, prompts)
    rows = tallies(prompts, judged)
    assert [(r.n, r.position) for r in rows] == [(2, 0), (2, 1), (4, 0), (4, 1), (4, 2), (4, 3)]
    for r in rows:
        mine = [i for i, p in enumerate(prompts) if (p.n, p.position) == (r.n, r.position)]
        assert (r.n_prompts, r.chance) == (len(mine), 1 / r.n)
        assert r.n_right == sum(bool(judged.right[i]) for i in mine)
        assert r.n_top1 == sum(bool(judged.top1[i]) for i in mine)
        assert SEEN is not None and r.condition == prompts[mine[0]].condition


def plain_prompts(pair: Pair) -> list[TaskPrompt]:
    """Prompts of several lengths for a model that knows no task: any tokens will do."""
    rng = np.random.default_rng(0)
    found = []
    for row in range(9):
        n = 2 + row % 3
        ids = rng.choice(np.arange(1, 400), size=5 + 3 * (row % 4), replace=False).tolist()
        words = tuple(map(str, ids[:n]))
        found.append(
            TaskPrompt("t", "x", UNKNOWN, "", tuple(ids), words, tuple(ids[:n]), row % n,
                       tuple(range(n)))
        )  # fmt: skip
    return found


def test_batches_give_what_the_raw_model_gives_alone(pair: Pair) -> None:
    prompts, blocks = plain_prompts(pair), Blocks(pair.model)
    judged = run_tasks(blocks, prompts, batch_tokens=40)
    assert len(list(last_logits(blocks, [p.token_ids for p in prompts], 40))) > 2
    for row, p in enumerate(prompts):
        logits = pair.raw.run(pair.with_bos(list(p.token_ids))).logits[-1].double()
        expected = logits.softmax(0)[list(p.candidates)]
        assert judged.probabilities[row, : p.n] == pytest.approx(expected.numpy(), abs=1e-5)
        assert judged.winners[row] == int(expected.argmax())
        assert judged.right[row] == (judged.winners[row] == p.position)
    whole = run_tasks(blocks, prompts, batch_tokens=10_000)
    assert whole.probabilities == pytest.approx(judged.probabilities, abs=1e-6, nan_ok=True)


def test_mistakes_are_refused() -> None:
    prompts = lists(2, 1)
    with pytest.raises(ValueError, match="expected logits for 2"):
        judge(noise(1), prompts)
    part = judge(noise(2), prompts)
    again = joined([part, part], [np.array([2, 0]), np.array([1, 3])])
    assert (again.winners == part.winners[[1, 0, 0, 1]]).all()
