"""One call to a language model: kept replies first, then the endpoint, within its limits and ours."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import openai

from precompute.explainers.openai_endpoint import Endpoint
from precompute.explainers.openai_faults import LEAVABLE, Fault, fault_of, fault_of_status
from precompute.explainers.openai_prompts import Question
from precompute.explainers.openai_replies import Reply, shown
from precompute.explainers.openai_spending import Spending
from precompute.explainers.protocol import ExplainerFailure
from precompute.explainers.reply_log import ReplyLog, request_key

if TYPE_CHECKING:
    from openai import AsyncOpenAI

T = TypeVar("T")

# A server that is down fails every call, each after its tries: no use in waiting for thousands.
_MAX_FAULTS_IN_A_ROW = 20
# A server may send a byte now and then for ever: all tries of a call together end at this multiple.
_DEADLINE_IN_TIMEOUTS = 10


@dataclass(frozen=True)
class CallSettings:
    """How calls are made."""

    model: str
    concurrency: int = 8
    """Calls in flight at most."""
    timeout_s: float = 300.0
    """Wait for a reply; local models are slow, and their calls queue."""
    max_retries: int = 5
    """Further tries after 408, 409, 429, 5xx, timeouts and cut connections."""
    asks_again: bool = False
    """Whether a kept reply that was of no use is asked for anew."""


class Parameters:
    """What a request holds beside model and messages, less what the endpoint does not accept."""

    def __init__(self) -> None:
        self.left_out: list[str] = []

    def request(self, model: str, question: Question, structured: bool) -> dict[str, Any]:
        """The body of a call. `max_tokens` stands in for `max_completion_tokens` where that is
        not accepted."""
        structured = structured and "response_format" not in self.left_out
        request: dict[str, Any] = {"model": model, "messages": question.messages(structured)}
        if structured:
            request["response_format"] = question.response_format
        if "temperature" not in self.left_out:
            request["temperature"] = 0
        for name in ("max_completion_tokens", "max_tokens"):
            if name not in self.left_out:
                request[name] = question.max_tokens
                break
        return request

    def leave_out(self, name: str) -> bool:
        """Leave a parameter out from now on; False where it was already."""
        assert name in LEAVABLE, name
        is_new = name not in self.left_out
        if is_new:
            self.left_out.append(name)
        return is_new


async def _sent(
    client: AsyncOpenAI, endpoint: Endpoint, request: dict[str, Any], timeout_s: float
) -> bytes | Fault:
    """The body of a good response. A fault is handed back rather than raised, so that the client's own
    error, which may quote what the endpoint knows, is not carried along as its context."""
    deadline_s = timeout_s * _DEADLINE_IN_TIMEOUTS
    try:
        async with asyncio.timeout(deadline_s):
            raw = await client.chat.completions.with_raw_response.create(**request)
    except openai.APIStatusError as error:
        return fault_of_status(error, request, endpoint)
    except openai.OpenAIError as error:
        return fault_of(error, timeout_s)
    except TimeoutError as error:
        return fault_of(error, deadline_s)
    return raw.http_response.content


def _parsed(content: bytes) -> Any:
    """The JSON of a body; None where it is none."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


async def complete(
    client: AsyncOpenAI, endpoint: Endpoint, request: dict[str, Any], timeout_s: float
) -> Reply:
    """Send one request. Raises Fault where no reply came and ExplainerFailure for what is none."""
    content = await _sent(client, endpoint, request, timeout_s)
    if isinstance(content, Fault):
        raise content
    body = _parsed(content)
    if body is None:
        text = shown(endpoint.redacted(content.decode("utf-8", "replace")))
        raise ExplainerFailure(f"the reply is not JSON: {text or 'empty'}")
    return Reply.from_body(body, endpoint.redacted)


@dataclass
class _Session:
    """What belongs to one event loop."""

    client: AsyncOpenAI
    places: asyncio.Semaphore
    same: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    """One request at a time under one key, so that the second finds the first one's reply."""
    n_users: int = 0


