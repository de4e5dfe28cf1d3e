"""What counts as an answer and what does not: each odd reply beside the plain one it stands for, and
each near miss beside it, which is a failure and never a guess."""

from __future__ import annotations

import json
from typing import Any

import pytest

from precompute.explainers.openai_replies import (
    MAX_EXPLANATION_CHARACTERS,
    MAX_KEPT_CHARACTERS,
    Reply,
    explanation_of,
    verdict_of,
)
from precompute.explainers.protocol import ExplainerFailure


def body(content: Any, finish: str = "stop", usage: Any = None, **message: Any) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": finish, "message": {"content": content, **message}}
    return {"choices": [choice], "usage": usage}


def reply(content: Any, finish: str = "stop", **message: Any) -> Reply:
    return Reply.from_body(body(content, finish, **message))


YES = [
    "yes", "Yes", "Yes.", "YES!", " yes\n", '"yes"', "**Yes**", "`yes`", '{"active": true}',
    '{"active": "yes"}', '```json\n{"active": true}\n```', "```\nyes\n```",
    "<think>It says no dancing, so no? No: yes.</think>\nyes", '\n{"active":true, "why": "x"} ',
]  # fmt: skip
NEITHER = [
    "maybe", "yes and no", "Yes, the head is active.", "no yes", "yess", "true", "1", "[true]", "Y",
    '{"active": 1}', '{"active": null}', '{"active": "true"}', '{"answer": true}', '{"active": tr',
    "<script>yes</script>", "yes<br>", "<think>yes", "да", "{}", '"',
]  # fmt: skip


@pytest.mark.parametrize("text", YES)
def test_a_yes_in_other_clothes_is_a_yes_and_its_no_a_no(text: str) -> None:
    assert verdict_of(reply(text)) is True
    swapped = {"yes": "no", "Yes": "No", "YES": "NO", "true": "false"}
    last = max(swapped, key=text.rfind)
    opposite = swapped[last].join(text.rsplit(last, 1))
    assert verdict_of(reply(opposite)) is False


@pytest.mark.parametrize("text", NEITHER)
def test_what_is_neither_yes_nor_no_is_a_failure(text: str) -> None:
    with pytest.raises(ExplainerFailure, match="neither yes nor no"):
        verdict_of(reply(text))


WORDS = "Active after a verb of motion."


@pytest.mark.parametrize(
    ("content", "structured"),
    [
        (json.dumps({"explanation": WORDS}), True),
        (json.dumps({"explanation": f"  {WORDS}\n"}), False),
        (f'```json\n{{"explanation": "{WORDS}"}}\n```', True),
        (f"<think>Hm.</think>{WORDS}", False),
        (WORDS, False),
        ([{"type": "text", "text": WORDS}], False),
    ],
)
def test_an_explanation_is_found(content: Any, structured: bool) -> None:
    assert explanation_of(reply(content), structured) == WORDS


def test_plain_words_where_json_was_asked_for_are_to_be_asked_for_again() -> None:
    assert explanation_of(reply(WORDS), True) is None


@pytest.mark.parametrize("structured", [True, False])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "empty"), (None, "empty"), ("  \n", "empty"), ({"a": 1}, "empty"), (7, "empty"),
        ('{"explanation": ""}', "empty"), ('{"explanation": "Act', "not the JSON"),
        ('{"explanation": 5}', "not the JSON"), ('{"text": "Active"}', "not the JSON"),
        ('["Active"]', "not the JSON"), ("{" * 9000, "not the JSON"), ("[" * 15_000, "not the JSON"),
        ("I can't help with that.", "refused"), ("I’m sorry, but no.", "refused"),
        ('{"explanation": "I cannot assist."}', "refused"), ("As an AI I will not.", "refused"),
        ("<think>Should I?</think>Sorry, I must decline.", "refused"),
        ("x" * 100_000, "100,000 characters"), ("<b>" * 40_000, "120,000 characters"),
        (json.dumps({"explanation": "x " * 2000}), "where two to three sentences"),
    ],
)  # fmt: skip
def test_what_is_no_explanation_is_a_failure(content: Any, reason: str, structured: bool) -> None:
    with pytest.raises(ExplainerFailure, match=reason) as caught:
        explanation_of(reply(content), structured)
    assert len(str(caught.value)) < 200
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("read", [lambda r: explanation_of(r, False), verdict_of])
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (reply(None, refusal="I will not do that."), "refused: I will not"),
        (reply("yes", refusal="No."), "refused"),
        (reply("yes", "content_filter"), "content filter"),
        (reply("yes", "length"), "cut off"),
        (reply("", "length"), "empty"),
    ],
)
def test_refused_and_cut_replies_are_failures_even_with_words_in_them(
    answer: Reply, reason: str, read: Any
) -> None:
    with pytest.raises(ExplainerFailure, match=reason):
        read(answer)


def test_markup_is_kept_as_the_text_it_is() -> None:
    text = "<script>alert('x')</script> & <b>after</b> “let”"
    assert explanation_of(reply(text), False) == text


def test_an_explanation_at_the_longest_length_is_one() -> None:
    text = "x" * MAX_EXPLANATION_CHARACTERS
    assert explanation_of(reply(text), False) == text
    with pytest.raises(ExplainerFailure, match="two to three sentences"):
        explanation_of(reply(text + "x"), False)


def test_what_is_kept_is_bounded_and_can_be_encoded() -> None:
    long = reply("é" * 100_000, refusal="r" * 100_000)
    assert (len(long.content), long.n_characters) == (MAX_KEPT_CHARACTERS, 100_000)
    assert len(long.refusal) == MAX_KEPT_CHARACTERS
    half = reply("half \ud83d pair")
    assert half.content.encode("utf-8") == b"half ? pair"
    words = explanation_of(reply('{"explanation": "half \\ud83d pair"}'), True)
    assert words is not None
    assert words.encode("utf-8") == b"half ? pair"


@pytest.mark.parametrize(
    "broken",
    [
        [], "text", None, 3, {}, {"choices": None}, {"choices": []}, {"choices": [None]},
        {"choices": [{}]}, {"choices": [{"message": "hi"}]}, {"choices": {"0": {}}},
    ],
)  # fmt: skip
def test_what_is_no_chat_completion_is_a_failure(broken: Any) -> None:
    with pytest.raises(ExplainerFailure, match="no chat completion"):
        Reply.from_body(broken)


def test_an_error_under_status_200_is_named() -> None:
    with pytest.raises(ExplainerFailure, match="error: upstream is down"):
        Reply.from_body({"error": {"message": "upstream\nis down", "code": 502}})


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        ({"prompt_tokens": 7, "completion_tokens": 2}, (7, 2)),
        ({"prompt_tokens": 0, "completion_tokens": 0}, (0, 0)),
        ({"prompt_tokens": -1, "completion_tokens": "2"}, (None, None)),
        ({"prompt_tokens": True, "completion_tokens": 1 << 40}, (None, None)),
        ({"prompt_tokens": 1.5}, (None, None)),
        (None, (None, None)),
        ("many", (None, None)),
    ],
)
def test_only_counts_are_taken_for_counts(usage: Any, counted: tuple[Any, Any]) -> None:
    found = Reply.from_body(body("yes", usage=usage))
    assert (found.tokens_in, found.tokens_out) == counted
