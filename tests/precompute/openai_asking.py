"""Asking a test server as the job does, in few lines."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from precompute.explainers.openai_calls import Caller, CallSettings
from precompute.explainers.openai_client import OpenAIExplainer
from precompute.explainers.openai_endpoint import Endpoint
from precompute.explainers.openai_spending import Prices, Spending
from precompute.explainers.protocol import Example, ExplainerFailure, Explanation, Verdict
from precompute.explainers.reply_log import ReplyLog
from tests.precompute.calling import Outcome, manifest, tables
from tests.precompute.llm_server import LlmServer

KEY = "sk-secret-0123456789abcdef"
EXPLAINED = ("explanations", "classifications", "head_scores", "score_nulls", "failures")
"""The tables that explainers write."""
TOKEN = " go"
ACTIVE = [Example((f"{i} we", " danced", " and"), 0.9 - 0.1 * i) for i in range(3)]
INACTIVE = [Example((f"{i} we", " sat", " and"), 0.2 + 0.1 * i) for i in range(3)]


def prompts(count: int) -> list[Example]:
    """Prompts of which the server calls every other one active."""
    return [Example((f"prompt {i}", " danced" if i % 2 else " sat"), 0.5) for i in range(count)]


@dataclass
class Asking:
    """An explainer at a server, with impatience and few tries unless told otherwise."""

    server: LlmServer
    folder: Path
    few_shot: int = 0
    limit: int | None = None
    prices: Prices | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=lambda: {"OPENAI_API_KEY": KEY})
    warnings: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.renew()

    def renew(self, **settings: Any) -> None:
        """A new process, as far as the explainer can tell."""
        given = {"model": "tiny", "timeout_s": 5.0, "max_retries": 1, **self.settings, **settings}
        endpoint = Endpoint.of(self.server.url, self.environment)
        self.log = ReplyLog(self.folder / "replies.jsonl")
        self.spending = Spending(self.limit)
        self.caller = Caller(
            endpoint, CallSettings(**given), self.log, self.spending, self._warn
        )  # fmt: skip
        self.explainer = OpenAIExplainer(self.caller, self.few_shot, self.prices, n_train=6)

    def _warn(self, kind: str) -> None:
        self.warnings[kind] += 1

    def explain(self) -> Explanation:
        return asyncio.run(self.explainer.explain(TOKEN, ACTIVE, INACTIVE))

    def failure(self) -> str:
        """Why no explanation came; fails where one did."""
        try:
            found = self.explain()
        except ExplainerFailure as failure:
            return str(failure)
        raise AssertionError(f"an explanation came: {found.text}")

    def classify(self, prompts: Sequence[Example]) -> list[Verdict | ExplainerFailure]:
        """Verdicts on an explanation that nobody asked for here."""
        explanation = Explanation("Active when the text speaks of dancing.", request="{}")
        return asyncio.run(self.explainer.classify(TOKEN, explanation, prompts))

    def predicted(self, prompts: Sequence[Example]) -> list[bool | None]:
        """What `classify` predicts, None for a failure."""
        found = self.classify(prompts)
        return [v.predicted if isinstance(v, Verdict) else None for v in found]

    def reasons(self, prompts: Sequence[Example]) -> list[str]:
        return [str(v) for v in self.classify(prompts) if isinstance(v, ExplainerFailure)]


def everything(outcome: Outcome, folder: Path) -> str:
    """All that a run left: both streams, every file, every value of the store."""
    files = [path.read_bytes().decode("utf-8", "replace")
             for path in folder.rglob("*") if path.is_file()]  # fmt: skip
    rows = json.dumps(tables(outcome.store), default=str) + json.dumps(manifest(outcome.store))
    return "\n".join([outcome.stdout, outcome.stderr, rows, *files])


def rest_of(store: Path) -> dict[str, Any]:
    """The tables that no explainer writes."""
    return {name: rows for name, rows in tables(store).items() if name not in EXPLAINED}
