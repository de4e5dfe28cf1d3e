"""Words, phrases and their places in a text: what the clauses of a rule speak of (see `rules`)."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from explorer.core.types import visible

AT_END = 0
"""Value of `within` for a phrase with which the text ends."""
# A byte that is no whole character, what an apostrophe adds to a word, a word, any other mark.
_WORD = re.compile(
    r"<0x[0-9a-f]{2}>|'(?:s|t|d|m|ll|re|ve)(?![^\W_])|[^\W_]+(?:[\u0300-\u036f]+[^\W_]*)*|[^\w\s]|_"
)


@dataclass(frozen=True)
class Phrase:
    """One word or two in a row, with the train prompts of each kind that have it in its place."""

    words: tuple[str, ...]
    n_active: int
    n_inactive: int

    def __str__(self) -> str:
        return f"“{' '.join(visible(word) for word in self.words)}”"


@dataclass(frozen=True)
class Clause:
    """Predicts `active` where any of its phrases is in its place."""

    active: bool
    within: int | None
    phrases: tuple[Phrase, ...]
    n_active: int
    n_inactive: int


@dataclass(frozen=True)
class Rule:
    """Clauses in the order in which they are asked, and what holds where none applies."""

    clauses: tuple[Clause, ...]
    default: bool
    rest_active: int
    rest_inactive: int
    n_active: int
    n_inactive: int
    held_out: float | None = None


def words_of(tokens: Sequence[str]) -> tuple[str, ...]:
    """The words of a text given as token texts: case-folded, punctuation marks words of their own.

    The first may be the end of a word and the last its beginning: a kept text starts and ends
    anywhere. Typographic apostrophes count as plain ones; `'s`, `'t` and their kin are words.
    """
    return tuple(_WORD.findall("".join(tokens).replace("’", "'").casefold()))


def words_after(words: Sequence[str], phrase: Sequence[str]) -> int | None:
    """How many words follow the last occurrence of a phrase; None where it does not occur."""
    size = len(phrase)
    for start in range(len(words) - size, -1, -1):
        if tuple(words[start : start + size]) == tuple(phrase):
            return len(words) - size - start
    return None


def is_in_place(n_after: int | None, n_words: int, within: int | None) -> bool:
    """Whether a phrase of `n_words` words with `n_after` words after it is where a clause wants it."""
    if n_after is None or within is None:
        return n_after is not None
    return n_after == 0 if within == AT_END else n_after + n_words <= within


def log_odds(n_active: int, n_inactive: int, total_active: int, total_inactive: int) -> float:
    """Log of the odds ratio of a sign in active against inactive prompts, natural, 0.5 added to each
    of the four counts. Positive: the sign speaks for active."""
    with_it = math.log((n_active + 0.5) / (total_active - n_active + 0.5))
    return with_it - math.log((n_inactive + 0.5) / (total_inactive - n_inactive + 0.5))
