"""What an explainer is: from prompts in which a head is active and inactive to words, and back.

An implementation is one file. It sees texts alone, never contributions, so that what it says can only
come from what a reader could see too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from explorer.core.errors import ExplorerError


class ExplainerFailure(ExplorerError):
    """No explanation or verdict could be had for one subject. Stored in `failures`, never as data."""


@dataclass(frozen=True)
class Example:
    """One kept prompt as an explainer sees it."""

    tokens: tuple[str, ...]
    """Texts of the kept tokens; the last one is the neuron's peak token."""
    probability: float
    """Probability of the neuron's token after the kept text, 0 to 1."""

    @property
    def text(self) -> str:
        return "".join(self.tokens)


@dataclass(frozen=True)
class Explanation:
    """When a head is active for a neuron, in words."""

    text: str
    rule: str | None = None
    """What `contrast` learned, as JSON (`explorer.core.rules` evaluates it); None for others."""
    request: str = ""
    """What the explainer was asked."""
    reply: str = ""
    """What it answered, raw."""


@dataclass(frozen=True)
class Verdict:
    """What an explanation predicts for one prompt."""

    predicted: bool
    """Whether the head is active."""
    reply: str = ""
    """The answer, raw."""


class Explainer(Protocol):
    """Explains and classifies. Bounds its own concurrency; the stage asks for many pairs at once."""

    name: str
    """As `explanations.explainer` has it."""
    identity: Mapping[str, Any]
    """Every setting that shapes what it says, as JSON values; no secrets. Results under another
    identity are not taken for these."""

    async def explain(
        self, token: str, active: Sequence[Example], inactive: Sequence[Example]
    ) -> Explanation:
        """Say what tells the active train prompts from the inactive ones. `token` is the neuron's
        token. Raises ExplainerFailure with the reason."""
        ...

    async def classify(
        self, token: str, explanation: Explanation, prompts: Sequence[Example]
    ) -> list[Verdict | ExplainerFailure]:
        """One verdict a prompt, in order; a failure where none could be had."""
        ...

    def estimate(self, n_explanations: int, n_verdicts: int, mean_prompt_characters: float) -> str:
        """What a run will ask for at most, in one line to read before it starts; empty if free."""
        ...

    def spent(self) -> str:
        """What was asked and paid for so far, in one line; empty if free."""
        ...
