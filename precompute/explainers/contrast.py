"""The `contrast` explainer: which words before the end tell active from inactive prompts, offline.

Words and word pairs in places (at the end, among the last 3 or 6 words, anywhere) are candidates. An
L1-penalised logistic regression on the train prompts picks few of them; those that speak for the same
side in the same place make one clause, kept where its counts support it. How strong the penalty is,
and whether anything is claimed at all, is decided on train prompts left out while learning. It then
classifies by the rule alone (`explorer.core.rules`), so by exactly what its sentence says.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import sklearn
from jaxtyping import Bool
from sklearn.linear_model import LogisticRegression

from explorer.core.rule_clauses import (
    AT_END,
    Clause,
    Phrase,
    Rule,
    is_in_place,
    log_odds,
    words_after,
    words_of,
)
from explorer.core.rules import evidence, parse, predict, sentence, to_json
from explorer.core.scores import Confusion
from precompute.explainers.protocol import Example, ExplainerFailure, Explanation, Verdict

# Where two candidates occur in the same train prompts the first of these is taken: claims are general
# until a prompt says otherwise. It predicts better than the reverse.
PLACES: tuple[int | None, ...] = (None, 6, 3, AT_END)
MIN_PROMPTS_A_PHRASE = 2
MIN_PROMPTS_A_CLAUSE = 3
MAX_FISHER_P = 0.2
"""One-sided, of a clause's counts. Loose, since words were searched for: what is left out decides."""
PENALTIES = (2.0, 4.0, 1.0)
"""Inverse strengths tried (`C`); of equals on left-out prompts the first."""
N_FOLDS = 5
CHANCE = 0.5


@dataclass(frozen=True)
class _Candidates:
    """Phrases in places, in order of preference, and which train prompts have them."""

    phrases: list[tuple[tuple[str, ...], int | None]]
    present: Bool[np.ndarray, "prompt candidate"]


def phrases_in(words: Sequence[str]) -> set[tuple[str, ...]]:
    """Every word and every two words in a row."""
    return {(w,) for w in words} | set(pairwise(words))


def _candidates(prompts: Sequence[Sequence[str]]) -> _Candidates:
    counts = Counter(phrase for words in prompts for phrase in phrases_in(words))
    phrases = [phrase for phrase, n in counts.items() if n >= MIN_PROMPTS_A_PHRASE]
    phrases.sort(key=lambda phrase: (len(" ".join(phrase)), phrase))
    after = {phrase: [words_after(words, phrase) for words in prompts] for phrase in phrases}
    found = [(phrase, within) for within in PLACES for phrase in phrases]
    present = [[is_in_place(n, len(phrase), within) for n in after[phrase]]
               for phrase, within in found]  # fmt: skip
    return _Candidates(found, np.array(present, dtype=bool).reshape(len(found), len(prompts)).T)


def fisher_p(n_hit: int, n_other: int, total_hit: int, total_other: int) -> float:
    """Chance that, of prompts drawn blindly, at least `n_hit` of `n_hit + n_other` are of this kind."""
    n_drawn, total = n_hit + n_other, total_hit + total_other
    ways = sum(
        math.comb(total_hit, k) * math.comb(total_other, n_drawn - k)
        for k in range(n_hit, min(n_drawn, total_hit) + 1)
    )
    return ways / math.comb(total, n_drawn)


def _usable(
    present: Bool[np.ndarray, "prompt candidate"], active: Bool[np.ndarray, " prompt"]
) -> list[int]:
    """Candidates with enough prompts of the kind they speak for, one for each set of prompts."""
    n_active, n_inactive = present[active].sum(0), present[~active].sum(0)
    first: dict[bytes, int] = {}
    for i in range(present.shape[1]):
        a, o = int(n_active[i]), int(n_inactive[i])
        speaks_for_active = log_odds(a, o, int(active.sum()), int((~active).sum())) > 0
        if a + o < len(active) and (a if speaks_for_active else o) >= MIN_PROMPTS_A_PHRASE:
            first.setdefault(present[:, i].tobytes(), i)
    return list(first.values())


