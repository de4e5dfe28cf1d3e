"""Invented explanations, verdicts, scores, nulls and ablations for the seeded store.

They obey the store's rules: rows for studied pairs alone, on each kept prompt; a joint removal of one
head equals that head's own; removed heads take about what they contributed; scores and nulls follow
the verdicts; what failed is in `failures` and nowhere else. Explanations hold hostile texts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from explorer.core.rule_clauses import Clause, Phrase, Rule
from explorer.core.rules import sentence, to_json

Rows = dict[str, list[tuple[Any, ...]]]
KINDS = ("zero-last", "zero-all", "mean-last", "mean-all")
EXPLAINER, SECOND_EXPLAINER = "contrast", "openai"
HOSTILE_EXPLANATION = (
    'Active <script>alert("x")</script> after *_`[a](javascript:b)$x$ '
    "& <img src=x onerror=alert(1)>."
)
HOSTILE_REPLY = '{"explanation": "</pre><script>alert(1)</script> ``` $x$"}'
TWICE_EXPLAINED = (4, 4)
"""The neuron whose pairs have explanations by both explainers."""
N_PERMUTATIONS = N_RESAMPLES = 1000
_RIGHT = 0.8
"""How often an invented verdict is right."""


class Pair(NamedTuple):
    """A studied pair, as its columns stand in the store."""

    layer: int
    neuron: int
    head_layer: int
    head: int


class _Prompt(NamedTuple):
    prompt_id: int
    split: str
    probability: float
    heads: Sequence[float]
    active: frozenset[int]


def _prompts(rows: Mapping[str, list[tuple[Any, ...]]]) -> dict[tuple[int, int], list[_Prompt]]:
    """The kept prompts of each neuron."""
    heads = {row[0]: row[1] for row in rows["head_attributions"]}
    active: dict[int, set[tuple[int, int]]] = defaultdict(set)
    for prompt_id, layer, head in rows["active_heads"]:
        active[prompt_id].add((layer, head))
    n_heads = 1 + max(head for *_, head in rows["active_heads"])
    found: dict[tuple[int, int], list[_Prompt]] = defaultdict(list)
    for row in rows["prompts"]:
        flat = frozenset(layer * n_heads + head for layer, head in active[row[0]])
        prompt = _Prompt(row[0], row[3], row[11], heads[row[0]], flat)
        found[row[1], row[2]].append(prompt)
    return found


def studied_pairs(rows: Mapping[str, list[tuple[Any, ...]]]) -> list[Pair]:
    """Pairs of a studied neuron and a studied head, in order."""
    return sorted({Pair(*row[:4]) for row in rows["head_activity"] if row[8]})


def _deltas(adds: float, probability: float, rng: np.random.Generator) -> tuple[float, ...]:
    """Changes of pre-activation, activation and P(token) when something that `adds` is removed."""
    pre = -adds * float(rng.uniform(0.7, 1.2)) + float(rng.normal(scale=0.04))
    after = min(1.0, probability * float(np.exp(0.3 * pre)))
    return pre, 0.9 * pre, after - probability


def _ablations(
    pairs: list[Pair],
    prompts: dict[tuple[int, int], list[_Prompt]],
    n_heads: int,
    rng: np.random.Generator,
) -> Rows:
    rows: Rows = defaultdict(list)
    for neuron, own in prompts.items():
        studied = {p.head_layer * n_heads + p.head for p in pairs if (p.layer, p.neuron) == neuron}
        for prompt in own:
            for kind in KINDS:
                kept = 1.0 if kind.startswith("zero") else 0.8
                found = {
                    flat: _deltas(kept * prompt.heads[flat], prompt.probability, rng)
                    for flat in sorted(studied | prompt.active)
                }
                for flat in sorted(studied):
                    where = (prompt.prompt_id, *divmod(flat, n_heads), kind)
                    rows["ablations"].append((*where, *found[flat]))
                if prompt.active:
                    together = np.sum([found[flat] for flat in prompt.active], axis=0).tolist()
                    together[2] = max(together[2], -prompt.probability)
                    rows["joint_ablations"].append(
                        (prompt.prompt_id, kind, len(prompt.active), *together)
                    )
            lost = -prompt.probability * float(rng.uniform(0.2, 0.9))
            rows["neuron_ablations"].append((prompt.prompt_id, lost))
    return rows


def _balanced(active: np.ndarray, predicted: np.ndarray) -> float | None:
    """(TPR + TNR) / 2; None where a class is missing."""
    if active.all() or not active.any():
        return None
    return float((predicted[active].mean() + (~predicted[~active]).mean()) / 2)


def _score_row(active: np.ndarray, predicted: np.ndarray, n_missing: int) -> tuple[Any, ...]:
    """`tp fp tn fn n_missing score ci_low ci_high`, the interval from a bootstrap in each class."""
    counts = [
        int((a & p).sum())
        for a, p in ((active, predicted), (~active, predicted), (~active, ~predicted),
                     (active, ~predicted))
    ]  # fmt: skip
    score = _balanced(active, predicted)
    if score is None:
        return (*counts, n_missing, None, None, None)
    rng = np.random.default_rng(0)
    right = [predicted[active], ~predicted[~active]]
    drawn = [
        values[rng.integers(len(values), size=(N_RESAMPLES, len(values)))].mean(axis=1)
        for values in right
    ]
    low, high = np.quantile((drawn[0] + drawn[1]) / 2, (0.025, 0.975)).tolist()
    return (*counts, n_missing, score, low, high)


Verdicts = dict[Pair, dict[int, tuple[bool, bool]]]
"""For each pair and prompt id: truly active, predicted active."""


def _null_rows(pair: Pair, verdicts: Verdicts, explainer: str) -> list[tuple[Any, ...]]:
    mine = verdicts[pair]
    active, predicted = (np.array(c, dtype=bool) for c in zip(*mine.values(), strict=True))
    score = _balanced(active, predicted)
    if score is None:
        return []
    found: list[tuple[Any, ...]] = []
    others = []
    for other, theirs in verdicts.items():
        shared = sorted(mine.keys() & theirs.keys())
        if other[:2] == pair[:2] and other != pair and shared:
            held = np.array([mine[i][0] for i in shared])
            others.append(_balanced(held, np.array([theirs[i][1] for i in shared])))
    scored = [value for value in others if value is not None]
    if scored:
        found.append((*pair, explainer, "other-head", float(np.mean(scored)), None))
    rng = np.random.default_rng(0)
    shuffled = np.array(
        [_balanced(rng.permutation(active), predicted) for _ in range(N_PERMUTATIONS)]
    )
    p_value = float((shuffled >= score - 1e-12).mean())
    found.append((*pair, explainer, "shuffle", float(shuffled.mean()), p_value))
    return found


def _rule(number: int) -> Rule:
    """A rule with two clauses; the second one's holds hostile words. Its counts are invented."""
    words = [Phrase(("go",), 3, 0), Phrase(("come", "back"), 2, 1)]
    hostile = Phrase(("<", "img"), 0, 2)
    return Rule(
        (Clause(True, 3 + number % 4, tuple(words), 4, 1), Clause(False, None, (hostile,), 0, 2)),
        default=False, rest_active=1, rest_inactive=2, n_active=5, n_inactive=5, held_out=0.7,
    )  # fmt: skip


