"""Before any work: a wrong key, an unknown model, a server that is not there end the call with one line
that says what to do, and neither corpus nor model is touched."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.precompute.calling import Outcome, assert_refused, call
from tests.precompute.llm_server import (
    QUOTA,
    Behaviour,
    LlmServer,
    cuts,
    echoes_key,
    raw,
    rejects,
    says,
    serving,
    status,
)

KEY = "sk-secret-0123456789abcdef"
Call = tuple[object, ...]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LlmServer]:
    with serving() as server:
        server.key = KEY
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        yield server


@pytest.fixture
def attempt(quick_model: Path, tmp_path: Path) -> Iterator[Call]:
    """A call whose corpus is missing: whoever gets as far as the corpus stumbles there."""
    yield (
        "--model", quick_model, "--corpus", tmp_path / "missing.txt", "--out", tmp_path / "runs",
        "--explainer", "openai", "--openai-model", "tiny",
    )  # fmt: skip
    assert list((tmp_path / "runs").glob("*")) == []


def refused_before_the_corpus(outcome: Outcome, code: int, *words: str) -> None:
    assert_refused(outcome, code, *words)
    assert "Surveying" not in outcome.stderr
    assert "missing.txt" not in outcome.stderr
    assert KEY not in outcome.stderr


def reached_the_corpus(outcome: Outcome) -> None:
    assert_refused(outcome, 2, "missing.txt")


def test_a_good_key_and_model_pass(attempt: Call, server: LlmServer) -> None:
    """The control: one call, then the corpus."""
    reached_the_corpus(call(*attempt))
    assert server.n_calls == 1


def test_other_explainers_ask_nobody(attempt: Call, server: LlmServer) -> None:
    reached_the_corpus(call(*attempt, "--explainer", "contrast"))
    assert server.n_calls == 0


def test_without_a_key_for_openai_nothing_is_asked(
    attempt: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    refused_before_the_corpus(call(*attempt), 2, "OPENAI_API_KEY", "OPENAI_BASE_URL")


@pytest.mark.parametrize("key", ["", "ollama", "sk-of-another-place-123"])
def test_a_local_server_takes_any_key_or_none(
    key: str, attempt: Call, server: LlmServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.key = None
    monkeypatch.setenv("OPENAI_API_KEY", key)
    reached_the_corpus(call(*attempt))
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.delenv("OPENAI_BASE_URL")
    reached_the_corpus(call(*attempt, "--openai-base-url", server.url))
    assert server.n_calls == 2


@pytest.mark.parametrize("key", ["sk two words", "sk-é", "sk-\nline"])
def test_a_key_that_can_be_none_is_not_sent(
    key: str, attempt: Call, server: LlmServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    outcome = call(*attempt)
    refused_before_the_corpus(outcome, 2, "OPENAI_API_KEY", "no key has")
    assert key not in outcome.stderr
    assert server.n_calls == 0


def test_a_key_is_taken_without_the_line_end_of_its_file(
    attempt: Call, server: LlmServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
    reached_the_corpus(call(*attempt))


def test_a_wrong_key_is_one_line_at_once(
    attempt: Call, server: LlmServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = KEY.replace("0", "9")
    monkeypatch.setenv("OPENAI_API_KEY", wrong)
    outcome = call(*attempt)
    refused_before_the_corpus(outcome, 2, server.url, "refuses the key", "OPENAI_API_KEY")
    assert wrong not in outcome.stderr
    assert server.n_calls == 1


def test_an_unknown_model_is_named(attempt: Call, server: LlmServer) -> None:
    outcome = call(*attempt, "--openai-model", "gigantic")
    refused_before_the_corpus(outcome, 2, "no model 'gigantic'", "--openai-model")


AGAIN = {"retry-after-ms": "1"}
REFUSED: dict[str, tuple[Behaviour, int, str]] = {
    "quota": (QUOTA, 1, "quota"),
    "no money": (status(402, message="Insufficient balance"), 1, "quota"),
    "403": (status(403, message="not your model"), 2, "refuses the key"),
    "model under 400": (status(400, param="model", message="unknown"), 2, "--openai-model"),
    "busy": (status(429, AGAIN), 1, "try again later"),
    "500": (status(500, AGAIN), 1, "HTTP 500"),
    "HTML": (raw(b"<html>hello"), 1, "no"),
    "cut": (cuts, 1, "cannot reach"),
    "echo": (echoes_key, 1, "[key]"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_an_endpoint_that_cannot_be_used_is_one_line(
    name: str, attempt: Call, server: LlmServer
) -> None:
    server.behave, code, said = REFUSED[name]
    refused_before_the_corpus(call(*attempt), code, said, server.url)


def test_a_server_that_is_not_there(
    attempt: Call, server: LlmServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        begin = time.monotonic()
        outcome = call(*attempt, "--openai-base-url", address)
    refused_before_the_corpus(outcome, 1, "cannot reach", address, "start the server")
    assert time.monotonic() - begin < 30


def test_an_address_without_its_end(attempt: Call, server: LlmServer) -> None:
    address = server.url.removesuffix("/v1")
    outcome = call(*attempt, "--openai-base-url", address)
    refused_before_the_corpus(outcome, 2, "mostly ends in /v1")


@pytest.mark.parametrize(
    "behave",
    [says(""), says("I can't help."), says("<b>"), rejects("temperature", "response_format")],
)
def test_any_chat_completion_will_do(behave: Behaviour, attempt: Call, server: LlmServer) -> None:
    server.behave = behave
    reached_the_corpus(call(*attempt))


def test_a_password_in_the_address_is_not_said(attempt: Call, server: LlmServer) -> None:
    server.behave = status(500, {"x-should-retry": "false"})
    server.key = None
    address = server.url.replace("http://", "http://me:hidden-word@")
    outcome = call(*attempt, "--openai-base-url", f"{address}?code=other-hidden-word")
    refused_before_the_corpus(outcome, 1, server.url, "HTTP 500")
    assert "hidden-word" not in outcome.stderr
