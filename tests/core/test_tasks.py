"""What is true of every task prompt, for two tokenizers; and what happens where words or room are few."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from explorer.core import task_material
from explorer.core.accuracy import Accuracy, wilson_interval
from explorer.core.task_seen import UNKNOWN, Condition, TaskError, read_seen
from explorer.core.tasks import (
    LAUNDRY_LIST,
    LONGEST_LIST,
    NAME_INHIBITION,
    TaskMaker,
    TaskPrompt,
)

DEMO = Path(__file__).parents[2] / "assets" / "demo"
SEEN = read_seen(DEMO / "model")
_BACKEND = Tokenizer.from_file(str(DEMO / "model" / "tokenizer.json"))
_IDS: dict[str, int] = {}


def demo_encode(texts: Sequence[str]) -> list[list[int]]:
    return [e.ids for e in _BACKEND.encode_batch(list(texts), add_special_tokens=False)]


def word_encode(texts: Sequence[str]) -> list[list[int]]:
    """A tokenizer that knows every word with the space before it, and no word without one."""
    return [
        [_IDS.setdefault(piece, len(_IDS)) for piece in re.findall(r" \w+|\w|[^\w]", text)]
        for text in texts
    ]


MAKERS = {
    "demo": TaskMaker(demo_encode, 127, SEEN),
    "words": TaskMaker(word_encode, 200),
}
CASES = st.sampled_from([("demo", True), ("demo", False), ("words", None)])
SEEDS = st.integers(0, 2**32)


def is_token(maker: str, word: str, token: int) -> bool:
    encode = demo_encode if maker == "demo" else word_encode
    return encode([f" {word}"]) == [[token]]


def check_common(maker: str, prompts: list[TaskPrompt], repeats: int) -> None:
    encode = demo_encode if maker == "demo" else word_encode
    places = Counter(p.position for p in prompts)
    assert places == dict.fromkeys(range(prompts[0].n), repeats)  # every place equally often
    for p in prompts:
        assert [list(p.token_ids)] == encode([p.text])
        assert len(p.token_ids) <= MAKERS[maker].max_tokens
        assert not p.text.endswith(" ") and not re.search(r"[{}]", p.text)
        assert len(set(p.words)) == p.n == len(p.candidates)
        assert all(is_token(maker, w, t) for w, t in zip(p.words, p.candidates, strict=True))
        # Each mention is the candidate's own token, and its first.
        assert [p.token_ids.index(t) for t in p.candidates] == list(p.mentions)
        # The answer continues the prompt as the token that it is.
        answer = p.words[p.position]
        assert encode([f"{p.text} {answer}"]) == [[*p.token_ids, p.answer]]


@settings(max_examples=60, deadline=None)
@given(CASES, SEEDS, st.integers(2, 18), st.integers(1, 3), st.data())
def test_a_list_lacks_exactly_its_answer(
    case: tuple[str, bool | None], seed: int, n: int, repeats: int, data: st.DataObject
) -> None:
    maker, words = case
    template = data.draw(st.sampled_from(task_material.LIST_TEMPLATES))
    prompts = MAKERS[maker].lists(template, n, repeats, words=words, seed=seed)
    check_common(maker, prompts, repeats)
    for p in prompts:
        assert (p.task, p.template, p.n) == (LAUNDRY_LIST, template, n)
        told = Counter(token for token in p.token_ids if token in p.candidates)
        assert told[p.answer] == 1
        assert all(told[token] == 2 for token in p.candidates if token != p.answer)
        # The rest is told in list order.
        rest = [w for place, w in enumerate(p.words) if place != p.position]
        said = [re.search(rf"the {w}\b", p.text) for w in rest]
        starts = [match.start() for match in said if match]
        assert len(starts) == len(rest) and starts == sorted(starts)


@settings(max_examples=60, deadline=None)
@given(CASES, SEEDS, st.integers(1, 4), st.sampled_from(task_material.NAME_TEMPLATES))
def test_of_two_names_one_acts_and_the_other_is_the_answer(
    case: tuple[str, bool | None], seed: int, repeats: int, template: str
) -> None:
    maker, words = case
    prompts = MAKERS[maker].names(template, repeats, words=words, seed=seed)
    check_common(maker, prompts, repeats)
    for p in prompts:
        assert (p.task, p.n) == (NAME_INHIBITION, 2)
        assert p.mentions[0] < p.mentions[1]  # the first name is mentioned first
        told = Counter(re.findall(r"\w+", p.text))
        assert told[p.words[p.position]] == 1 and told[p.words[1 - p.position]] == 2


def test_equal_seeds_make_equal_prompts_and_others_do_not() -> None:
    maker, template = MAKERS["demo"], task_material.LIST_TEMPLATES[0]
    first = maker.lists(template, 5, 2, words=True, seed=1)
    assert first == maker.lists(template, 5, 2, words=True, seed=1)
    assert first != maker.lists(template, 5, 2, words=True, seed=2)


# --- seen and unseen --------------------------------------------------------------------------


def test_the_demo_model_says_what_its_training_saw() -> None:
    """The folder's file is what the training script drew its sentences from."""
    words = json.loads((DEMO / "training" / "task_words.json").read_text())
    assert SEEN is not None
    whole = {re.sub(r" \{[Tt]\}\.$", "", t) for t in words["name_inhibition"] + words["list"]}
    assert SEEN.templates == whole
    for name in ("names", "nouns", "places"):
        assert list(getattr(SEEN, name)) == words[name]
    assert SEEN.list_lengths == set(range(2, 9))