def _chosen(
    present: Bool[np.ndarray, "prompt candidate"], active: Bool[np.ndarray, " prompt"], c: float
) -> dict[int, float]:
    """Candidates to which the regression gives a weight, with it; positive speaks for active."""
    usable = _usable(present, active)
    if not usable or active.all() or not active.any():
        return {}
    # Both kinds weigh the same, however many there are; the checks cost more than the fit.
    weights = np.where(active, 0.5 / active.mean(), 0.5 / (~active).mean())
    model = LogisticRegression(C=c, l1_ratio=1.0, solver="liblinear", random_state=0)
    with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
        model.fit(present[:, usable].astype(float), active, sample_weight=weights)
    return {i: float(w) for i, w in zip(usable, model.coef_[0], strict=True) if abs(w) > 1e-6}


def _clauses(
    candidates: _Candidates, active: Bool[np.ndarray, " prompt"], weights: Mapping[int, float]
) -> list[tuple[Clause, Bool[np.ndarray, " prompt"]]]:
    """Clauses that their counts support, the strongest first, each with the prompts it fits."""
    groups: dict[tuple[bool, int | None], list[int]] = {}
    for i, weight in weights.items():
        groups.setdefault((weight > 0, candidates.phrases[i][1]), []).append(i)
    totals = int(active.sum()), int((~active).sum())
    found = []
    for (side, within), members in groups.items():
        fits = candidates.present[:, members].any(1)
        counts = int((fits & active).sum()), int((fits & ~active).sum())
        hit, other = counts if side else counts[::-1]
        odds = log_odds(*counts, *totals)
        p = fisher_p(hit, other, *(totals if side else totals[::-1]))
        if (odds > 0) == side and hit >= MIN_PROMPTS_A_CLAUSE and p <= MAX_FISHER_P:
            phrases = _phrases(candidates, active, members)
            found.append((abs(odds), Clause(side, within, phrases, *counts), fits))
    place = {within: n for n, within in enumerate(PLACES)}
    found.sort(key=lambda f: (-f[0], not f[1].active, place[f[1].within]))
    return [(clause, fits) for _, clause, fits in found]


def _phrases(
    candidates: _Candidates, active: Bool[np.ndarray, " prompt"], members: Sequence[int]
) -> tuple[Phrase, ...]:
    """A clause's phrases with their counts, the most frequent first."""
    found = [
        Phrase(
            candidates.phrases[i][0],
            int((candidates.present[:, i] & active).sum()),
            int((candidates.present[:, i] & ~active).sum()),
        )
        for i in members
    ]
    return tuple(sorted(found, key=lambda p: (-p.n_active - p.n_inactive, p.words)))


def _fit(candidates: _Candidates, active: Bool[np.ndarray, " prompt"], c: float) -> Rule:
    """The rule for one strength of the penalty, learned from all the prompts given."""
    found = _clauses(candidates, active, _chosen(candidates.present, active, c))
    if not found:
        return _claiming_nothing(active)
    rest_active, rest_inactive = _rest(found, active)
    n_active, n_inactive = int(active.sum()), int((~active).sum())
    excess = rest_active * n_inactive - rest_inactive * n_active
    # As large a share of each kind in the rest: the rest is the opposite of the first clause.
    default = excess > 0 if excess else not found[0][0].active
    while found and found[-1][0].active == default:  # it would say what holds without it
        found.pop()
    if not found:
        return _claiming_nothing(active)
    clauses = tuple(clause for clause, _ in found)
    return Rule(clauses, default, *_rest(found, active), n_active, n_inactive)


def _rest(
    clauses: Sequence[tuple[Clause, Bool[np.ndarray, " prompt"]]],
    active: Bool[np.ndarray, " prompt"],
) -> tuple[int, int]:
    """Active and inactive prompts that no clause fits."""
    rest = ~np.any([fits for _, fits in clauses], axis=0)
    return int((rest & active).sum()), int((rest & ~active).sum())


