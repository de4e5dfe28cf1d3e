"""The `openai` explainer: a language model behind any endpoint that speaks chat completions.

It writes an explanation from contrasted train prompts, and judges test prompts one a call. Every
reply is kept on disk the moment it comes; whatever goes wrong is a failure with its reason.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from explorer.core.errors import CallError, ExplorerError
from precompute.asking import run_to_end
from precompute.explainers.openai_calls import Caller, CallSettings, Parameters, complete
from precompute.explainers.openai_endpoint import KEY_VARIABLE, Endpoint
from precompute.explainers.openai_faults import LEAVABLE, Fault
from precompute.explainers.openai_prompts import (
    JUDGE,
    PROMPTS_VERSION,
    Shot,
    choose_shots,
    explanation_question,
    shots_as_json,
    shots_from_json,
    verdict_question,
)
from precompute.explainers.openai_replies import Reply, bounded, explanation_of, verdict_of
from precompute.explainers.openai_spending import Estimate, Prices, Spending
from precompute.explainers.protocol import Example, ExplainerFailure, Explanation, Verdict
from precompute.explainers.reply_log import ReplyLog

if TYPE_CHECKING:
    from precompute.config import JobConfig
    from precompute.job import Job

LOG_NAME = "replies.jsonl"
_MAX_STORED_CHARACTERS = 4_000
_PREFLIGHT_RETRIES = 2


class OpenAIExplainer:
    """See `precompute.explainers.protocol.Explainer`."""

    name = "openai"

    def __init__(
        self, caller: Caller, few_shot: int = 0, prices: Prices | None = None, n_train: int = 20
    ) -> None:
        self._caller = caller
        self._few_shot = few_shot
        self._prices = prices or Prices()
        self._n_train = n_train
        self.identity: Mapping[str, Any] = {
            "model": caller.settings.model,
            "base_url": caller.endpoint.base_url,
            "prompts_version": PROMPTS_VERSION,
            "few_shot": few_shot,
        }

    async def explain(
        self, token: str, active: Sequence[Example], inactive: Sequence[Example]
    ) -> Explanation:
        if not active or not inactive:
            raise ExplainerFailure("no train prompts of both kinds to contrast")
        question = explanation_question(token, active, inactive)
        async with self._caller.open():
            text, reply, request = await self._caller.ask(question, explanation_of)
            if text is None:  # the endpoint takes the schema and pays it no heed
                text, reply, request = await self._caller.ask(question, explanation_of, False)
        assert text is not None
        shots = choose_shots(token, active, inactive, self._few_shot)
        stored = bounded(reply.content, _MAX_STORED_CHARACTERS)
        return Explanation(text, None, self._request_as_json(request, shots), stored)

    def _request_as_json(self, request: Mapping[str, Any], shots: Sequence[Shot]) -> str:
        """All that was asked, and all that `classify` will ask beside the prompt itself."""
        return json.dumps({
            "endpoint": self._caller.endpoint.base_url,
            "prompts_version": PROMPTS_VERSION,
            "request": request,
            "left_out": _left_out(request),
            "judge": JUDGE,
            "few_shot": shots_as_json(shots),
        }, ensure_ascii=False)  # fmt: skip

    async def classify(
        self, token: str, explanation: Explanation, prompts: Sequence[Example]
    ) -> list[Verdict | ExplainerFailure]:
        shots: tuple[Shot, ...] = ()
        if self._few_shot:
            shots = shots_from_json(json.loads(explanation.request)["few_shot"])
        async with self._caller.open():
            asked = [self._verdict(token, explanation.text, prompt, shots) for prompt in prompts]
            return list(await asyncio.gather(*asked))

    async def _verdict(
        self, token: str, explanation: str, prompt: Example, shots: Sequence[Shot]
    ) -> Verdict | ExplainerFailure:
        question = verdict_question(token, explanation, prompt, shots)
        try:
            predicted, reply, _ = await self._caller.ask(question, _verdict_of)
        except ExplainerFailure as failure:
            return failure
        return Verdict(predicted, bounded(reply.content, _MAX_STORED_CHARACTERS))

    def estimate(self, n_explanations: int, n_verdicts: int, mean_prompt_characters: float) -> str:
        """What a run will ask for at most, in one line for a person to read before it starts."""
        need = Estimate.of(
            n_explanations, n_verdicts, mean_prompt_characters, self._n_train, self._few_shot
        )
        caller, limit = self._caller, self._caller.spending.limit
        kept = f"; {len(caller.log):,} replies are kept from before" if len(caller.log) else ""
        stop = f"; stops at {limit:,} tokens" if limit is not None else ""
        return (
            f"{caller.settings.model} at {caller.endpoint.base_url}: about {need.n_calls:,} calls, "
            f"{need.tokens_in:,} tokens in and {need.tokens_out:,} out"
            f"{self._prices.words(need.tokens_in, need.tokens_out)}{stop}{kept}"
        )

    def spent(self) -> str:
        """What this call of the job has asked and paid for, in one line."""
        caller, spending = self._caller, self._caller.spending
        guessed = f" ({spending.n_estimated:,} replies had no count: estimated)"
        return (
            f"{caller.settings.model}: {spending.n_calls:,} replies, {spending.tokens_in:,} tokens in "
            f"and {spending.tokens_out:,} out{self._prices.words(spending.tokens_in, spending.tokens_out)}"
            f"{guessed if spending.n_estimated else ''}; {caller.n_kept:,} answers were kept from "
            f"before; all replies are in {caller.log.path}"
        )


def _verdict_of(reply: Reply, structured: bool) -> bool:
    return verdict_of(reply)


def _left_out(request: Mapping[str, Any]) -> list[str]:
    """What the request would hold at an endpoint that accepts everything."""
    missing = [name for name in LEAVABLE if name not in request]
    return [name for name in missing if name != "max_tokens" or "max_completion_tokens" in missing]


def _settings(config: JobConfig) -> CallSettings:
    assert config.openai_model is not None, "checked with the call"
    return CallSettings(
        model=config.openai_model, concurrency=config.openai_concurrency,
        timeout_s=config.openai_timeout, asks_again=config.force,
    )  # fmt: skip


def make(job: Job) -> OpenAIExplainer:
    """The explainer of a run; its replies lie in the run's work folder."""
    config = job.config
    endpoint = Endpoint.of(config.openai_base_url, os.environ)
    log = ReplyLog(job.work / LOG_NAME)
    if log.n_torn:
        job.display.say(f"{log.n_torn:,} torn lines in {log.path} were passed over")
    caller = Caller(endpoint, _settings(config), log, Spending(config.max_tokens_spent), job.warn)
    prices = Prices(config.price_in, config.price_out)
    return OpenAIExplainer(caller, config.few_shot, prices, config.prompts)


