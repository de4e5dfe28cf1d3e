"""Prompts of two tasks, for any tokenizer: which name is the other one, and which item is left of a list.

Name inhibition: two names, one of them acts, and the answer is the other. Laundry List: a list, then all
of it but one item, and the answer is that item. Every answer is one token, the prompt ends before it, and
each place among the names or in the list is the answer's equally often. Both tasks are those of Merullo,
Eickhoff and Pavlick 2024; the sentences are ours (`task_material`).

A model may have seen such sentences in training: its folder then says which, and prompts are marked by
whether their template, their words and their length are among them. Pure: randomness comes from seeds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from explorer.core.task_material import LIST_TEMPLATES, NAME_TEMPLATES, NAMES, NOUNS, PLACES
from explorer.core.task_seen import UNKNOWN, Condition, SeenSentences, TaskError

NAME_INHIBITION, LAUNDRY_LIST = "name-inhibition", "laundry-list"
TASKS = (NAME_INHIBITION, LAUNDRY_LIST)
TOP1 = " top-1"
"""Ends the name under which a task's top-1 answers are stored."""
SHORTEST_LIST, LONGEST_LIST = 2, 20

EncodeAll = Callable[[Sequence[str]], list[list[int]]]


@dataclass(frozen=True)
class TaskPrompt:
    """A prompt that ends before its answer."""

    task: str
    template: str
    condition: Condition
    text: str
    token_ids: tuple[int, ...]
    """Without BOS."""
    words: tuple[str, ...]
    """The candidates: the two names in the order of their first mention, or the items of the list."""
    candidates: tuple[int, ...]
    """Their tokens."""
    position: int
    """Place of the answer among the candidates, from 0."""
    mentions: tuple[int, ...]
    """Index in `token_ids` of the (last) token of each candidate's first mention."""

    def __post_init__(self) -> None:
        if len(set(self.candidates)) != len(self.words) or len(self.mentions) != len(self.words):
            raise ValueError(f"expected one token and one mention a candidate, got {self}")
        if not 0 <= self.position < len(self.words):
            raise ValueError(f"expected the answer among {len(self.words)}, got {self.position}")

    @property
    def n(self) -> int:
        return len(self.candidates)

    @property
    def answer(self) -> int:
        """The token that is right."""
        return self.candidates[self.position]


def enumerated(article: str, nouns: Sequence[str]) -> str:
    """ "a cup", "a cup and a hat", "a cup, a hat, and a key"."""
    phrases = [f"{article} {noun}" for noun in nouns]
    if len(phrases) < 3:
        return " and ".join(phrases)
    return ", ".join(phrases[:-1]) + f", and {phrases[-1]}"


@dataclass(frozen=True)
class Words:
    """Words of one kind, seen in training or not; each is one token after a space."""

    names: tuple[str, ...]
    nouns: tuple[str, ...]
    places: tuple[str, ...]


