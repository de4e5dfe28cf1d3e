"""The sentences of the page Findings: templates that state success and failure alike, and the
published numbers that may stand beside a run's own.

Thresholds for words ("mostly right", "rough") are this project's. Names of runs and explainers are
escaped: every function returns HTML.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import NamedTuple

from explorer.charts.style import number, signed
from explorer.core.findings import Estimate, KsTest

SIGN_RIGHT = 0.75
"""Share of agreeing signs from which the sign is called mostly right, if chance gives less."""
SIZE_GOOD, SIZE_ROUGH = 0.8, 0.3
"""Pearson's r from which the size is called right, and rough."""


class Sentence(NamedTuple):
    """A finding: a headline of a few words, and what it rests on. HTML, texts escaped."""

    headline: str
    text: str


def interval(estimate: Estimate, digits: int = 2) -> str:
    """`[0.62, 0.70]`; empty where there is none."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f"[{number(estimate.low, digits)}, {number(estimate.high, digits)}]"


def shown(estimate: Estimate | None, digits: int = 2) -> str:
    """The value alone; `–` where there is none."""
    return number(None if estimate is None else estimate.value, digits)


def share_text(estimate: Estimate | None) -> str:
    """A share as whole percent; `–` where there is none."""
    return "–" if estimate is None else f"{100 * estimate.value:.0f} %"


def share_interval(estimate: Estimate) -> str:
    """The interval of a share: `[20, 31] %`; empty where there is none."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f"[{100 * estimate.low:.0f}, {100 * estimate.high:.0f}] %"


def p_text(p: float) -> str:
    """A p value without false digits: `p = 0.03`, `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _pairs(n: int) -> str:
    return f"{n:,} pair{'' if n == 1 else 's'}"


@dataclass(frozen=True)
class ScoreFacts:
    """What the sentences about scores rest on."""

    run: str
    explainer: str | None
    mean: Estimate | None
    random: Estimate | None
    above: Estimate | None
    """Mean minus the random neurons' mean."""
    high: Estimate | None
    beats_shuffles: Estimate | None
    n_studied: int


def no_score_reason(facts: ScoreFacts) -> str:
    """Why a run has no score."""
    run = html.escape(facts.run)
    if facts.n_studied == 0:
        return (
            f"{run} has no studied pair: no head is active in 25–75 % of a chosen neuron's prompts."
        )
    if facts.explainer is None:
        return f"{run} was made without an explainer, so no explanation was tested."
    return f"No pair of {run} has both active and inactive test prompts, so no score exists."


def score_sentence(facts: ScoreFacts) -> Sentence:
    """The mean score against the random neurons'. It counts as higher only where the interval of the
    difference lies above zero."""
    mean, random, above = facts.mean, facts.random, facts.above
    if mean is None:
        return Sentence("No score yet", no_score_reason(facts))
    text = (
        f"Mean score in {html.escape(facts.run)} (explainer {html.escape(facts.explainer or '–')}): "
        f"{_pairs(mean.n)} of next-token neurons {interval(mean)}"
    )
    if random is None or above is None:
        return Sentence(
            f"{number(mean.value)}, without a baseline",
            f"{text}. No random neuron has a scored pair to hold against it; guessing gives 0.50.",
        )
    text += (
        f", against {_pairs(random.n)} of random neurons {interval(random)}. "
        f"Difference {signed(above.value)} {interval(above)}."
    )
    mine, theirs = number(mean.value), number(random.value)
    if above.low is not None and above.low > 0:
        return Sentence(f"{mine} against {theirs}", text)
    if above.high is not None and above.high < 0:
        return Sentence(f"{mine} is lower than random, {theirs}", text)
    if above.value > 0:
        return Sentence(f"{mine} is not clearly above random", text)
    return Sentence(f"{mine} is not higher than random", text)


def high_sentence(facts: ScoreFacts) -> Sentence:
    """How many pairs reach 0.80, and how many do better than shuffled labels."""
    high, beats = facts.high, facts.beats_shuffles
    if high is None:
        return Sentence("Nothing to rank", "Without scores no share of good explanations exists.")
    n_high = round(high.value * high.n)
    headline = f"{share_text(high)} of pairs reach 0.80" if n_high else "No pair reaches 0.80"
    text = f"{n_high} of {_pairs(high.n)} {share_interval(high)}. "
    text += (
        "The rest are only partly captured by their text." if n_high < high.n else "All of them."
    )
    if beats is not None:
        text += f" {share_text(beats)} beat 95 % of shuffled labels; 5 % would by chance."
    return Sentence(headline, text)


@dataclass(frozen=True)
class EffectFacts:
    """What the sentence about direct and measured effects rests on."""

    run: str
    n: int
    pearson: Estimate | None
    pearson_active: Estimate | None
    signs: Estimate | None
    chance: float | None


def _sign_words(signs: Estimate, chance: float) -> str:
    low = signs.value if signs.low is None else signs.low
    if low <= chance:
        return "The sign is no better than chance"
    return "The sign is mostly right" if signs.value >= SIGN_RIGHT else "The sign is often wrong"


def _size_words(r: float) -> str:
    if r >= SIZE_GOOD:
        return "the size too"
    return "the size is rough" if r >= SIZE_ROUGH else "the size says little"


def effect_sentence(facts: EffectFacts) -> Sentence:
    """Whether a direct contribution foretells what removing the head does."""
    if facts.n == 0 or facts.signs is None or facts.chance is None:
        return Sentence(
            "Not tested by removal", f"{html.escape(facts.run)} holds no removal of a head."
        )
    signs, r = facts.signs, facts.pearson
    headline = _sign_words(signs, facts.chance)
    if r is not None:
        headline += f", {_size_words(r.value)}"
    text = (
        f"A direct contribution has the sign of the measured effect in {share_text(signs)} of "
        f"{facts.n:,} removals {share_interval(signs)}; {100 * facts.chance:.0f} % by chance. "
    )
    if r is not None:
        text += f"Correlation {number(r.value)} {interval(r)}"
        if facts.pearson_active is not None:
            text += f", {number(facts.pearson_active.value)} within active"
        text += "."
    return Sentence(headline, text)


def ks_text(test: KsTest | None) -> str:
    """The KS test in words."""
    if test is None:
        return "No test: one of the groups is empty."
    return (
        f"KS distance D = {number(test.statistic)}, {p_text(test.p_value)}, {test.n_first:,} active and "
        f"{test.n_second:,} inactive rows."
    )


class Reference(NamedTuple):
    """A published number, of other models, prompts and explainers."""

    what: str
    value: str
    source: str


REFERENCES = (
    Reference(
        "Mean score (SD), GPT-4 as explainer",
        "GPT-2 small 0.650 (0.194), medium 0.610 (0.201), large 0.575 (0.227); Pythia-160m 0.621 (0.206), "
        "1.4b 0.574 (0.176)",
        "authors' code",
    ),
    Reference("The same, random neurons", "GPT-2 large 0.558 (0.191)", "authors' code"),
    Reference("Direct against measured effect", "GPT-2 small r = 0.107", "unpublished re-run"),
    Reference(
        "P(token) on truncated prompts",
        "GPT-2 large: mean 0.37; 32 % of neurons stay below 0.10",
        "recomputed from the authors' data",
    ),
    Reference(
        "P(token) lost, one head set to zero at every position",
        "GPT-2 small 0.019 where active, 0.0075 where not; large 0.0063, 0.0011",
        "authors' code",
    ),
)
"""Numbers of Neo, Cohen and Barez 2024 and of a re-run: none of them belongs to a run shown here."""
