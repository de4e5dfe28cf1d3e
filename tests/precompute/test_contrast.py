"""`contrast`: it finds what was planted in texts, claims nothing of noise, and does what it says."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer.core.rule_clauses import Clause, Rule
from explorer.core.rules import decide, parse, predict, sentence
from explorer.core.scores import Confusion
from precompute.explainers.contrast import (
    MIN_PROMPTS_A_CLAUSE,
    MIN_PROMPTS_A_PHRASE,
    Contrast,
    fisher_p,
    learn,
)
from precompute.explainers.protocol import Example, ExplainerFailure, Verdict

NOUNS = ("ship", "house", "road", "king", "bread", "light", "stone", "river", "child", "bird")


def filler(rng: random.Random, low: int = 1, high: int = 4) -> list[str]:
    return [f" {rng.choice(NOUNS)}" for _ in range(rng.randint(low, high))]


def made(rng: random.Random, kind: str, active: bool) -> list[str]:
    """A prompt of which the truth is known: what makes the head active differs by kind."""
    before, after = filler(rng), filler(rng)
    told = {
        "word anywhere": [" storm"] if active else [" calm"] if rng.random() < 0.5 else [],
        "one of two words": [rng.choice((" storm", " gale"))] if active else [],
        "pair": [" want", " to"] if active else rng.choice(([" to"], [" want"], [" to", " want"])),
        "all but a word": [] if active else [" not"],
    }
    if kind == "last word":
        return [*before, " to", *after, " to"] if active else [*before, " to", *after, " of"]
    if kind == "near the end":
        cue, far = [" storm"], filler(rng, 6, 8)
        return [*before, *cue, *filler(rng, 0, 2)] if active else [*cue, *far]
    return [*before, *told[kind], *after]


KINDS = ("word anywhere", "one of two words", "pair", "all but a word", "last word", "near the end")


def split(kind: str, seed: int, n: int = 20) -> tuple[list[list[str]], list[list[str]]]:
    rng = random.Random(f"{kind} {seed}")
    n_active = rng.randint(n // 4, 3 * n // 4)
    return tuple([made(rng, kind, active) for _ in range(size)]
                 for active, size in ((True, n_active), (False, n - n_active)))  # type: ignore  # fmt: skip


def score(rule_prompts: tuple[list[list[str]], list[list[str]]], kind: str, seed: int) -> float:
    """Balanced accuracy, on fresh prompts of that kind, of the rule learned from these."""
    rule = learn(*rule_prompts)
    active, inactive = split(kind, seed + 1_000, 80)
    truth = np.arange(80) < len(active)
    found = Confusion.of(truth, np.array([predict(rule, p) for p in (*active, *inactive)]))
    assert found.balanced_accuracy is not None
    return found.balanced_accuracy


@pytest.mark.parametrize("kind", KINDS)
def test_twenty_prompts_are_enough_to_find_what_was_planted(kind: str) -> None:
    scores = [score(split(kind, seed), kind, seed) for seed in range(4)]
    assert np.median(scores) > 0.95 and np.mean(scores) > 0.9, scores


@pytest.mark.parametrize("kind", KINDS)
def test_control_with_the_labels_shuffled_nothing_is_found(kind: str) -> None:
    scores = []
    for seed in range(4):
        active, inactive = split(kind, seed)
        prompts = [*active, *inactive]
        random.Random(seed).shuffle(prompts)
        scores.append(score((prompts[: len(active)], prompts[len(active) :]), kind, seed))
    assert 0.3 < np.mean(scores) < 0.7, scores


def test_noise_mostly_yields_no_claim_and_says_so() -> None:
    """Half the rules from pure noise may pass the test on left-out prompts, no more."""
    rng, silent = random.Random(3), 0
    for _ in range(12):
        prompts = [filler(rng, 3, 8) for _ in range(20)]
        rule = learn(prompts[:10], prompts[10:])
        if not rule.clauses:
            silent += 1
            assert sentence(rule).startswith("Too little evidence")
            assert {predict(rule, p) for p in prompts} == {rule.default}
    assert silent >= 6
    assert learn(
        *split("word anywhere", 0)
    ).clauses  # the control: where there is something, it speaks


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("word anywhere", "Active when the text contains “storm”; in all other cases inactive."),
        ("all but a word", "Inactive when the text contains “not”; in all other cases active."),
        ("one of two words", "Active when the text contains “gale” or “storm”; in all other cases inactive."),
    ],
)  # fmt: skip
def test_the_sentence_names_what_was_planted(kind: str, said: str) -> None:
    found = [sentence(learn(*split(kind, seed))) for seed in range(4)]
    alike = said.replace("“gale” or “storm”", "“storm” or “gale”")
    assert sum(text in (said, alike) for text in found) >= 3, found


@pytest.mark.parametrize("seed", range(6))
def test_the_counts_in_a_rule_are_those_of_the_train_prompts(seed: int) -> None:
    kind = KINDS[seed]
    active, inactive = split(kind, seed)
    rule = learn(active, inactive)
    assert (rule.n_active, rule.n_inactive) == (len(active), len(inactive))
    assert rule.clauses and rule.held_out is not None and rule.held_out > 0.5
    for clause in rule.clauses:
        alone = only(clause)
        assert clause.n_active == sum(predict(alone, p) for p in active)
        assert clause.n_inactive == sum(predict(alone, p) for p in inactive)
        spoken_for = clause.n_active if clause.active else clause.n_inactive
        assert spoken_for >= MIN_PROMPTS_A_CLAUSE
        for phrase in clause.phrases:
            with_it = (phrase.n_active, phrase.n_inactive)
            assert with_it[not clause.active] >= MIN_PROMPTS_A_PHRASE
            assert max(with_it) <= max(rule.n_active, rule.n_inactive)
    assert rule.rest_active == sum(not decide(rule, p).fired for p in active)
    assert rule.rest_inactive == sum(not decide(rule, p).fired for p in inactive)


def only(clause: Clause) -> Rule:
    """A rule that is active exactly where this clause fits."""
    return Rule((replace(clause, active=True),), False, 0, 0, 20, 20)


tokens = st.lists(
    st.sampled_from([" let", " go", "to", " a", ",", "’s", " ", "\n", ""]), max_size=6
)
prompts = st.lists(tokens, max_size=8)


@settings(max_examples=25, deadline=None)
@given(prompts, prompts)
def test_any_prompts_give_a_rule_that_is_the_same_each_time(
    active: list[list[str]], inactive: list[list[str]]
) -> None:
    rule = learn(active, inactive)
    assert rule == learn(active, inactive)
    assert (rule.n_active, rule.n_inactive) == (len(active), len(inactive))
    if not active or not inactive:
        assert not rule.clauses
    if rule.clauses:  # a last clause that says what the default says would say nothing
        assert rule.clauses[-1].active != rule.default


def test_fisher_is_the_share_of_draws_that_are_as_one_sided() -> None:
    kinds = [True] * 4 + [False] * 5
    for n_drawn in (3, 5):
        draws = list(combinations(kinds, n_drawn))
        for hit in range(min(4, n_drawn) + 1):
            share = np.mean([sum(draw) >= hit for draw in draws])
            assert fisher_p(hit, n_drawn - hit, 4, 5) == pytest.approx(share)


def test_it_classifies_by_the_rule_it_stores_and_by_nothing_else() -> None:
    active, inactive = split("one of two words", 1)
    contrast = Contrast()

    async def both() -> tuple:
        explanation = await contrast.explain(" go", examples(active), examples(inactive))
        return explanation, await contrast.classify(" go", explanation, examples(active + inactive))

    explanation, verdicts = asyncio.run(both())
    rule = parse(explanation.rule)
    assert explanation.text == sentence(rule)
    assert verdicts == [Verdict(predict(rule, p)) for p in active + inactive]
    assert {v.predicted for v in verdicts} == {True, False}
    assert "log-odds" in explanation.reply


@pytest.mark.parametrize(("n_active", "n_inactive"), [(0, 5), (5, 0)])
def test_without_prompts_of_both_kinds_it_fails(n_active: int, n_inactive: int) -> None:
    some = examples([[" a"]] * 5)
    with pytest.raises(ExplainerFailure, match="both kinds"):
        asyncio.run(Contrast().explain(" go", some[:n_active], some[:n_inactive]))


def examples(texts: list[list[str]]) -> list[Example]:
    return [Example(tuple(tokens), 0.5) for tokens in texts]
