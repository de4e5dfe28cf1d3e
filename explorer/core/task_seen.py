"""What a model's training saw of the two tasks, and how prompts are marked by it.

A model's folder may hold `task_sentences.json`: the templates (up to the answer), names, nouns, places and
lengths of lists in the task sentences of its training. Prompts whose template, words or length are not
among them are then reported apart. Without the file nothing is known, and nothing is called seen.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from explorer.core.errors import ExplorerError

SEEN_FILE = "task_sentences.json"
"""In a model's folder: the task sentences of its training."""


class TaskError(ExplorerError):
    """A task that this model's vocabulary or context cannot hold."""


@dataclass(frozen=True, order=True)
class Condition:
    """Whether a prompt's template, words and length occurred in the task sentences of the model's
    training; None where nothing is known of its training."""

    template: bool | None
    words: bool | None
    length: bool | None

    def __str__(self) -> str:
        if self == UNKNOWN:
            return "training unknown"
        word = {True: "seen", False: "unseen"}
        parts = ("template", self.template), ("words", self.words), ("length", self.length)
        return ", ".join(f"{name} {word[bool(value)]}" for name, value in parts)

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read what `str` wrote. Raises ValueError with what was expected."""
        every = [cls(t, w, n) for t in (True, False) for w in (True, False) for n in (True, False)]
        found = next((c for c in (UNKNOWN, *every) if str(c) == text), None)
        if found is None:
            raise ValueError(f"expected a condition such as {every[0]}, got {text[:60]!r}")
        return found


UNKNOWN = Condition(None, None, None)


@dataclass(frozen=True)
class SeenSentences:
    """What the task sentences of a model's training were made of; templates as in `task_material`."""

    templates: frozenset[str]
    names: tuple[str, ...]
    nouns: tuple[str, ...]
    places: tuple[str, ...]
    list_lengths: frozenset[int]

    @cached_property
    def words(self) -> frozenset[str]:
        """Every word that occurred, those of the templates included."""
        fixed = {word.strip(".,;:{}") for text in self.templates for word in text.split()}
        return frozenset({*self.names, *self.nouns, *self.places, *fixed})


def read_seen(folder: Path | str) -> SeenSentences | None:
    """What a model's folder says of the task sentences in its training; None where it says nothing.

    Raises TaskError for a file that does not read as such.
    """
    path = Path(folder) / SEEN_FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        words = {name: tuple(map(str, content[name])) for name in ("names", "nouns", "places")}
        templates = frozenset(map(str, content["templates"]))
        return SeenSentences(templates, **words, list_lengths=frozenset(content["list_lengths"]))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise TaskError(
            f"{path} does not say which task sentences the model saw ({error}); mend or remove it"
        ) from error
