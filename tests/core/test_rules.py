"""Rules: the words of a text, what a clause fits, that the sentence says what `predict` does."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from explorer.core.rule_clauses import (
    AT_END,
    Clause,
    Phrase,
    Rule,
    is_in_place,
    log_odds,
    words_after,
    words_of,
)
from explorer.core.rules import because, decide, evidence, parse, predict, sentence, to_json

LET = Phrase(("let",), 3, 0)
WANT_TO = Phrase(("want", "to"), 2, 1)
RULE = Rule(
    clauses=(
        Clause(True, 3, (LET, WANT_TO), 5, 1),
        Clause(False, AT_END, (Phrase(("had",), 0, 4),), 0, 4),
        Clause(True, None, (Phrase((",",), 2, 0),), 2, 0),
    ),
    default=False, rest_active=2, rest_inactive=6, n_active=9, n_inactive=11, held_out=0.75,
)  # fmt: skip
NOTHING = Rule((), False, 9, 11, 9, 11)
TEXTS = st.lists(st.text(max_size=6), max_size=8)
WORDS = st.sampled_from(["let", "want", "to", "had", ",", "go", "'s"])


# --- words ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        ([" Let", " us", " go"], ("let", "us", "go")),
        (["w", " enough", " we", "ather"], ("w", "enough", "weather")),
        (['"', "Well", ",", " don", "’t", "!\n"], ('"', "well", ",", "don", "'t", "!")),
        (["There", "'s", " a"], ("there", "'s", "a")),
        ([" o", "'", "clock"], ("o", "'", "clock")),
        ([" STRASSE", " straße"], ("strasse", "strasse")),
        (["a_b", " --", " 12"], ("a", "_", "b", "-", "-", "12")),
        ([" cafe", "\u0301"], ("cafe\u0301",)),
        (["<0xE2>", "<0xZZ>"], ("<0xe2>", "<", "0xzz", ">")),
        ([" \n", "\t"], ()),
        ([], ()),
    ],
)
def test_words_of_a_text(tokens: list[str], words: tuple[str, ...]) -> None:
    assert words_of(tokens) == words


@given(TEXTS)
def test_how_a_text_is_cut_into_tokens_does_not_matter(tokens: list[str]) -> None:
    assert words_of(tokens) == words_of(["".join(tokens)])


@given(st.lists(WORDS, max_size=7), st.lists(WORDS, min_size=1, max_size=2))
def test_words_after_a_phrase_are_those_after_its_last_occurrence(
    words: list[str], phrase: list[str]
) -> None:
    ends = [
        i
        for i in range(len(words) + 1)
        if i >= len(phrase) and words[i - len(phrase) : i] == phrase
    ]
    assert words_after(words, phrase) == (len(words) - max(ends) if ends else None)


@given(st.lists(WORDS, max_size=7), st.lists(WORDS, min_size=1, max_size=2), st.integers(1, 7))
def test_within_n_words_means_the_phrase_is_whole_in_them(
    words: list[str], phrase: list[str], within: int
) -> None:
    tail = words[-within:]
    pieces = [tail[i : i + len(phrase)] for i in range(len(tail))]
    after = words_after(words, phrase)
    assert is_in_place(after, len(phrase), within) == (phrase in pieces)
    assert is_in_place(after, len(phrase), AT_END) == (words[-len(phrase) :] == phrase)
    assert is_in_place(after, len(phrase), None) == (after is not None)


def test_log_odds_by_hand_and_their_signs() -> None:
    assert log_odds(3, 1, 4, 6) == pytest.approx(math.log((3.5 / 1.5) / (1.5 / 5.5)))
    assert log_odds(1, 3, 6, 4) == pytest.approx(-log_odds(3, 1, 4, 6))
    assert log_odds(2, 2, 4, 4) == 0


# --- what a rule says --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "active", "clause", "before_end"),
    [
        (" Let us go", True, 0, 2),
        (" Let us go then", False, None, None),  # the fourth word from the end is not among three
        (" they want to", True, 0, 0),
        (" want to go there", False, None, None),  # the pair is not whole in the last three
        (" want to go", True, 0, 1),
        (" let it had", True, 0, 2),  # the first clause decides, though the second fits as well
        (" what he had", False, 1, 0),
        (", it had", False, 1, 0),
        (" had, then a long way off", True, 2, 5),
        (" had gone", False, None, None),
        ("", False, None, None),
    ],
)
def test_the_first_clause_that_fits_decides(
    text: str, active: bool, clause: int | None, before_end: int | None
) -> None:
    decision = decide(RULE, [text])
    assert (decision.active, predict(RULE, [text])) == (active, active)
    first = decision.fired[0] if decision.fired else None
    assert (first and first.clause, first and first.before_end) == (clause, before_end)


def test_all_clauses_that_fit_are_named_with_their_nearest_phrase() -> None:
    decision = decide(RULE, [" let, want to had"])
    assert [(f.clause, f.phrase.words, f.before_end) for f in decision.fired] == [
        (0, ("want", "to"), 1), (1, ("had",), 0), (2, (",",), 3),
    ]  # fmt: skip
    # The pair is nearer than "let", which is too far off in any case.
    assert because(RULE, decision) == "Active because of “want to” 1 word before the end."


def test_reasons_in_words() -> None:
    assert because(RULE, decide(RULE, [" let it go"])).endswith("“let” 2 words before the end.")
    assert because(RULE, decide(RULE, [" had"])) == "Inactive because of “had” at the end."
    assert "by default" in because(RULE, decide(RULE, [" so"]))
    assert "claims nothing" in because(NOTHING, decide(NOTHING, [" so"]))


def test_the_sentence_names_every_clause_in_order_and_the_default() -> None:
    assert sentence(RULE) == (
        "Active when “let” or “want to” is among the last 3 words; otherwise inactive when the text "
        "ends with “had”; otherwise active when the text contains “,”; in all other cases inactive."
    )


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        (NOTHING, "taken as inactive, the more frequent case."),
        (Rule((), True, 12, 8, 12, 8), "taken as active, the more frequent case."),
        (Rule((), False, 5, 5, 5, 5), "taken as inactive, a guess, for both were as frequent."),
    ],
)
def test_a_rule_without_clauses_says_that_it_claims_nothing(rule: Rule, why: str) -> None:
    said = sentence(rule)
    assert said.startswith("Too little evidence") and said.endswith(why)
    assert predict(rule, [" let"]) is rule.default


def test_evidence_has_counts_and_log_odds_for_each_clause() -> None:
    lines = evidence(RULE)
    assert len(lines) == 5  # three clauses, the rest, prompts left out
    assert "5 of 9 active and 1 of 11 inactive train prompts, log-odds +2.1" in lines[0]
    assert "“let” 3 and 0, “want to” 2 and 1" in lines[0]
    assert "log-odds −2.4" in lines[1]
    assert lines[3] == (
        "All other cases inactive: 2 of 9 active and 6 of 11 inactive train prompts"
    )
    assert lines[4].endswith("0.75")
    assert evidence(NOTHING) == []


def test_invisible_characters_are_made_visible() -> None:
    rule = replace(RULE, clauses=(Clause(True, None, (Phrase(("\u202e",), 3, 0),), 3, 0),))
    assert "<0x202E>" in sentence(rule) and "\u202e" not in sentence(rule)


# --- JSON --------------------------------------------------------------------------------------


phrases = st.builds(
    Phrase, st.lists(WORDS, min_size=1, max_size=2).map(tuple), st.integers(0, 9), st.integers(0, 9)
)
clauses = st.builds(
    Clause, st.booleans(), st.none() | st.integers(0, 9),
    st.lists(phrases, min_size=1, max_size=3).map(tuple), st.integers(0, 9), st.integers(0, 9),
)  # fmt: skip
rules = st.builds(
    Rule, st.lists(clauses, max_size=3).map(tuple), st.booleans(), st.integers(0, 9),
    st.integers(0, 9), st.just(9), st.just(9), st.none() | st.floats(0, 1),
)  # fmt: skip


@given(rules)
def test_a_rule_survives_json(rule: Rule) -> None:
    assert parse(to_json(rule)) == rule


@given(st.text(max_size=12))
def test_every_word_of_a_text_can_stand_in_a_rule(text: str) -> None:
    for word in words_of([text]):
        phrase = Phrase((word,), 3, 0)
        rule = Rule((Clause(True, None, (phrase,), 3, 0),), False, 0, 3, 3, 3)
        assert parse(to_json(rule)) == rule
        assert predict(rule, [text])


def changed(*path: str | int, to: Any) -> str:
    """The JSON of RULE with one entry another."""
    whole = json.loads(to_json(RULE))
    entry = whole
    for name in path[:-1]:
        entry = entry[name]
    entry[path[-1]] = to
    return json.dumps(whole)


BAD = {
    "empty": "", "no JSON": "active when 'let'", "a list": "[]", "null": "null", "a number": "3",
    "deep": "[" * 50_000, "long": '"' + "a" * 200_000 + '"', "big number": "9" * 5_000,
    "no entries": "{}", "other version": changed("version", to=2),
    "version true": changed("version", to=True), "no clauses": changed("clauses", to=None),
    "clause null": changed("clauses", 0, to=None), "no phrases": changed("clauses", 0, "phrases", to=[]),
    "predicts maybe": changed("clauses", 0, "predicts", to="maybe"),
    "within −1": changed("clauses", 0, "within", to=-1),
    "within 1.5": changed("clauses", 0, "within", to=1.5),
    "within true": changed("clauses", 0, "within", to=True),
    "within text": changed("clauses", 0, "within", to="3"),
    "default": changed("default", to=False), "held_out": changed("held_out", to=1.5),
    "held_out NaN": changed("held_out", to=math.nan), "held_out text": changed("held_out", to="1"),
    "count −1": changed("n_active", to=-1), "count 10^30": changed("n_active", to=10**30),
    "count above total": changed("clauses", 0, "n_active", to=10),
    "rest above total": changed("rest_inactive", to=12),
    "phrase text": changed("clauses", 0, "phrases", 0, to="let"),
    "no words": changed("clauses", 0, "phrases", 0, "words", to=[]),
    "three words": changed("clauses", 0, "phrases", 0, "words", to=["a", "b", "c"]),
    "no word": changed("clauses", 0, "phrases", 0, "words", to=[""]),
    "two in one": changed("clauses", 0, "phrases", 0, "words", to=["want to"]),
    "upper case": changed("clauses", 0, "phrases", 0, "words", to=["Let"]),
    "markup": changed("clauses", 0, "phrases", 0, "words", to=["<b>let</b>"]),
    "word a number": changed("clauses", 0, "phrases", 0, "words", to=[3]),
    "phrase counts": changed("clauses", 0, "phrases", 0, "n_inactive", to=99),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_hostile_json_is_a_value_error(name: str) -> None:
    with pytest.raises(ValueError, match=r"^expected ") as caught:
        parse(BAD[name])
    assert len(str(caught.value)) < 200
    assert parse(changed("n_active", to=9)) == RULE  # the control: the same path, a good value


def test_entries_that_are_not_known_and_stored_log_odds_change_nothing() -> None:
    assert parse(changed("note", to="hello")) == RULE
    assert parse(changed("clauses", 0, "log_odds", to=99)) == RULE
