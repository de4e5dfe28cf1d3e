"""Every number on screen, defined: the one home of tooltip texts.

`define(name, manifest)` gives the text for a run, with the thresholds that the run used.
`GLOSSARY` holds the same texts at the default thresholds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from explorer.core.types import ActiveRule
from explorer.core.verdict import CLEAR, SLIGHT

_TEXTS: dict[str, str] = {
    "Congruence": "Dot product of the neuron's output weights and the token's unembedding. Higher: "
    "firing raises this token more. Compare within one model only.",
    "Pre-activation": "The neuron's input before the non-linearity. All parts add up to it.",
    "Activation": "The neuron's output at this token, after the non-linearity.",
    "Contribution": "What one part adds to the pre-activation directly, at the layer-norm scale "
    "observed. Negative lowers it.",
    "Direct effect": "Activation times congruence, divided by the final layer norm's divisor: what a "
    "neuron adds directly to the token's centred logit. What later parts make of it is not in it.",
    "Active": "In this prompt, {active}.",
    "Share active": "Share of the neuron's prompts in which this head is active.",
    "Studied": "Active in 25–75 % of train prompts, so context decides.",
    "Tokens kept": "Shortest ending that keeps {keep} of the activation.",
    "Score": "Balanced accuracy on test prompts: mean of right answers among active (TPR) and "
    "inactive (TNR) prompts. 0.50 is guessing.",
    "Removing it": "Model re-run without the head; removed minus clean. Includes indirect paths.",
    "Switches on": "Yes: the removal takes at least {clear} of the pre-activation where the head is "
    "active, and at least twice what it takes elsewhere. No: less than {slight}. Hardly: between "
    "(medians, zero-last; our rule).",
    "Nulls": "Another head's: verdicts for the neuron's other heads, held against this one's activity. "
    "Shuffled: against 1,000 permutations of it; p is the share that does as well.",
    "P(token)": "Model's probability that this token comes next.",
    "Attention": "Share of attention the peak token pays to this token. Sums to 1 with the hidden "
    "start token.",
    "Composition": "Size of the product of two heads' weights, divided by the product of their "
    "sizes. No data involved.",
    "Singular value": "Strength of one direction the head reads or writes.",
    "z": "Distance from the median, in robust standard deviations, among all earlier components "
    "for this receiver.",
    "Accuracy": "Share of generated lists answered right, with n and seed.",
    "Correlation": "Pearson's r of direct contribution and measured effect, over removals; Spearman's r "
    "is the same of their ranks. 1: on one rising line or order; 0: unrelated.",
    "Same sign": "Share of removals in which direct contribution and measured effect are both positive "
    "or both negative. By chance: the share to expect if they were paired at random.",
    "KS distance": "The largest gap between two cumulative shares (Kolmogorov–Smirnov), 0 to 1. Its p "
    "takes rows as independent; rows of one pair resemble each other, so p is too small.",
    "Interval": "In brackets: 2.5 % and 97.5 % quantiles of 1,000 seeded bootstrap resamples, of pairs "
    "of neuron and head (of neurons for P(token)), since their prompts resemble each other.",
}


def _active_text(rule: ActiveRule) -> str:
    if rule.top_k is None:
        return "the contribution exceeds mean + 2 SD over heads that can reach the neuron"
    if rule.top_k == 1:
        return "the contribution is positive and the largest of all heads"
    return f"the contribution is positive and among the {rule.top_k} largest of all heads"


def percent(share: float) -> str:
    """A share as a percentage without needless decimals: 0.8 is `80 %`."""
    return f"{round(100 * share, 4):g} %"


def define(name: str, manifest: Mapping[str, Any]) -> str:
    """The definition of a number for a run; KeyError for a number that has none."""
    rule = ActiveRule.parse(str(manifest.get("active_rule") or "mean+2sd"))
    keep = percent(float(manifest.get("keep_ratio") or 0.8))
    return _TEXTS[name].format(
        active=_active_text(rule), keep=keep, clear=percent(CLEAR), slight=percent(SLIGHT)
    )


GLOSSARY: dict[str, str] = {name: define(name, {}) for name in _TEXTS}
