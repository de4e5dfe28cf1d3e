"""The key, and a password or code in an address, are in nothing that is kept or said, even where an
endpoint sends them back."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from precompute.explainers.openai_endpoint import Endpoint
from tests.precompute.llm_server import LlmServer, echoes_key, raw, says, serving, status
from tests.precompute.openai_asking import KEY, Asking, prompts


@pytest.fixture
def server() -> Iterator[LlmServer]:
    with serving() as server:
        yield server


@pytest.fixture
def asking(server: LlmServer, tmp_path: Path) -> Asking:
    return Asking(server, tmp_path)


SECRETS = {
    "key": ("{}/v1?region=eu", {"OPENAI_API_KEY": KEY}, [KEY]),
    "password": (
        "{}/v1",
        {"OPENAI_API_KEY": KEY},
        [KEY, "p:ass-word-1", "p%3Aass-word-1", "bWU6cDphc3Mtd29yZC0x"],
    ),
    "query": ("{}/v1?code=hidden-word", {"OPENAI_API_KEY": KEY}, [KEY, "hidden-word"]),
}


@pytest.mark.parametrize("name", ["key", "query", "password"])
@pytest.mark.parametrize("fault", ["error", "reply", "refusal", "body", "finish", "no choices"])
def test_no_secret_is_in_anything_that_is_kept_or_said(
    name: str, fault: str, server: LlmServer, tmp_path: Path, capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """The endpoint sends back all that it was told, and the control sees that it does."""
    caplog.set_level(logging.DEBUG)
    root = server.url.removesuffix("/v1")
    if name == "password":
        root = root.replace("http://", "http://me:p%3Aass-word-1@")
    pattern, environment, secrets = SECRETS[name]
    told: list[str] = []

    def tells(call: object) -> None:
        text = f"{call.authorization} {call.handler.path} {' '.join(secrets)}"  # type: ignore[attr-defined]
        told.append(text)
        behaviour = {
            "error": status(400, message=text),
            "reply": says(text),
            "refusal": says(None, refusal=text),
            "body": raw(text.encode()),
            "finish": says("no", text),
            "no choices": raw(json.dumps({"error": text}).encode()),
        }[fault]
        behaviour(call)  # type: ignore[arg-type]

    server.behave = tells
    server.url = pattern.format(root)
    asking = Asking(server, tmp_path, environment=environment)
    said = [repr(asking.caller.endpoint), str(asking.explainer.identity)]
    said += [asking.explainer.spent(), asking.explainer.estimate(1, 1, 10)]
    said += asking.reasons(prompts(1))
    try:
        found = asking.explain()
        said += [found.text, found.reply, found.request]
    except Exception as error:  # noqa: BLE001 - whatever comes is searched
        said += [str(error), repr(error), repr(error.__context__), repr(error.__cause__)]
    said += [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    said += [*capfd.readouterr(), caplog.text]
    assert any(secret in text for text in told for secret in secrets)
    assert [s for s in secrets if any(s in text for text in said)] == []
    assert "[key]" in "".join(said)


def test_a_word_that_is_no_secret_is_not_hidden() -> None:
    endpoint = Endpoint.of("http://here/v1", {"OPENAI_API_KEY": "ollama"})
    assert endpoint.redacted("ollama says yes") == "ollama says yes"


def test_an_echoed_key_in_an_error_is_hidden(asking: Asking) -> None:
    asking.server.behave = echoes_key
    assert asking.failure() == "HTTP 400: bad request with Authorization: Bearer [key]"