def _claiming_nothing(active: Bool[np.ndarray, " prompt"], held_out: float | None = None) -> Rule:
    """The rule without clauses: whatever is more frequent, inactive where both are."""
    n_active, n_inactive = int(active.sum()), int((~active).sum())
    return Rule((), n_active > n_inactive, n_active, n_inactive, n_active, n_inactive, held_out)


def _folds(active: Bool[np.ndarray, " prompt"]) -> list[Bool[np.ndarray, " prompt"]]:
    """Prompts to leave out, fold by fold, each kind dealt out in turn; none with too few prompts."""
    n_folds = min(N_FOLDS, int(active.sum()), int((~active).sum()))
    if n_folds < 2:
        return []
    fold = np.zeros(len(active), dtype=int)
    for kind in (active, ~active):
        fold[kind] = np.arange(kind.sum()) % n_folds
    return [fold == n for n in range(n_folds)]


def _held_out(
    candidates: _Candidates,
    prompts: Sequence[tuple[str, ...]],
    active: Bool[np.ndarray, " prompt"],
    c: float,
) -> float | None:
    """Balanced accuracy on each prompt of rules that were learned without it."""
    folds = _folds(active)
    if not folds:
        return None
    predicted = np.zeros(len(active), dtype=bool)
    for out in folds:
        learned = _fit(replace(candidates, present=candidates.present[~out]), active[~out], c)
        predicted[out] = [predict(learned, prompts[i]) for i in range(len(out)) if out[i]]
    return Confusion.of(active, predicted).balanced_accuracy


def learn(
    active_prompts: Sequence[Sequence[str]], inactive_prompts: Sequence[Sequence[str]]
) -> Rule:
    """The rule that tells these prompts apart, given as token texts; without clauses where no words
    do so better than chance on prompts left out."""
    texts = [tuple(tokens) for tokens in (*active_prompts, *inactive_prompts)]
    active = np.arange(len(texts)) < len(active_prompts)
    candidates = _candidates([words_of(tokens) for tokens in texts])
    held_out = {c: _held_out(candidates, texts, active, c) for c in PENALTIES}
    best = max(PENALTIES, key=lambda c: held_out[c] or 0.0)
    score = held_out[best]
    if score is None or score <= CHANCE:
        return _claiming_nothing(active, score)
    return replace(_fit(candidates, active, best), held_out=score)


class Contrast:
    """See `precompute.explainers.protocol.Explainer`."""

    name = "contrast"

    def __init__(self) -> None:
        self.identity: Mapping[str, Any] = {
            "version": 1,
            "places": list(PLACES),
            "penalties": list(PENALTIES),
            "n_folds": N_FOLDS,
            "min_prompts_a_phrase": MIN_PROMPTS_A_PHRASE,
            "min_prompts_a_clause": MIN_PROMPTS_A_CLAUSE,
            "max_fisher_p": MAX_FISHER_P,
            "scikit_learn": sklearn.__version__,
        }

    async def explain(
        self, token: str, active: Sequence[Example], inactive: Sequence[Example]
    ) -> Explanation:
        if not active or not inactive:
            raise ExplainerFailure("no train prompts of both kinds to contrast")
        rule = learn([e.tokens for e in active], [e.tokens for e in inactive])
        request = {"active": len(active), "inactive": len(inactive), "settings": self.identity}
        return Explanation(
            sentence(rule), to_json(rule), json.dumps(request), "\n".join(evidence(rule))
        )

    async def classify(
        self, token: str, explanation: Explanation, prompts: Sequence[Example]
    ) -> list[Verdict | ExplainerFailure]:
        assert explanation.rule is not None
        rule = parse(explanation.rule)
        return [Verdict(predict(rule, prompt.tokens)) for prompt in prompts]

    def estimate(self, n_explanations: int, n_verdicts: int, mean_prompt_characters: float) -> str:
        return ""

    def spent(self) -> str:
        return ""
