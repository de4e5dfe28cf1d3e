"""Sentences of the two tasks a demo model learns: name inhibition, and the item left of a list.

Every sentence ends with its answer and a full stop. Templates and words are in task_words.json.
All functions are pure: the randomness is the `random.Random` they are given.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

WORDS_FILE = Path(__file__).with_name("task_words.json")

LIST_LENGTHS = (2, 2, 3, 3, 4, 4, 5, 6, 7, 8)
"""Lengths of the lists, drawn evenly from here: short lists are twice as common as long ones."""

IN_ORDER_SHARE = 0.7
"""Share of lists whose rest is told in list order; the others are shuffled."""


@dataclass(frozen=True)
class TaskWords:
    """Templates, and the words that fill them."""

    name_inhibition: tuple[str, ...]
    list: tuple[str, ...]
    names: tuple[str, ...]
    nouns: tuple[str, ...]
    places: tuple[str, ...]


@dataclass(frozen=True)
class NameSentence:
    """Two names, then one of them (the subject) does something to the other (the answer)."""

    text: str
    first: str
    second: str
    subject: str
    answer: str


@dataclass(frozen=True)
class ListSentence:
    """A list, then all of it but one item (the answer) as `rest`, then that item."""

    text: str
    items: tuple[str, ...]
    rest: tuple[str, ...]
    answer: str


TaskSentence = NameSentence | ListSentence


def load_words(path: Path = WORDS_FILE) -> TaskWords:
    """The words and templates in `path`."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return TaskWords(**{name: tuple(values) for name, values in content.items()})


def name_sentence(words: TaskWords, rng: Random) -> NameSentence:
    """A name-inhibition sentence; the subject is as often the first name as the second."""
    first, second = rng.sample(words.names, 2)
    subject, answer = rng.sample((first, second), 2)
    text = rng.choice(words.name_inhibition).format(
        A=first,
        B=second,
        S=subject,
        T=answer,
        o=rng.choice(words.nouns),
        p=rng.choice(words.places),
    )
    return NameSentence(text, first, second, subject, answer)


def list_sentence(words: TaskWords, rng: Random) -> ListSentence:
    """A list of different nouns, of which each is as often the missing one."""
    items = tuple(rng.sample(words.nouns, rng.choice(LIST_LENGTHS)))
    answer = rng.choice(items)
    rest = [item for item in items if item != answer]
    if rng.random() >= IN_ORDER_SHARE:
        rng.shuffle(rest)
    text = rng.choice(words.list).format(
        A=rng.choice(words.names),
        all=enumerated("a", items),
        rest=enumerated("the", rest),
        t=answer,
    )
    return ListSentence(text, items, tuple(rest), answer)


def task_sentence(words: TaskWords, rng: Random) -> TaskSentence:
    """A sentence of either task, evenly."""
    return rng.choice((name_sentence, list_sentence))(words, rng)


def enumerated(article: str, nouns: Sequence[str]) -> str:
    """ "a cup", "a cup and a ball", "a cup, a ball, and a hat"."""
    phrases = [f"{article} {noun}" for noun in nouns]
    if len(phrases) < 3:
        return " and ".join(phrases)
    return ", ".join(phrases[:-1]) + f", and {phrases[-1]}"


def record(words: TaskWords) -> str:
    """What a model has seen that was trained on these sentences, as JSON: templates up to the answer,
    words, and lengths of lists. The job reads it from the model's folder, and reports task prompts that
    the model cannot have learned by heart apart."""
    templates = [t.removesuffix(" {T}.") for t in words.name_inhibition]
    templates += [t.removesuffix(" {t}.") for t in words.list]
    content = {
        "templates": templates,
        "names": words.names,
        "nouns": words.nouns,
        "places": words.places,
        "list_lengths": sorted(set(LIST_LENGTHS)),
    }
    return json.dumps(content, indent=1) + "\n"


def prompt_of(sentence: TaskSentence) -> str:
    """The sentence up to its answer, without the space before it."""
    return sentence.text.removesuffix(f" {sentence.answer}.")