def _explained(
    pairs: list[Pair],
    prompts: dict[tuple[int, int], list[_Prompt]],
    explainer: str,
    n_heads: int,
    rng: np.random.Generator,
) -> Rows:
    """Explanations of the pairs by one explainer, all but the last, and one verdict missing."""
    rows: Rows = defaultdict(list)
    *explained, failed = pairs
    rows["failures"].append(
        ("explanations", _subject(failed, explainer), "no <b>reply</b> in 60 s")
    )
    verdicts: Verdicts = {}
    for number, pair in enumerate(explained):
        text, rule = HOSTILE_EXPLANATION, None
        if explainer == EXPLAINER:
            text, rule = sentence(_rule(number)), to_json(_rule(number))
        request = f"When is this head active for <b>L{pair.layer} N{pair.neuron}</b>?"
        rows["explanations"].append((*pair, explainer, text, rule, request, HOSTILE_REPLY))
        flat = pair.head_layer * n_heads + pair.head
        tests = [p for p in prompts[pair.layer, pair.neuron] if p.split == "test"]
        found = {
            p.prompt_id: (flat in p.active, (flat in p.active) == bool(rng.random() < _RIGHT))
            for p in tests
        }
        if number == 0:  # one verdict could not be had
            found.pop(tests[-1].prompt_id)
            subject = f"{_subject(pair, explainer)} test prompt {len(tests)}"
            rows["failures"].append(("explanations", subject, "reply was neither yes nor no"))
        verdicts[pair] = found
        for prompt_id, (active, predicted) in found.items():
            reply = "yes" if predicted else "no"
            rows["classifications"].append((*pair, explainer, prompt_id, active, predicted, reply))
        active, predicted = (np.array(c, dtype=bool) for c in zip(*found.values(), strict=True))
        score = _score_row(active, predicted, len(tests) - len(found))
        rows["head_scores"].append((*pair, explainer, *score))
    for pair in verdicts:
        rows["score_nulls"] += _null_rows(pair, verdicts, explainer)
    return rows


def _subject(pair: Pair, explainer: str) -> str:
    return f"{explainer} L{pair.layer}N{pair.neuron} L{pair.head_layer}H{pair.head}"


def effect_rows(
    rows: Mapping[str, list[tuple[Any, ...]]], n_heads: int, seed: int, explainer: str
) -> Rows:
    """The rows of the nine tables that hang on the prompts, heads and activity of a store.

    `explainer` explains every studied pair but the last; `openai` also those of neuron L4N4, all but
    its last, in hostile words. The first pair of each lacks one verdict. `contrast` has rules that
    its invented verdicts do not follow. With `none` nothing is explained.
    """
    rng = np.random.default_rng([seed, 1])
    pairs, prompts = studied_pairs(rows), _prompts(rows)
    parts = [_ablations(pairs, prompts, n_heads, rng)]
    if explainer != "none":
        again = [pair for pair in pairs if pair[:2] == TWICE_EXPLAINED]
        parts.append(_explained(pairs, prompts, explainer, n_heads, rng))
        if len(again) > 1:
            parts.append(_explained(again, prompts, SECOND_EXPLAINER, n_heads, rng))
    joined: Rows = defaultdict(list)
    for part in parts:
        for table, found in part.items():
            joined[table] += found
    return joined
