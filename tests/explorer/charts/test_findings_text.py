"""The sentences of Findings say what they are given, failure included."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from explorer.charts.findings_text import (
    EffectFacts,
    ScoreFacts,
    effect_sentence,
    high_sentence,
    ks_text,
    score_sentence,
)
from explorer.core.findings import Estimate, KsTest
from tests.explorer.charts.test_findings_charts import estimate

HOSTILE = "<img src=x onerror=alert(1)>"


def _facts(**changes: Any) -> ScoreFacts:
    facts = ScoreFacts(
        "one", "contrast", estimate(0.66, 0.62, 0.7, 200), estimate(0.55, 0.5, 0.6, 40),
        estimate(0.11, 0.05, 0.17, 240), estimate(0.25, 0.2, 0.3, 200), estimate(0.4, 0.3, 0.5, 200),
        210,
    )  # fmt: skip
    return replace(facts, **changes)


@pytest.mark.parametrize(
    ("changes", "headline", "text"),
    [
        ({}, "0.66 against 0.55", "Difference +0.11 [0.05, 0.17]"),
        ({"above": estimate(0.03, -0.02, 0.08)}, "0.66 is not clearly above random", "200 pairs"),
        ({"above": estimate(-0.01, -0.06, 0.04)}, "0.66 is not higher than random", "−0.01"),
        ({"above": estimate(-0.1, -0.15, -0.05)}, "0.66 is lower than random, 0.55", "40 pairs"),
        ({"above": estimate(0.1, None, None)}, "0.66 is not clearly above random", "+0.10"),
        ({"random": None, "above": None}, "0.66, without a baseline", "guessing gives 0.50"),
        ({"mean": None, "explainer": None}, "No score yet", "without an explainer"),
        ({"mean": None}, "No score yet", "both active and inactive"),
        ({"mean": None, "n_studied": 0}, "No score yet", "no studied pair"),
    ],
)
def test_the_score_is_higher_only_where_the_interval_says_so(
    changes: dict[str, Any], headline: str, text: str
) -> None:
    found = score_sentence(_facts(**changes))
    assert found.headline == headline
    assert text in found.text


@pytest.mark.parametrize(
    ("high", "headline"),
    [
        (estimate(0.25, 0.2, 0.3, 200), "25 % of pairs reach 0.80"),
        (estimate(0.0, 0.0, 0.0, 12), "No pair reaches 0.80"),
        (None, "Nothing to rank"),
    ],
)
def test_how_many_pairs_are_explained_well(high: Estimate | None, headline: str) -> None:
    found = high_sentence(_facts(high=high))
    assert found.headline == headline
    if high is not None:
        assert f"{round(high.value * high.n)} of {high.n} pairs" in found.text
        assert "40 % beat 95 % of shuffled labels" in found.text


@pytest.mark.parametrize(
    ("signs", "chance", "r", "headline"),
    [
        ((0.81, 0.78, 0.84), 0.6, 0.52, "The sign is mostly right, the size is rough"),
        ((0.9, 0.88, 0.92), 0.6, 0.9, "The sign is mostly right, the size too"),
        ((0.6, 0.55, 0.65), 0.5, 0.107, "The sign is often wrong, the size says little"),
        ((0.9, 0.85, 0.95), 0.9, 0.1, "The sign is no better than chance, the size says little"),
    ],
)
def test_direct_against_measured_in_words(
    signs: tuple[float, float, float], chance: float, r: float, headline: str
) -> None:
    facts = EffectFacts(HOSTILE, 300, estimate(r, r, r), None, estimate(*signs), chance)
    assert effect_sentence(facts).headline == headline
    assert f"{100 * chance:.0f} % by chance" in effect_sentence(facts).text
    none = effect_sentence(EffectFacts(HOSTILE, 0, None, None, None, None))
    assert none.headline == "Not tested by removal"
    assert HOSTILE not in none.text


def test_names_in_sentences_are_escaped() -> None:
    for facts in (_facts(run=HOSTILE, explainer=HOSTILE), _facts(run=HOSTILE, mean=None)):
        assert HOSTILE not in score_sentence(facts).text
        assert "&lt;img" in score_sentence(facts).text


def test_a_test_in_words() -> None:
    assert "D = 0.50, p = 0.030, 10 active and 20 inactive" in ks_text(
        KsTest(0.5, 0.03, 0.1, 10, 20)
    )
    assert "p < 0.001" in ks_text(KsTest(0.5, 1e-9, 0.1, 10, 20))
    assert ks_text(None).startswith("No test")