@settings(max_examples=40, deadline=None)
@given(st.booleans(), SEEDS, st.integers(2, 18), st.sampled_from(task_material.LIST_TEMPLATES))
def test_what_is_called_unseen_never_occurred(
    words: bool, seed: int, n: int, template: str
) -> None:
    assert SEEN is not None
    content = json.loads((DEMO / "training" / "task_words.json").read_text())
    every = " ".join(text for texts in content.values() for text in texts)
    occurred = set(re.findall(r"\w+", every))
    is_known = any(t.startswith(template) for t in content["list"])
    for p in MAKERS["demo"].lists(template, n, 1, words=words, seed=seed):
        assert p.condition == Condition(is_known, words, n <= 8)
        assert all((word in occurred) == words for word in p.words)


def test_where_training_is_unknown_nothing_is_called_seen() -> None:
    maker = MAKERS["words"]
    assert maker.kinds == (None,)
    for p in maker.lists(task_material.LIST_TEMPLATES[0], 12, 1):
        assert p.condition == UNKNOWN


def test_half_of_the_templates_at_least_are_new_to_the_demo_model() -> None:
    for task in (NAME_INHIBITION, LAUNDRY_LIST):
        seen, unseen = (MAKERS["demo"].templates(task, kind) for kind in (True, False))
        assert len(seen) >= 4 and len(unseen) >= 4
        assert {*seen, *unseen} == set(MAKERS["demo"].templates(task))


@pytest.mark.parametrize("condition", [UNKNOWN, Condition(True, False, True)])
def test_conditions_are_read_as_they_are_written(condition: Condition) -> None:
    assert Condition.parse(str(condition)) == condition


def test_a_text_that_is_no_condition_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a condition"):
        Condition.parse("template seen")


@pytest.mark.parametrize("content", ["[]", "{}", "no json", '{"templates": 3}'])
def test_a_file_that_says_nothing_readable_is_an_error(tmp_path: Path, content: str) -> None:
    assert read_seen(tmp_path) is None
    (tmp_path / "task_sentences.json").write_text(content)
    with pytest.raises(TaskError, match="mend or remove it"):
        read_seen(tmp_path)


# --- too few, too long ------------------------------------------------------------------------


def letters(texts: Sequence[str]) -> list[list[int]]:
    """A tokenizer with no whole word but two names and three nouns."""
    known = [" John", " Mary", " book", " cup", " hat"]
    pattern = "|".join([*(rf"{word}\b" for word in known), "."])
    return [[ord(p) if len(p) == 1 else 500 + known.index(p) for p in re.findall(pattern, text)]
            for text in texts]  # fmt: skip


def test_too_few_words_are_an_error_that_says_how_many() -> None:
    maker = TaskMaker(letters, 500)
    template = task_material.LIST_TEMPLATES[0]
    assert len(maker.lists(template, 3, 1)) == 3
    assert maker.longest_list(template, None) == 3
    with pytest.raises(TaskError, match=r"needs 4 nouns that are single tokens.* has 3"):
        maker.lists(template, 4, 1)
    with pytest.raises(TaskError, match=r"needs 1 places .* has 0"):
        maker.names(task_material.NAME_TEMPLATES[0], 1)
    assert not maker.has_words(NAME_INHIBITION, task_material.NAME_TEMPLATES[0], None)
    assert maker.has_words(LAUNDRY_LIST, template, None)


@pytest.mark.parametrize("context", [20, 40, 80, 127])
def test_lists_go_as_far_as_the_context_allows(context: int) -> None:
    maker = TaskMaker(demo_encode, context, SEEN)
    for template in task_material.LIST_TEMPLATES:
        longest = maker.longest_list(template, False)
        if longest:
            assert maker.lists(template, longest, 1, words=False)
        if longest < LONGEST_LIST:
            with pytest.raises(TaskError, match="context holds"):
                maker.lists(template, max(2, longest + 1), 6, words=False)
    assert MAKERS["words"].longest_list(task_material.LIST_TEMPLATES[0], None) == LONGEST_LIST


@pytest.mark.parametrize("n", [1, 21])
def test_other_lengths_are_a_mistake(n: int) -> None:
    with pytest.raises(ValueError, match="expected 2 to 20"):
        MAKERS["demo"].lists(task_material.LIST_TEMPLATES[0], n, 1, words=True)


# --- accuracy ---------------------------------------------------------------------------------


@given(st.integers(1, 400), st.data())
def test_the_interval_holds_the_share_and_solves_its_equation(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    low, high = wilson_interval(k, n)
    assert 0 <= low <= k / n <= high <= 1
    for edge in {low, high} - {0.0, 1.0}:  # |share - p| is 1.96 standard errors at p
        assert abs(k / n - edge) == pytest.approx(1.96 * (edge * (1 - edge) / n) ** 0.5, rel=1e-3)


def test_chance_is_beaten_only_where_the_whole_interval_lies_above_it() -> None:
    assert Accuracy(40, 48, 0.5).beats_chance
    assert not Accuracy(30, 48, 0.5).beats_chance
    assert not Accuracy(0, 0, 0.5).beats_chance and Accuracy(0, 0, 0.5).share is None
    with pytest.raises(ValueError, match="expected counts"):
        Accuracy(3, 2, 0.5)
