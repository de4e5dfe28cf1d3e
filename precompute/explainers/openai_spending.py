"""Tokens: how many a run will need, how many it has spent, and when it must stop."""

from __future__ import annotations

import math
from dataclasses import dataclass

from precompute.explainers.openai_prompts import EXPLAIN, JUDGE
from precompute.explainers.openai_replies import Reply

# English text in common tokenizers; used for estimates alone.
_CHARACTERS_PER_TOKEN = 4.0
_EXPLANATION_TOKENS_OUT = 120
_VERDICT_TOKENS_OUT = 10
# Roles, field names, list marks and the words around a text.
_CHARACTERS_AROUND_A_TEXT = 40


def tokens_of(n_characters: float) -> int:
    """About how many tokens so many characters are."""
    return math.ceil(n_characters / _CHARACTERS_PER_TOKEN)


@dataclass(frozen=True)
class Prices:
    """US dollars for a million tokens; None where nobody said."""

    tokens_in: float | None = None
    tokens_out: float | None = None

    def cost(self, tokens_in: float, tokens_out: float) -> float | None:
        """Dollars, or None where a price is missing."""
        if self.tokens_in is None or self.tokens_out is None:
            return None
        return (tokens_in * self.tokens_in + tokens_out * self.tokens_out) / 1e6

    def words(self, tokens_in: float, tokens_out: float) -> str:
        cost = self.cost(tokens_in, tokens_out)
        if cost is None:
            return ""
        return f", ${cost:,.2f}" if cost >= 0.01 or not cost else f", ${cost:.2g}"


@dataclass
class Spending:
    """What this call of the job has paid for. Replies kept from before cost nothing."""

    limit: int | None = None
    """Tokens, in and out together, after which no new call begins."""
    n_calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    n_estimated: int = 0
    """Replies whose endpoint did not count its tokens."""

    def add(self, reply: Reply, n_characters_in: int) -> None:
        """Count a reply; what the endpoint does not say is estimated from the characters."""
        known = (reply.tokens_in, reply.tokens_out)
        self.n_calls += 1
        self.n_estimated += None in known
        self.tokens_in += tokens_of(n_characters_in) if known[0] is None else known[0]
        self.tokens_out += tokens_of(reply.n_characters) if known[1] is None else known[1]

    @property
    def is_used_up(self) -> bool:
        return self.limit is not None and self.tokens_in + self.tokens_out >= self.limit


@dataclass(frozen=True)
class Estimate:
    """What a run will need at most, if no reply is kept from before and nothing is tried twice."""

    n_calls: int
    tokens_in: int
    tokens_out: int

    @staticmethod
    def of(
        n_explanations: int,
        n_verdicts: int,
        mean_prompt_characters: float,
        n_train: int,
        few_shot: int,
    ) -> Estimate:
        """`n_train` prompts stand in each explanation's request, `few_shot` in each verdict's."""
        a_text = mean_prompt_characters + _CHARACTERS_AROUND_A_TEXT
        explaining = tokens_of(len(EXPLAIN) + n_train * a_text)
        described = _EXPLANATION_TOKENS_OUT * _CHARACTERS_PER_TOKEN
        judging = tokens_of(len(JUDGE) + described + (1 + few_shot) * a_text)
        return Estimate(
            n_explanations + n_verdicts,
            n_explanations * explaining + n_verdicts * judging,
            n_explanations * _EXPLANATION_TOKENS_OUT + n_verdicts * _VERDICT_TOKENS_OUT,
        )
