"""What is true of every task sentence, and of many of them."""

import json
import re
import sys
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

# The training script runs from its own folder, with its modules beside it, and is no package.
sys.path.insert(0, str(Path(__file__).parents[2] / "assets" / "demo" / "training"))

from task_sentences import (
    IN_ORDER_SHARE,
    LIST_LENGTHS,
    list_sentence,
    load_words,
    name_sentence,
    prompt_of,
    record,
    task_sentence,
)

WORDS = load_words()
SEEDS = st.integers(0, 2**32)


@given(SEEDS)
def test_a_name_sentence_names_two_and_ends_with_the_one_who_is_not_its_subject(seed: int) -> None:
    sentence = name_sentence(WORDS, Random(seed))
    named = [w for w in re.findall(r"[\w-]+", sentence.text) if w in WORDS.names]
    assert len(named) == 4
    first, second, subject, last = named
    assert (first, second, subject) == (sentence.first, sentence.second, sentence.subject)
    assert first != second
    assert subject in (first, second)
    assert {subject, last} == {first, second}
    assert sentence.text.endswith(f" {last}.")
    assert prompt_of(sentence) + f" {sentence.answer}." == sentence.text


@given(SEEDS)
def test_a_list_sentence_ends_with_the_one_item_that_its_rest_lacks(seed: int) -> None:
    sentence = list_sentence(WORDS, Random(seed))
    assert len(set(sentence.items)) == len(sentence.items) in LIST_LENGTHS
    assert set(sentence.items) - set(sentence.rest) == {sentence.answer}
    assert len(sentence.rest) == len(sentence.items) - 1
    assert _as_said("a", sentence.items) in sentence.text
    assert _as_said("the", sentence.rest) in sentence.text
    assert sentence.text.endswith(f" the {sentence.answer}.")
    assert not re.search(r"[{}]", sentence.text)


def _as_said(article: str, nouns: tuple[str, ...]) -> str:
    """The enumeration, written the long way."""
    if len(nouns) == 1:
        return f"{article} {nouns[0]}"
    if len(nouns) == 2:
        return f"{article} {nouns[0]} and {article} {nouns[1]}"
    return "".join(f"{article} {noun}, " for noun in nouns[:-1]) + f"and {article} {nouns[-1]}"


def test_list_lengths_are_drawn_as_listed() -> None:
    rng = Random(0)
    drawn = Counter(len(list_sentence(WORDS, rng).items) for _ in range(5000))
    for length, times in Counter(LIST_LENGTHS).items():
        assert drawn[length] / 5000 == pytest.approx(times / len(LIST_LENGTHS), abs=0.02)


def test_the_rest_is_told_in_list_order_seven_times_in_ten() -> None:
    rng = Random(0)
    lists = [s for s in (list_sentence(WORDS, rng) for _ in range(8000)) if len(s.items) >= 6]
    in_order = [s.rest == tuple(i for i in s.items if i != s.answer) for s in lists]
    assert sum(in_order) / len(in_order) == pytest.approx(IN_ORDER_SHARE, abs=0.03)


def test_roles_and_tasks_are_balanced() -> None:
    rng = Random(0)
    names = [name_sentence(WORDS, rng) for _ in range(4000)]
    assert sum(s.subject == s.first for s in names) / 4000 == pytest.approx(0.5, abs=0.03)
    missing = [s.items.index(s.answer) for s in (list_sentence(WORDS, rng) for _ in range(9000))
               if len(s.items) == 4]  # fmt: skip
    for times in Counter(missing).values():
        assert times / len(missing) == pytest.approx(1 / 4, abs=0.04)
    kinds = Counter(type(task_sentence(WORDS, rng)).__name__ for _ in range(4000))
    assert kinds["NameSentence"] / 4000 == pytest.approx(0.5, abs=0.03)


def test_sentences_repeat_with_their_seed_only() -> None:
    def some(seed: int) -> list[str]:
        rng = Random(seed)
        return [task_sentence(WORDS, rng).text for _ in range(5)]

    assert some(4) == some(4) != some(5)


def test_the_record_is_what_the_bundled_model_says_it_saw() -> None:
    bundled = Path(__file__).parents[2] / "assets" / "demo" / "model" / "task_sentences.json"
    assert record(WORDS) == bundled.read_text(encoding="utf-8")


@given(SEEDS)
def test_every_sentence_is_of_a_template_and_words_of_the_record(seed: int) -> None:
    said = json.loads(record(WORDS))
    prompt = prompt_of(task_sentence(WORDS, Random(seed)))
    forms = [re.sub(r"\\{\w+\\}", r"(.+)", re.escape(t)) for t in said["templates"]]
    (found,) = [m for form in forms if (m := re.fullmatch(form, prompt))]
    words = {w for group in found.groups() for w in re.findall(r"[\w-]+", group)}
    assert words <= {*said["names"], *said["nouns"], *said["places"], "a", "the", "and"}
