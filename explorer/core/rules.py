"""What `contrast` learned about a head, as a rule that a person and a program apply alike.

A rule is a list of clauses over the words of a text; the first clause that applies decides, and a
stated default the rest. As JSON (`explanations.rule`):

    {"version": 1,
     "clauses": [{"predicts": "active", "within": 3,
                  "phrases": [{"words": ["want", "to"], "n_active": 4, "n_inactive": 0}],
                  "n_active": 4, "n_inactive": 0, "log_odds": 2.5}],
     "default": "inactive", "rest_active": 5, "rest_inactive": 11,
     "n_active": 9, "n_inactive": 11, "held_out": 0.7}

`within` n: the whole phrase lies among the last n words; 0: the text ends with it; null: anywhere. A
phrase is one word or two in a row. Counts are of train prompts: with the phrase; with any phrase of the
clause; where no clause applies (`rest_`); of all. `log_odds` follows from the counts (`rule_clauses`).
`held_out` is the balanced accuracy on train prompts left out while learning, null where too few.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

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

RULE_VERSION = 1
_MAX_CHARACTERS = 100_000


@dataclass(frozen=True)
class Fired:
    """A clause that applies to a text."""

    clause: int
    """Its place in the rule, from 0."""
    phrase: Phrase
    """Its phrase nearest to the end of the text."""
    before_end: int
    """Words after the phrase; 0 where the text ends with it."""


@dataclass(frozen=True)
class Decision:
    """What a rule says of a text: the first of the clauses that fired decides."""

    active: bool
    fired: tuple[Fired, ...]


def decide(rule: Rule, tokens: Sequence[str]) -> Decision:
    """Apply a rule to a text given as token texts."""
    words = words_of(tokens)
    fired: list[Fired] = []
    for index, clause in enumerate(rule.clauses):
        found = [
            (after, i)
            for i, phrase in enumerate(clause.phrases)
            if (after := words_after(words, phrase.words)) is not None
            and is_in_place(after, len(phrase.words), clause.within)
        ]
        if found:
            after, i = min(found)
            fired.append(Fired(index, clause.phrases[i], after))
    active = rule.clauses[fired[0].clause].active if fired else rule.default
    return Decision(active, tuple(fired))


def predict(rule: Rule, tokens: Sequence[str]) -> bool:
    """Whether a rule takes the head for active after a text given as token texts."""
    return decide(rule, tokens).active


def because(rule: Rule, decision: Decision) -> str:
    """Why a rule decided so, as a sentence."""
    state = _state(decision.active)
    if not decision.fired:
        why = "none of its words is there" if rule.clauses else "this rule claims nothing"
        return f"{state}, by default: {why}."
    first = decision.fired[0]
    many = "word" if first.before_end == 1 else "words"
    where = f"{first.before_end} {many} before the end" if first.before_end else "at the end"
    return f"{state} because of {first.phrase} {where}."


def _state(active: bool) -> str:
    return "Active" if active else "Inactive"


def _one_of(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} or {parts[-1]}"


def _condition(clause: Clause) -> str:
    named = _one_of([str(phrase) for phrase in clause.phrases])
    if clause.within is None:
        return f"the text contains {named}"
    if clause.within == AT_END:
        return f"the text ends with {named}"
    return f"{named} is among the last {clause.within} words"


def sentence(rule: Rule) -> str:
    """The rule in words: exactly what `predict` does."""
    if not rule.clauses:
        if rule.n_active == rule.n_inactive:
            why = "a guess, for both were as frequent"
        else:
            why = "the more frequent case"
        return (
            f"Too little evidence: no words were found that tell the {rule.n_active} active from the "
            f"{rule.n_inactive} inactive train prompts and hold on prompts left out. Every prompt is "
            f"taken as {_state(rule.default).lower()}, {why}."
        )
    said = [
        f"{_state(c.active) if i == 0 else 'otherwise ' + _state(c.active).lower()} "
        f"when {_condition(c)}"
        for i, c in enumerate(rule.clauses)
    ]
    return f"{'; '.join(said)}; in all other cases {_state(rule.default).lower()}."


def evidence(rule: Rule) -> list[str]:
    """What each clause, the default and the whole rule rest on, a line each."""
    lines = []
    for clause in rule.clauses:
        odds = log_odds(clause.n_active, clause.n_inactive, rule.n_active, rule.n_inactive)
        each = ", ".join(f"{p} {p.n_active} and {p.n_inactive}" for p in clause.phrases)
        lines.append(
            f"{_state(clause.active)} when {_condition(clause)}: in "
            f"{_counts(clause.n_active, clause.n_inactive, rule)}, log-odds {_signed(odds)}"
            + (f" ({each})" if len(clause.phrases) > 1 else "")
        )
    if rule.clauses:
        rest = _counts(rule.rest_active, rule.rest_inactive, rule)
        lines.append(f"All other cases {_state(rule.default).lower()}: {rest}")
    if rule.held_out is not None:
        lines.append(
            f"Balanced accuracy on train prompts left out while learning: {rule.held_out:.2f}"
        )
    return lines


def _counts(n_active: int, n_inactive: int, rule: Rule) -> str:
    return (
        f"{n_active} of {rule.n_active} active and {n_inactive} of {rule.n_inactive} inactive "
        "train prompts"
    )


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")


def to_json(rule: Rule) -> str:
    """The form in which a store holds a rule; `parse` reads it back."""
    clauses = [
        {
            "predicts": _state(clause.active).lower(),
            "within": clause.within,
            "phrases": [
                {"words": list(p.words), "n_active": p.n_active, "n_inactive": p.n_inactive}
                for p in clause.phrases
            ],
            "n_active": clause.n_active,
            "n_inactive": clause.n_inactive,
            "log_odds": round(
                log_odds(clause.n_active, clause.n_inactive, rule.n_active, rule.n_inactive), 4
            ),
        }
        for clause in rule.clauses
    ]
    return json.dumps(
        {
            "version": RULE_VERSION, "clauses": clauses, "default": _state(rule.default).lower(),
            "rest_active": rule.rest_active, "rest_inactive": rule.rest_inactive,
            "n_active": rule.n_active, "n_inactive": rule.n_inactive, "held_out": rule.held_out,
        },
        ensure_ascii=False,
    )  # fmt: skip


def parse(text: str) -> Rule:
    """Read a rule from JSON. Raises ValueError with expected and got for anything else."""
    if len(text) > _MAX_CHARACTERS:
        raise ValueError(f"expected a rule of at most {_MAX_CHARACTERS:,} characters")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"expected a rule as JSON, got {text[:40]!r}") from error
    if _entry(found, "version", int) != RULE_VERSION:
        _refuse(f"version {RULE_VERSION}", found["version"])
    totals = _count(found, "n_active"), _count(found, "n_inactive")
    rest = [_count(found, f"rest_{n}", total) for n, total in zip(_KINDS, totals, strict=True)]
    held_out = _entry(found, "held_out", (int, float, type(None)))
    if held_out is not None and not 0 <= held_out <= 1:
        _refuse("held_out from 0 to 1", held_out)
    return Rule(
        tuple(_clause(clause, totals) for clause in _entry(found, "clauses", list)),
        _is_active(found, "default"), rest[0], rest[1], *totals,
        None if held_out is None else float(held_out),
    )  # fmt: skip


_KINDS = ("active", "inactive")


def _refuse(expected: str, got: Any) -> NoReturn:
    raise ValueError(f"expected {expected} in a rule, got {str(got)[:40]!r}")


def _entry(found: Any, name: str, kinds: type | tuple[type, ...]) -> Any:
    """An entry of a JSON object, of one of these types; true and false are no numbers."""
    if not isinstance(found, dict) or name not in found:
        _refuse(f"an object with {name}", found)
    value = found[name]
    if isinstance(value, bool) or not isinstance(value, kinds):
        _refuse(f"another kind of value for {name}", value)
    return value


def _count(found: Any, name: str, most: int | None = None) -> int:
    value = _entry(found, name, int)
    if value < 0 or value > (1_000_000 if most is None else most):
        _refuse(f"a possible count for {name}", value)
    return value


def _is_active(found: Any, name: str) -> bool:
    value = _entry(found, name, str)
    if value not in _KINDS:
        _refuse(f"active or inactive for {name}", value)
    return value == "active"


def _clause(found: Any, totals: tuple[int, int]) -> Clause:
    within = _entry(found, "within", (int, type(None)))
    if within is not None and not 0 <= within <= 1_000_000:
        _refuse("a number of words for within", within)
    phrases = tuple(_phrase(phrase, totals) for phrase in _entry(found, "phrases", list))
    if not phrases:
        _refuse("phrases", found)
    counts = [_count(found, f"n_{n}", total) for n, total in zip(_KINDS, totals, strict=True)]
    return Clause(_is_active(found, "predicts"), within, phrases, *counts)


def _phrase(found: Any, totals: tuple[int, int]) -> Phrase:
    words = _entry(found, "words", list)
    if not 1 <= len(words) <= 2 or not all(
        isinstance(w, str) and words_of([w]) == (w,) for w in words
    ):
        _refuse("one or two words", words)
    counts = [_count(found, f"n_{n}", total) for n, total in zip(_KINDS, totals, strict=True)]
    return Phrase(tuple(words), *counts)
