"""The whole job with a language model: what the server says is what the store holds, whatever goes wrong
is in `failures`, nothing is paid for twice, and the key is nowhere."""

from __future__ import annotations

import json
import signal
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from precompute.corpus import shards
from tests.conftest import demo_documents
from tests.precompute.calling import (
    QUICK,
    Outcome,
    assert_refused,
    call,
    kill_jobs,
    manifest,
    stores,
    tables,
    write_jsonl,
)
from tests.precompute.llm_server import (
    EXPLANATION,
    QUOTA,
    Behaviour,
    LlmServer,
    echoes_key,
    honest,
    inventive,
    judged_active,
    rejects,
    says,
    serving,
    status,
)
from tests.precompute.llm_server import Call as Request
from tests.precompute.openai_asking import EXPLAINED, KEY, everything, rest_of

Call = tuple[object, ...]
PREFLIGHT = 1
"""Calls before the run, to see that the endpoint answers."""


@pytest.fixture(scope="module")
def words(quick_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Call:
    """A run of two seconds in which some heads are studied, explained by the server's model."""
    texts = [text[:60] for text in demo_documents("train", 24)]
    corpus = write_jsonl(tmp_path_factory.mktemp("openai") / "quick.jsonl", texts)
    return (
        "--model", quick_model, "--corpus", corpus, *QUICK, "--prompts", "4", "--candidates", "8",
        "--active-rule", "top:3", "--explainer", "openai", "--openai-model", "tiny",
    )  # fmt: skip


@pytest.fixture(scope="module")
def one_server() -> Iterator[LlmServer]:
    with serving() as server:
        server.key = KEY
        yield server


@pytest.fixture
def server(one_server: LlmServer, monkeypatch: pytest.MonkeyPatch) -> LlmServer:
    """In good order, having been asked nothing."""
    one_server.behave = inventive
    one_server.faults.clear()
    one_server.calls.clear()
    monkeypatch.setenv("OPENAI_BASE_URL", one_server.url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    return one_server


@pytest.fixture(scope="module")
def undisturbed(
    words: Call, one_server: LlmServer, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Outcome, int]:
    """A run that nothing disturbs, and how many replies it paid for, the first call's not counted."""
    one_server.behave = inventive
    one_server.calls.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_BASE_URL", one_server.url)
        patch.setenv("OPENAI_API_KEY", KEY)
        prices = ("--price-in", "1", "--price-out", "4")
        outcome = call(*words, *prices, "--out", tmp_path_factory.mktemp("undisturbed"))
    assert outcome.status == 0, outcome.stderr
    return outcome, one_server.n_calls - PREFLIGHT


# --- what the store holds -------------------------------------------------------------------


def test_the_store_holds_what_the_model_said(undisturbed: tuple[Outcome, int]) -> None:
    store = undisturbed[0].store
    found = tables(store)
    texts = dict(found["tokens"])
    prompt_of = {row[0]: row for row in found["prompts"]}
    token_of = {row[:2]: texts[row[2]] for row in found["studied_neurons"]}
    active = set(found["active_heads"])
    assert len(found["explanations"]) > 5
    for row in found["explanations"]:
        *_, explainer, text, rule, request, reply = row
        question = json.loads(request)["request"]["messages"][-1]["content"]
        assert (explainer, rule) == ("openai", None)
        assert text == f"{EXPLANATION} Number {zlib.crc32(question.encode())}."
        assert json.loads(reply) == {"explanation": text}
        mine = [p for p in found["prompts"] if p[1:3] == row[:2] and p[3] == "train"]
        assert question.count("\n- P=") == len(mine)
    assert len(found["classifications"]) > 20
    for layer, neuron, head_layer, head, _, prompt, is_active, predicted, reply in found[
        "classifications"
    ]:
        row = prompt_of[prompt]
        assert row[1:4] == (layer, neuron, "test")
        text = "".join(texts[i] for i in row[6][row[7] :]) + token_of[layer, neuron]
        assert predicted is judged_active(f"Text: {json.dumps(text, ensure_ascii=False)}")
        assert json.loads(reply) == {"active": predicted}
        assert is_active is ((prompt, head_layer, head) in active)
    assert {row[7] for row in found["classifications"]} == {True, False}
    assert found["failures"] == []


def test_the_run_says_what_it_will_cost_and_what_it_cost(
    undisturbed: tuple[Outcome, int], one_server: LlmServer
) -> None:
    outcome, n_paid = undisturbed
    before, after = outcome.stderr.split("tokens in and", 1)
    assert f"tiny at {one_server.url}: about " in before
    assert "Explaining heads:" in after  # the stage's end, so the estimate came before it
    spent = f"tiny: {n_paid:,} replies, {100 * n_paid:,} tokens in and {10 * n_paid:,} out, $"
    assert spent in outcome.stderr
    facts = manifest(outcome.store)
    assert (facts["openai_model"], facts["openai_base_url"]) == ("tiny", one_server.url)
    assert facts["price_out"] == 4.0


def test_the_key_is_nowhere(words: Call, server: LlmServer, tmp_path: Path) -> None:
    """At an endpoint that sends it back in explanations, verdicts, refusals and errors."""
    sent_back: list[str] = []

    def tells(request: Request) -> None:
        sent_back.append(request.authorization)
        told = f"Your header was {request.authorization}"
        if request.is_explanation:
            return request.say(json.dumps({"explanation": told}))
        kind = zlib.crc32(request.question.encode()) % 4
        (echoes_key, says(told), says(None, refusal=told), inventive)[kind](request)

    server.behave = tells
    more = ("--price-in", "1", "--few-shot", "2", "--neurons-per-layer", "4")
    outcome = call(*words, *more, "--out", tmp_path)
    left = everything(outcome, tmp_path)
    assert len(sent_back) > 20
    assert all(KEY in text for text in sent_back)
    assert "Your header was Bearer [key]" in left
    assert "HTTP 400: bad request with Authorization: Bearer [key]" in left
    assert KEY not in left
    assert KEY.removeprefix("sk-") not in left


# --- nothing twice --------------------------------------------------------------------------


def test_a_killed_job_pays_only_for_what_is_missing(
    words: Call, server: LlmServer, undisturbed: tuple[Outcome, int], tmp_path: Path
) -> None:
    expected, n_paid = undisturbed
    append = "precompute.explainers.reply_log:ReplyLog.append"
    one_by_one = ("--openai-concurrency", "1", "--out", tmp_path)
    killed = kill_jobs(shards.__defaults__ or (0, 0), f"{append}:11", *words, *one_by_one)
    assert killed.stdout == f"{-signal.SIGKILL} partial\n", killed.stderr
    assert server.n_calls == 11 + PREFLIGHT
    (log,) = tmp_path.rglob("replies.jsonl")
    log.write_bytes(log.read_bytes() + b'{"key": "torn')
    outcome = call(*words, *one_by_one)
    assert "1 torn lines" in outcome.stderr
    assert "11 answers were kept from before" in outcome.stderr
    assert server.n_calls == n_paid + 2 * PREFLIGHT
    assert outcome.store.name == expected.store.name
    assert tables(outcome.store) == tables(expected.store)


def test_force_pays_for_nothing_again(
    words: Call, server: LlmServer, undisturbed: tuple[Outcome, int], tmp_path: Path
) -> None:
    first = call(*words, "--out", tmp_path)
    assert server.n_calls == undisturbed[1] + PREFLIGHT
    again = call(*words, "--out", tmp_path, "--force")
    assert server.n_calls == undisturbed[1] + 2 * PREFLIGHT
    assert again.store != first.store
    assert tables(again.store) == tables(first.store)
    assert "tiny: 0 replies, 0 tokens in and 0 out" in again.stderr


def test_a_finished_run_asks_nobody(
    words: Call, server: LlmServer, undisturbed: tuple[Outcome, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    store = undisturbed[0].store
    monkeypatch.setenv("OPENAI_API_KEY", "sk-withdrawn-long-ago")
    more = ("--openai-concurrency", "2", "--max-tokens-spent", "7", "--price-in", "9")
    assert call(*words, *more, "--out", store.parent).store == store
    assert server.n_calls == 0
    assert_refused(call(*words, "--few-shot", "1", "--out", store.parent), 2, "refuses the key")


# --- failures -------------------------------------------------------------------------------


def _after(n_good: int, then: Behaviour) -> Behaviour:
    """Good until `n_good` replies have been paid for; the call before the run is not counted."""
    left = [n_good + PREFLIGHT]

    def behave(request: Request) -> None:
        left[0] -= 1
        (inventive if left[0] >= 0 else then)(request)

    return behave


STOPS: dict[str, tuple[Behaviour, tuple[str, ...], str]] = {
    "quota": (_after(9, QUOTA), (), "not asked: the quota of this key is used up"),
    "key": (_after(9, status(401)), (), "not asked: the endpoint refuses the key (HTTP 401"),
    "budget": (inventive, ("--max-tokens-spent", "990"), "not asked: the 990 tokens of"),
}  # fmt: skip


@pytest.mark.parametrize("name", STOPS)
def test_a_run_that_must_stop_asking_is_published_and_completed_later(
    name: str, words: Call, server: LlmServer, undisturbed: tuple[Outcome, int], tmp_path: Path
) -> None:
    expected, n_paid = undisturbed
    server.behave, more, reason = STOPS[name]
    outcome = call(*words, *more, "--openai-concurrency", "1", "--out", tmp_path)
    found = tables(outcome.store)
    assert server.n_calls == 9 + PREFLIGHT + (name != "budget")
    assert any(row[2].startswith(reason) for row in found["failures"])
    assert all(row[0] == "explanations" for row in found["failures"])
    n_said = len(found["explanations"]) + len(found["classifications"])
    assert n_said == 9
    counts = manifest(outcome.store)["warnings"]
    failed = "explanations or verdicts that failed (see table failures)"
    assert counts[failed] == len(found["failures"]) > 0
    assert any("ended early" in kind for kind in counts)
    assert rest_of(outcome.store) == rest_of(expected.store)
    server.behave = inventive
    before = server.n_calls
    again = call(*words, "--out", tmp_path, "--force")
    assert server.n_calls == before + PREFLIGHT + n_paid - 9
    assert tables(again.store) == tables(expected.store)
    assert stores(tmp_path) == sorted([outcome.store.name, again.store.name])


USELESS: dict[str, Behaviour] = {
    "refusals": says("I can't help with that."),
    "nothing": says(""),
    "errors": status(500, {"x-should-retry": "false"}),
    "long": says("<script>" * 20_000),
}


@pytest.mark.parametrize("name", USELESS)
def test_a_failure_is_never_an_explanation(
    name: str, words: Call, server: LlmServer, undisturbed: tuple[Outcome, int], tmp_path: Path
) -> None:
    expected = undisturbed[0].store
    n_pairs = len(tables(expected)["explanations"])
    server.behave = USELESS[name]
    server.faults.append(honest)  # to the first call
    found = tables((outcome := call(*words, "--out", tmp_path)).store)
    assert len(found["failures"]) == n_pairs
    assert [len(found[table]) for table in EXPLAINED if table != "failures"] == [0, 0, 0, 0]
    assert rest_of(outcome.store) == rest_of(expected)
    assert all(len(row[2]) < 300 and row[2].isprintable() for row in found["failures"])


def test_a_parameter_left_out_is_on_record(words: Call, server: LlmServer, tmp_path: Path) -> None:
    server.behave = rejects("temperature")
    outcome = call(*words, "--out", tmp_path)
    assert manifest(outcome.store)["warnings"]["the endpoint does not accept temperature: left out"]
    for row in tables(outcome.store)["explanations"]:
        asked = json.loads(row[7])
        assert asked["left_out"] == ["temperature"]
        assert "temperature" not in asked["request"]
    assert tables(outcome.store)["failures"] == []


def test_both_explainers_stand_side_by_side(
    words: Call, server: LlmServer, undisturbed: tuple[Outcome, int], tmp_path: Path
) -> None:
    outcome = call(*words, "--explainer", "contrast,openai", "--out", tmp_path)
    found, alone = tables(outcome.store), tables(undisturbed[0].store)
    for name, at in (("explanations", 4), ("classifications", 4), ("head_scores", 4)):
        assert [row for row in found[name] if row[at] == "openai"] == alone[name]
    assert {row[4] for row in found["head_scores"]} == {"contrast", "openai"}