def preflight(config: JobConfig, say: Callable[[str], None]) -> None:
    """Ask the endpoint one small question, so that a wrong key, an unknown model or a server that
    is not there ends the run before it begins. Raises CallError or ExplorerError."""
    endpoint = Endpoint.of(config.openai_base_url, os.environ)
    settings = replace(_settings(config), max_retries=_PREFLIGHT_RETRIES)
    say(f"Trying {settings.model} at {endpoint.base_url} ...")
    try:
        run_to_end(_try(endpoint, settings))
    except Fault as fault:
        raise _refusal(fault, endpoint, settings.model) from None
    except ExplainerFailure as failure:
        raise ExplorerError(
            f"{endpoint.base_url} does not answer as a chat-completions endpoint ({failure}); give "
            "--openai-base-url the address of one (it mostly ends in /v1)"
        ) from None


async def _try(endpoint: Endpoint, settings: CallSettings) -> None:
    """Any chat completion will do, whatever it says."""
    prompt = Example(("It", " is", " time", " to"), 0.5)
    question = verdict_question(" go", "The text is about leaving.", prompt)
    parameters = Parameters()
    async with endpoint.client(settings.timeout_s, settings.max_retries) as client:
        while True:
            request = parameters.request(settings.model, question, True)
            try:
                await complete(client, endpoint, request, settings.timeout_s)
                return
            except Fault as fault:
                if fault.kind != "parameter":
                    raise
                parameters.leave_out(fault.parameter)


def _refusal(fault: Fault, endpoint: Endpoint, model: str) -> ExplorerError:
    where = endpoint.base_url
    if fault.kind == "key":
        return CallError(
            f"{where} refuses the key ({fault}); set {KEY_VARIABLE} to a key of that endpoint"
        )
    if fault.kind == "model":
        return CallError(
            f"{where} has no model {model!r} ({fault}); give --openai-model one that it has, or "
            "correct the address (it mostly ends in /v1)"
        )
    if fault.kind == "quota":
        return ExplorerError(f"the quota of the key at {where} is used up ({fault}); raise it")
    if fault.kind == "reach":
        return ExplorerError(
            f"cannot reach {where} ({fault}); start the server, or correct --openai-base-url or "
            "OPENAI_BASE_URL"
        )
    return ExplorerError(f"{where} does not answer ({fault}); try again later")