class Caller:
    """Asks questions. Knows what was answered before, what is accepted, and when to stop."""

    def __init__(
        self,
        endpoint: Endpoint,
        settings: CallSettings,
        log: ReplyLog,
        spending: Spending,
        warn: Callable[[str], None],
    ) -> None:
        self.endpoint = endpoint
        self.settings = settings
        self.log = log
        self.spending = spending
        self.stopped = ""
        """Why no further call is made; "" while they are."""
        self._parameters = Parameters()
        self._warn = warn
        self._session: _Session | None = None
        self._asked: set[str] = set()
        self._kept: set[str] = set()
        self._n_faults_in_a_row = 0

    @property
    def n_kept(self) -> int:
        """Answers that were kept from before and used."""
        return len(self._kept - self._asked)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Hold the client open for a while; whoever leaves last closes it, inside its event loop."""
        if self._session is None:
            client = self.endpoint.client(self.settings.timeout_s, self.settings.max_retries)
            self._session = _Session(client, asyncio.Semaphore(self.settings.concurrency))
        session = self._session
        session.n_users += 1
        try:
            yield
        finally:
            session.n_users -= 1
            if session.n_users == 0:
                self._session = None
                await session.client.close()

    async def ask(
        self, question: Question, read: Callable[[Reply, bool], T], structured: bool = True
    ) -> tuple[T, Reply, dict[str, Any]]:
        """What `read` finds in the reply (told whether JSON was asked for), the reply, the request.
        Raises ExplainerFailure with the reason where there is none."""
        while True:
            request = self._parameters.request(self.settings.model, question, structured)
            is_structured = "response_format" in request
            try:
                reply = await self._reply_to(request, lambda r, s=is_structured: read(r, s))
            except Fault as fault:
                if fault.kind != "parameter":
                    raise
                self._leave_out(fault.parameter)
                continue
            return read(reply, is_structured), reply, request

    async def _reply_to(self, request: dict[str, Any], read: Callable[[Reply], object]) -> Reply:
        assert self._session is not None, "ask inside `open`"
        key = request_key(self.endpoint.base_url, request)
        async with self._session.same[key]:
            kept = self.log.get(key)
            if kept is not None and self._serves(key, kept, read):
                self._kept.add(key)
                return kept
            async with self._session.places:
                self._check_may_begin()
                self._asked.add(key)
                reply = await self._call(self._session.client, request)
                n_characters = sum(len(message["content"]) for message in request["messages"])
                self.spending.add(reply, n_characters)
                self.log.append(key, request, reply)
                return reply

    def _serves(self, key: str, kept: Reply, read: Callable[[Reply], object]) -> bool:
        """Whether a kept reply stands: always, unless what was of no use is to be asked anew."""
        if not self.settings.asks_again or key in self._asked:
            return True
        try:
            read(kept)
        except ExplainerFailure:
            return False
        return True

    def _check_may_begin(self) -> None:
        if not self.stopped and self.spending.is_used_up:
            self.stopped = f"the {self.spending.limit:,} tokens of --max-tokens-spent are spent"
            self._warn(f"calls to the language model ended early ({self.stopped})")
        if self.stopped:
            raise ExplainerFailure(f"not asked: {self.stopped}")

    async def _call(self, client: AsyncOpenAI, request: dict[str, Any]) -> Reply:
        try:
            reply = await complete(client, self.endpoint, request, self.settings.timeout_s)
        except Fault as fault:
            if fault.kind not in ("parameter", "request"):
                self._note(fault)
            raise
        self._n_faults_in_a_row = 0
        return reply

    def _note(self, fault: Fault) -> None:
        """Stop where further calls can only fail: no money, no key, an endpoint that is down."""
        self._n_faults_in_a_row += 1
        if self.stopped:
            return
        if fault.kind == "quota":
            self.stopped = f"the quota of this key is used up ({fault})"
        elif fault.kind == "key" and str(fault).startswith("HTTP 401"):
            self.stopped = f"the endpoint refuses the key ({fault})"
        elif self._n_faults_in_a_row >= _MAX_FAULTS_IN_A_ROW:
            self.stopped = f"{self._n_faults_in_a_row} calls in a row failed (the last: {fault})"
        if self.stopped:
            self._warn("calls to the language model ended early (see the reasons in failures)")

    def _leave_out(self, name: str) -> None:
        if self._parameters.leave_out(name):
            self._warn(f"the endpoint does not accept {name}: left out")
