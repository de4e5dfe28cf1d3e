"""What a run's explanations say of a typed prompt, and whether they are right.

A `contrast` explanation is a rule, which can be applied to any text. Words of a language model can
be judged by that model alone. Nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from explorer.core import rules
from explorer.core.rule_clauses import Rule
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from explorer.resources.live_values import LiveValue


@dataclass(frozen=True)
class Explained:
    """A studied head of a neuron, what an explanation says of one prompt, and what is so."""

    head: HeadId
    explainer: str
    text: str
    """The explanation in words."""
    says: bool | None
    """Whether it takes the head for active here; None where it cannot be applied."""
    because: str
    """Why a rule says so; else why the explanation cannot be applied."""
    active: bool
    """Whether the head is active here."""
    score: float | None
    """Balanced accuracy of the explanation on the run's test prompts."""


_NEEDS_JUDGE = "Words alone cannot be applied without the model that judged."


@dataclass(frozen=True)
class _Stored:
    head: HeadId
    explainer: str
    text: str
    rule: Rule | str
    """The rule, or why there is none that can be applied."""
    score: float | None


def _rule(text: str | None) -> Rule | str:
    if not isinstance(text, str):
        return _NEEDS_JUDGE
    try:
        return rules.parse(text)
    except ValueError as error:
        return f"The stored rule cannot be read: {error}."


@lru_cache(maxsize=64)
def _stored(store: Store, neuron: NeuronId) -> tuple[_Stored, ...]:
    """A neuron's explanations of its studied heads, by explainer, best score first."""
    rows = store.sql(
        """
        SELECT e.head_layer, e.head, e.explainer, e.text, e.rule, s.score
        FROM explanations e
        LEFT JOIN head_scores s USING (layer, neuron, head_layer, head, explainer)
        WHERE e.layer = ? AND e.neuron = ?
        ORDER BY e.explainer, s.score DESC NULLS LAST, e.head_layer, e.head
        """,
        (neuron.layer, neuron.index),
    )
    found = []
    for layer, head, explainer, text, rule, score in rows.itertuples(index=False):
        known = None if score is None or score != score else float(score)
        head_id = HeadId(int(layer), int(head))
        found.append(_Stored(head_id, str(explainer), str(text), _rule(rule), known))
    return tuple(found)


def explained(store: Store, value: LiveValue) -> tuple[Explained, ...]:
    """What each explanation of the neuron's studied heads says of the prompt up to the position
    studied; empty where the run explains none of this neuron."""
    tokens = value.tokens[: value.position + 1]
    found = []
    for one in _stored(store, value.neuron):
        if isinstance(one.rule, str):
            says, because = None, one.rule
        else:
            decision = rules.decide(one.rule, tokens)
            says, because = decision.active, rules.because(one.rule, decision)
        found.append(
            Explained(one.head, one.explainer, one.text, says, because,
                      one.head in value.active, one.score)
        )  # fmt: skip
    return tuple(found)
