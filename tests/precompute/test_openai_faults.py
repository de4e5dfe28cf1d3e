"""An endpoint that misbehaves on purpose, over real HTTP: every fault ends as an answer that is right
or as a failure with its reason, and no fault harms the calls beside it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from precompute.explainers.protocol import Verdict
from tests.precompute.llm_server import (
    EXPLANATION,
    QUOTA,
    Behaviour,
    LlmServer,
    cuts,
    drips,
    hangs,
    honest,
    raw,
    rejects,
    says,
    serving,
    status,
)
from tests.precompute.openai_asking import Asking, prompts


@pytest.fixture
def server() -> Iterator[LlmServer]:
    with serving() as server:
        yield server


@pytest.fixture
def asking(server: LlmServer, tmp_path: Path) -> Asking:
    return Asking(server, tmp_path)


def test_without_a_fault_there_is_an_explanation_and_its_verdicts(asking: Asking) -> None:
    """The control of all that follows."""
    assert asking.explain().text == EXPLANATION
    assert asking.predicted(prompts(4)) == [False, True, False, True]
    assert asking.server.n_calls == 5
    assert not asking.warnings


AGAIN = {"retry-after-ms": "10"}
PASSING: dict[str, Behaviour] = {
    "429 with Retry-After": status(429, {"Retry-After": "0.01"}),
    "429 with Retry-After in ms": status(429, AGAIN),
    "429 without Retry-After": status(429),
    "500": status(500, AGAIN),
    "503 in HTML": raw(b"<html>busy</html>", "text/html", 503),
    "a connection cut mid-reply": cuts,
    "no reply in time": hangs,
}


@pytest.mark.parametrize("name", PASSING)
def test_a_fault_that_passes_is_waited_for(name: str, asking: Asking) -> None:
    if name == "no reply in time":
        asking.renew(timeout_s=1.0)
    asking.server.faults.append(PASSING[name])
    assert asking.explain().text == EXPLANATION
    assert asking.server.n_calls == 2
    assert len(asking.log) == 1


def test_retry_after_is_obeyed_to_the_second(asking: Asking) -> None:
    asking.server.faults.append(status(429, {"Retry-After": "1"}))
    begin = time.monotonic()
    asking.explain()
    assert time.monotonic() - begin > 0.95  # without the header it is half a second at most


LASTING: dict[str, tuple[Behaviour, str]] = {
    "429": (status(429, AGAIN, message="Slow down"), "HTTP 429: Slow down"),
    "a wait longer than any": (status(429, {"Retry-After": "86400"}), "HTTP 429"),
    "500": (status(500, AGAIN), "HTTP 500"),
    "502 in HTML": (raw(b"<html>bad gateway</html>", "text/html", 502), "HTTP 502"),
    "cut": (cuts, "connection failed or was cut"),
    "hang": (hangs, "no reply within 0.1 s"),
    "400 about this prompt": (status(400, message="too long", code="context_length_exceeded"),
                              "HTTP 400: too long"),
    "403": (status(403, message="flagged"), "HTTP 403: flagged"),
}  # fmt: skip


@pytest.mark.parametrize("name", LASTING)
def test_a_fault_that_lasts_is_a_failure_with_its_reason(name: str, asking: Asking) -> None:
    behave, reason = LASTING[name]
    asking.renew(timeout_s=0.1 if name == "hang" else 5.0)
    asking.server.behave = behave
    assert reason in asking.failure()
    assert asking.predicted(prompts(1)) == [None]
    assert len(asking.log) == 0
    asking.server.behave = honest  # and it is not remembered
    asking.renew()
    assert asking.explain().text == EXPLANATION


def test_a_reply_that_never_ends_is_given_up(asking: Asking) -> None:
    asking.renew(timeout_s=0.05)
    asking.server.behave = drips
    begin = time.monotonic()
    assert "no whole reply within 0.5 s" in asking.failure()
    assert time.monotonic() - begin < 8  # the server would go on for ten seconds


USELESS: dict[str, tuple[Behaviour, str]] = {
    "empty": (says(""), "empty"),
    "null": (says(None), "empty"),
    "refused": (says(None, refusal="I will not."), "refused: I will not"),
    "refused in words": (says("I can't help with that."), "refused: I can't"),
    "filtered": (says("", "content_filter"), "content filter"),
    "cut off": (says('{"explanation": "Act', "length"), "cut off"),
    "torn JSON": (says('{"explanation": "Act'), "not the JSON|neither yes nor no"),
    "long": (says("yes " * 25_000), "100,000 characters"),
}


@pytest.mark.parametrize("name", USELESS)
def test_a_reply_of_no_use_is_a_failure_and_is_not_paid_for_again(
    name: str, asking: Asking
) -> None:
    asking.server.behave, reason = USELESS[name]
    assert re.search(reason, asking.failure())
    assert all(re.search(reason, said) for said in asking.reasons(prompts(1)))
    assert asking.predicted(prompts(1)) == [None]
    asked = asking.server.n_calls
    assert (asked, len(asking.log)) == (2, 2)
    asking.renew()
    assert re.search(reason, asking.failure())
    assert asking.server.n_calls == asked
    asking.renew(asks_again=True)  # with --force
    asking.server.behave = honest
    assert asking.explain().text == EXPLANATION
    assert asking.predicted(prompts(1)) == [False]
    assert asking.server.n_calls == asked + 2


BROKEN = {
    "nothing": b"", "HTML": b"<html><script>alert(1)</script>", "torn": b'{"choices": [{"mess',
    "no text": b"\xff\xfe\x00", "a list": b"[]", "deep": b"[" * 100_000, "no choices": b"{}",
    "an error": b'{"error": {"message": "out of memory"}}',
}  # fmt: skip


@pytest.mark.parametrize("kind", ["application/json", "text/html"])
@pytest.mark.parametrize("name", BROKEN)
def test_a_body_that_is_no_chat_completion(name: str, kind: str, asking: Asking) -> None:
    asking.server.behave = raw(BROKEN[name], kind)
    reason = asking.failure()
    assert re.match("the reply is (not JSON|no chat completion|an error: out of memory)", reason)
    assert reason.isprintable()
    assert len(asking.log) == 0


def test_markup_is_kept_as_text(asking: Asking) -> None:
    text = "<script>alert('x')</script> <img src=x onerror=y> after **let**"
    asking.server.behave = says(text)
    found = asking.explain()
    assert (found.text, found.reply) == (text, text)


def test_a_reply_in_words_where_a_schema_was_asked_for_is_asked_for_in_words(
    asking: Asking,
) -> None:
    asking.server.behave = says("Active when someone dances.")
    assert asking.explain().text == "Active when someone dances."
    first, second = (call.body for call in asking.server.calls)
    assert "response_format" in first
    assert "response_format" not in second
    assert '"left_out": ["response_format"]' in asking.explain().request


def test_bad_calls_leave_the_good_ones_alone(asking: Asking) -> None:
    bad = [says("perhaps"), status(500, {"x-should-retry": "false"}), raw(b"<html>"), says("")]
    asking.renew(concurrency=1)
    asking.server.faults.extend([honest, *bad, honest])
    assert asking.predicted(prompts(8)) == [False, None, None, None, None, True, False, True]


PARAMETERS: dict[str, tuple[Behaviour, set[str], set[str]]] = {
    # behaviour: (what is left out, what stands in for it)
    "temperature": (rejects("temperature"), {"temperature"}, set()),
    "format": (rejects("response_format"), {"response_format"}, set()),
    "format by another name": (rejects("response_format", says="json_schema is unknown"),
                               {"response_format"}, set()),
    "limit": (rejects("max_completion_tokens"), {"max_completion_tokens"}, {"max_tokens"}),
    "both limits": (rejects("max_completion_tokens", "max_tokens"),
                    {"max_completion_tokens", "max_tokens"}, set()),
    "all": (rejects("temperature", "response_format", "max_completion_tokens", "max_tokens"),
            {"temperature", "response_format", "max_completion_tokens", "max_tokens"}, set()),
    "422": (rejects("temperature", code=422), {"temperature"}, set()),
}  # fmt: skip


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_parameter_that_is_not_accepted_is_left_out_from_then_on(
    name: str, asking: Asking
) -> None:
    behave, left_out, instead = PARAMETERS[name]
    asking.server.behave = behave
    found = asking.explain()
    assert found.text == EXPLANATION
    before = asking.server.n_calls
    assert before == 1 + len(left_out)
    assert asking.predicted(prompts(6)) == [False, True] * 3
    later = [call.body for call in asking.server.calls[before:]]
    assert len(later) == 6
    expected = {"temperature", "response_format", "max_completion_tokens"} - left_out | instead
    for body in later:
        assert set(body) == expected | {"model", "messages"}
    assert asking.warnings == {f"the endpoint does not accept {n}: left out": 1 for n in left_out}
    assert all(f'"{parameter}"' in found.request.split('"left_out"')[1] for parameter in left_out)


def test_the_named_parameter_goes_and_not_the_one_that_is_advised(asking: Asking) -> None:
    message = "'max_completion_tokens' is unknown. Use 'max_tokens' instead; temperature is fine"
    asking.server.faults.append(status(400, message=message, param="max_completion_tokens"))
    asking.explain()
    assert set(asking.server.calls[1].body) == {
        "model", "messages", "temperature", "response_format", "max_tokens"
    }  # fmt: skip


def test_a_400_that_names_nothing_is_a_failure_and_not_a_loop(asking: Asking) -> None:
    asking.server.behave = status(400, message="something is wrong")
    assert asking.failure() == "HTTP 400: something is wrong"
    assert asking.server.n_calls == 1


def test_an_empty_purse_ends_the_calls_at_once(asking: Asking) -> None:
    asking.renew(concurrency=2)
    asking.server.faults.extend([honest] * 5)
    asking.server.behave = QUOTA
    found = asking.classify(prompts(40))
    assert sum(isinstance(v, Verdict) for v in found) == 5
    assert not any(isinstance(v, Verdict) for v in found[7:])
    assert asking.server.n_calls <= 5 + 2  # those in flight; none is tried again
    assert "not asked: the quota of this key is used up" in str(found[-1])
    assert sum(asking.warnings.values()) == 1
    asking.renew()
    asking.server.behave = honest
    before = asking.server.n_calls
    assert asking.predicted(prompts(40)) == [False, True] * 20
    assert asking.server.n_calls == before + 35  # what was paid for is not asked again


def test_a_key_that_is_withdrawn_ends_the_calls(asking: Asking) -> None:
    asking.renew(concurrency=1)
    asking.server.faults.extend([honest] * 3)
    asking.server.behave = status(401, message="revoked")
    assert asking.predicted(prompts(30)) == [False, True, False] + [None] * 27
    assert asking.server.n_calls == 4


def test_a_server_that_dies_is_not_waited_for_a_thousand_times(tmp_path: Path) -> None:
    with serving() as server:
        asking = Asking(server, tmp_path, settings={"max_retries": 0})
        assert asking.predicted(prompts(2)) == [False, True]
    reasons = asking.reasons(prompts(200))
    assert len(reasons) == 198
    assert sum(reason == "the connection failed or was cut" for reason in reasons) < 30
    assert "not asked: 20 calls in a row failed" in reasons[-1]


def test_single_bad_prompts_in_a_row_do_not_end_the_calls(asking: Asking) -> None:
    asking.server.faults.extend([status(400, message="too long")] * 30)
    asking.renew(concurrency=1)
    assert asking.predicted(prompts(32)) == [None] * 30 + [False, True]