class TaskMaker:
    """Makes prompts for one tokenizer and one context, from words that are single tokens."""

    def __init__(
        self, encode_all: EncodeAll, max_tokens: int, seen: SeenSentences | None = None
    ) -> None:
        self._encode_all, self.max_tokens, self.seen = encode_all, max_tokens, seen
        own = seen or SeenSentences(frozenset(), (), (), (), frozenset())
        every = list(dict.fromkeys([*NAMES, *NOUNS, *PLACES, *own.names, *own.nouns, *own.places]))
        ids = encode_all([f" {word}" for word in every])
        self._ids = {w: found[0] for w, found in zip(every, ids, strict=True) if len(found) == 1}
        fresh = [[w for w in pool if w not in own.words] for pool in (NAMES, NOUNS, PLACES)]
        self._unseen = Words(*(self._single(pool) for pool in fresh))
        self._seen = Words(*(self._single(pool) for pool in (own.names, own.nouns, own.places)))

    def _single(self, pool: Sequence[str]) -> tuple[str, ...]:
        """Words of a pool that are one token each, no two the same token."""
        return tuple({self._ids[word]: word for word in pool if word in self._ids}.values())

    @property
    def kinds(self) -> tuple[bool | None, ...]:
        """Kinds of words to try apart: seen and unseen, or one kind where training is unknown."""
        return (None,) if self.seen is None else (True, False)

    def words(self, seen: bool | None) -> Words:
        return self._seen if seen else self._unseen

    def templates(self, task: str, seen: bool | None = None) -> tuple[str, ...]:
        """A task's templates: all, or those seen in training, or the others."""
        every = NAME_TEMPLATES if task == NAME_INHIBITION else LIST_TEMPLATES
        if seen is None or self.seen is None:
            return every
        return tuple(text for text in every if (text in self.seen.templates) == seen)

    def condition(self, template: str, words: bool | None, n: int) -> Condition:
        if self.seen is None:
            return UNKNOWN
        is_list = template in LIST_TEMPLATES
        length = n in self.seen.list_lengths if is_list else True
        return Condition(template in self.seen.templates, bool(words), length)

    def has_words(self, task: str, template: str, words: bool | None) -> bool:
        """Whether there are enough words for the least of prompts: two names, or two items."""
        pool = self.words(words)
        if task == NAME_INHIBITION:
            return len(pool.names) >= 2 and bool(pool.nouns) and bool(pool.places)
        n_items = len(self._items(template, words))
        return n_items >= SHORTEST_LIST and ("{A}" not in template or bool(pool.names))

    def names_fit(self, template: str, words: bool | None) -> bool:
        """Whether the context holds the template's prompts: their words are one token each."""
        pool = self.words(words)
        text = template.format(A=pool.names[0], B=pool.names[1], S=pool.names[0], T=pool.names[1],
                               o=pool.nouns[0], p=pool.places[0])  # fmt: skip
        return len(self._encode_all([text])[0]) <= self.max_tokens

    def _items(self, template: str, words: bool | None) -> tuple[str, ...]:
        """Nouns for a template's lists: those that the template itself does not use."""
        used = set(re.findall(r"\w+", template))
        return tuple(word for word in self.words(words).nouns if word not in used)

    def longest_list(self, template: str, words: bool | None) -> int:
        """The longest list that context and vocabulary hold, at most 20; 0 where not even two do."""
        pool, items = self.words(words), self._items(template, words)
        if "{A}" in template and not pool.names:
            return 0
        who = pool.names if "{A}" in template else ("",)
        n = min(LONGEST_LIST, len(items))
        while n >= SHORTEST_LIST:
            texts = [self._list_text(template, items[:n], n - 1, name) for name in who]
            if max(map(len, self._encode_all(texts))) <= self.max_tokens:
                return n
            n -= 1
        return 0

    def _list_text(self, template: str, items: Sequence[str], position: int, name: str) -> str:
        rest = [item for place, item in enumerate(items) if place != position]
        return template.format(A=name, all=enumerated("a", items), rest=enumerated("the", rest))

    def lists(
        self, template: str, n: int, repeats: int, *, words: bool | None = None, seed: int = 0
    ) -> list[TaskPrompt]:
        """`repeats` prompts for each place of the answer in a list of `n`, the rest told in list order.

        Raises TaskError where context or vocabulary cannot hold them.
        """
        if not SHORTEST_LIST <= n <= LONGEST_LIST:
            raise ValueError(f"expected {SHORTEST_LIST} to {LONGEST_LIST} items, got {n}")
        needs_name = "{A}" in template
        items_of = self._items(template, words)
        pool = self._enough(words, int(needs_name), n, n_found=len(items_of))
        rng = Random(f"{seed}|{template}|{words}|{n}")
        made = []
        for place in [p for _ in range(repeats) for p in range(n)]:
            items, name = rng.sample(items_of, n), rng.choice(pool.names) if needs_name else ""
            made.append((self._list_text(template, items, place, name), tuple(items), place))
        return self._prompts(LAUNDRY_LIST, template, words, made)

    def names(
        self, template: str, repeats: int, *, words: bool | None = None, seed: int = 0
    ) -> list[TaskPrompt]:
        """`repeats` prompts for each order: the answer is the first name, or the second."""
        pool = self._enough(words, 2, 1, n_places=1)
        rng = Random(f"{seed}|{template}|{words}")
        made = []
        for place in [p for _ in range(repeats) for p in range(2)]:
            pair = rng.sample(pool.names, 2)
            text = template.format(
                A=pair[0], B=pair[1], S=pair[1 - place], T=pair[place],
                o=rng.choice(pool.nouns), p=rng.choice(pool.places),
            )  # fmt: skip
            made.append((text, tuple(pair), place))
        return self._prompts(NAME_INHIBITION, template, words, made)

    def _enough(
        self,
        words: bool | None,
        n_names: int,
        n_nouns: int,
        n_places: int = 0,
        n_found: int | None = None,
    ) -> Words:
        """The words of a kind, or an error where they are too few; `n_found` of the nouns can be used."""
        pool = self.words(words)
        nouns = len(pool.nouns) if n_found is None else n_found
        kind = {None: "", True: " seen in training", False: " not seen in training"}[
            None if self.seen is None else bool(words)
        ]
        for what, needed, found in (
            ("names", n_names, len(pool.names)),
            ("nouns", n_nouns, nouns),
            ("places", n_places, len(pool.places)),
        ):
            if found < needed:
                raise TaskError(
                    f"the task needs {needed} {what}{kind} that are single tokens, and this model's "
                    f"vocabulary has {found}; ask for less, or choose a model with more whole words"
                )
        return pool

    def _prompts(
        self,
        task: str,
        template: str,
        words: bool | None,
        made: list[tuple[str, tuple[str, ...], int]],
    ) -> list[TaskPrompt]:
        prompts = []
        for (text, candidates, place), ids in zip(
            made, self._encode_all([text for text, _, _ in made]), strict=True
        ):
            if len(ids) > self.max_tokens:
                raise TaskError(
                    f"a prompt has {len(ids)} tokens and the model's context holds {self.max_tokens}; "
                    "ask for shorter lists"
                )
            condition = self.condition(template, words, len(candidates))
            tokens = tuple(self._ids[word] for word in candidates)
            mentions = self._mentions(text, ids, candidates)
            prompts.append(
                TaskPrompt(
                    task, template, condition, text, tuple(ids), candidates, tokens, place, mentions
                )
            )
        return prompts

    def _mentions(self, text: str, ids: list[int], candidates: Sequence[str]) -> tuple[int, ...]:
        """Index of the last token of each candidate's first mention: words are never joined with what
        follows them, so that the text up to there is a prefix of the tokens."""
        heads = []
        for word in candidates:
            found = re.search(rf"\b{re.escape(word)}\b", text)
            assert found is not None, "every candidate is in its prompt"
            heads.append(text[: found.end()])
        prefixes = self._encode_all(heads)
        for head, prefix in zip(heads, prefixes, strict=True):
            if ids[: len(prefix)] != prefix:
                raise TaskError(
                    f"this tokenizer joins {head[-20:]!r} with what follows it, so that a name cannot "
                    "be found among the tokens; choose a model whose tokens end with words"
                )
        return tuple(len(prefix) - 1 for prefix in prefixes)
