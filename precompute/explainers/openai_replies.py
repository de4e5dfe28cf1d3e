"""What came back, and what may be read out of it: an explanation, a verdict, or the reason for neither.

Nothing is guessed. What is not plainly an answer to the question asked is an ExplainerFailure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from precompute.explainers.protocol import ExplainerFailure

# Two to three sentences are a few hundred characters; a page of text is no explanation of that kind.
MAX_EXPLANATION_CHARACTERS = 2_000
MAX_KEPT_CHARACTERS = 16_000
_SHOWN_CHARACTERS = 60

_THOUGHTS = re.compile(r"\A\s*<think(?:ing)?>.*?</think(?:ing)?>", re.S | re.I)
_FENCE = re.compile(r"\A```(?:json)?[ \t]*\n(.*?)\n?```\Z", re.S | re.I)
_REFUSAL = re.compile(
    r"\A(?:(?:i['’]?m|i am|we['’]?re|we are) (?:very |so |really )?(?:sorry|afraid|unable|not able)"
    r"|sorry\b|i (?:can(?:['’]t|not| not)|won['’]t|will not|must decline|decline)\b|as an ai\b)",
    re.I,
)
_WORDS = {"yes": True, "no": False}


@dataclass(frozen=True)
class Reply:
    """A chat completion, reduced to what is used; every text bounded and encodable."""

    content: str
    n_characters: int
    """Length of the content as it came."""
    refusal: str
    finish_reason: str
    tokens_in: int | None
    """As the endpoint counted them; None where it does not say."""
    tokens_out: int | None

    @staticmethod
    def from_json(row: Mapping[str, Any]) -> Reply:
        """As stored. Raises KeyError, TypeError or ValueError for anything else."""
        values = {f.name: row[f.name] for f in fields(Reply)}
        if not all(isinstance(values[name], str) for name in ("content", "refusal")):
            raise TypeError("texts must be strings")
        return Reply(**values)

    @staticmethod
    def from_body(body: Any, redacted: Callable[[str], str] = str) -> Reply:
        """Read the body of a response, texts through `redacted` before they are cut to length.
        Raises ExplainerFailure where it is no chat completion."""
        if not isinstance(body, dict):
            raise ExplainerFailure("the reply is no chat completion")
        choices = body.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        message = choice.get("message") if isinstance(choice, dict) else None
        if not isinstance(choice, dict) or not isinstance(message, dict):
            error = body.get("error")
            said = error.get("message") if isinstance(error, dict) else error
            reason = f"the reply is an error: {shown(redacted(str(said)))}" if error else ""
            raise ExplainerFailure(reason or "the reply is no chat completion")
        content = redacted(_text_of(message.get("content")))
        usage = body.get("usage")
        return Reply(
            content=bounded(content, MAX_KEPT_CHARACTERS),
            n_characters=len(content),
            refusal=bounded(redacted(_text_of(message.get("refusal"))), MAX_KEPT_CHARACTERS),
            finish_reason=redacted(_text_of(choice.get("finish_reason")))[:40],
            tokens_in=_count_of(usage, "prompt_tokens"),
            tokens_out=_count_of(usage, "completion_tokens"),
        )


def _text_of(value: Any) -> str:
    """A text, or the texts of a list of content parts; "" for anything else."""
    if isinstance(value, list):
        value = "".join(_text_of(part.get("text")) for part in value if isinstance(part, dict))
    # Half a surrogate pair is good JSON and cannot be stored.
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else ""


def _count_of(usage: Any, name: str) -> int | None:
    value = usage.get(name) if isinstance(usage, dict) else None
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31
    return value if is_count else None


def bounded(text: str, limit: int) -> str:
    """At most `limit` characters of a text, with a mark where it was cut."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def shown(text: str, limit: int = _SHOWN_CHARACTERS) -> str:
    """A text inside a reason: one line, bounded, no control characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return bounded(line, limit)


def _answer(reply: Reply) -> str:
    """The content without a model's thoughts and a code fence; failures common to all questions."""
    if reply.refusal:
        raise ExplainerFailure(f"refused: {shown(reply.refusal)}")
    if reply.finish_reason == "content_filter":
        raise ExplainerFailure("refused by the endpoint's content filter")
    if reply.n_characters > MAX_KEPT_CHARACTERS:
        raise ExplainerFailure(f"the reply has {reply.n_characters:,} characters")
    text = _THOUGHTS.sub("", reply.content).strip()
    if fenced := _FENCE.match(text):
        text = fenced[1].strip()
    if _REFUSAL.match(text):
        raise ExplainerFailure(f"refused: {shown(text)}")
    if not text:
        raise ExplainerFailure("the reply is empty")
    if reply.finish_reason == "length":
        raise ExplainerFailure("the reply was cut off at its longest permitted length")
    return text


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def explanation_of(reply: Reply, structured: bool) -> str | None:
    """The words of an explanation. None: plain text where JSON was asked for, so ask in plain words."""
    text = _answer(reply)
    if text[0] in "{[":
        found = _object(text)
        value = found.get("explanation") if found is not None else None
        if not isinstance(value, str):
            raise ExplainerFailure(f"the reply is not the JSON asked for: {shown(text)}")
        text = value.encode("utf-8", "replace").decode("utf-8").strip()
        if not text:
            raise ExplainerFailure("the explanation in the reply is empty")
        if _REFUSAL.match(text):
            raise ExplainerFailure(f"refused: {shown(text)}")
    elif structured:
        return None
    if len(text) > MAX_EXPLANATION_CHARACTERS:
        raise ExplainerFailure(
            f"{len(text):,} characters where two to three sentences were asked for"
        )
    return text


def verdict_of(reply: Reply) -> bool:
    """Yes or no, in JSON or as one word with whatever case, quotes and full stop."""
    text = _answer(reply)
    found = _object(text)
    value = found.get("active") if found is not None else None
    if isinstance(value, bool):
        return value
    word = text if found is None else value if isinstance(value, str) else ""
    verdict = _WORDS.get(word.strip(" \t\r\n\"'`*.!").lower())
    if verdict is None:
        raise ExplainerFailure(f"neither yes nor no: {shown(text)}")
    return verdict
