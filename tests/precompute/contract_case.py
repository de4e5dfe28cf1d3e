"""A published store beside what the contract says it must hold, worked out by `plain_contract`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from tests.conftest import demo_documents
from tests.precompute import plain_contract as contract
from tests.precompute.plain_contract import Found, Neuron, Options, Parts, Prompt
from tests.precompute.plain_model import PlainModel

N_RANDOM = 3


def corpus_texts(first: int) -> list[str]:
    """Short and long documents (windows are cut), repeats, empty ones, one token, odd text."""
    plain = [text[: 40 + 25 * (i % 9)] for i, text in enumerate(demo_documents("train", 60))]
    plain = plain[first : first + 26]
    odd = [
        "", "a", "   ", "He wrote <|endoftext|> on the wall, and <|endoftext|> again.",
        "Café, naïve “quotes”, 漢字 and 🙂 \u202eשלום\u202c.", "NUL \x00 and\ttab\nand line",
        "", "<b>bold</b> <script>alert(1)</script>",
    ]  # fmt: skip
    return [*plain[:9], *odd, *plain[9:], plain[2], plain[2], plain[7], plain[4] + plain[5]]


def shared_token(scores: np.ndarray, model: PlainModel, o: Options) -> tuple[int, int]:
    """Two tokens that ask for the same neuron, one that would not be studied otherwise."""
    taken = contract.next_token_neurons(scores, model.texts(), o.layers, o.per_layer)
    askers: dict[Neuron, int] = {}
    for token, text in enumerate(model.texts()):
        if contract.is_word_start(text) and text[1:].isalpha() and model.encode(text) == [token]:
            for neuron in contract.token_best(scores, token, o.layers, o.per_layer):
                if neuron in askers:
                    return askers[neuron], token
                if neuron not in taken:
                    askers[neuron] = token
    raise AssertionError("no two tokens share a neuron")


@dataclass
class Case:
    """A store, what it was made from, and what the contract says it must hold."""

    store: duckdb.DuckDBPyConnection
    model: PlainModel
    options: Options
    splits: dict[str, dict[int, list[int]]]
    argv: dict[str, Any]

    def rows(self, query: str) -> list[tuple]:
        return self.store.sql(query).fetchall()

    @cached_property
    def scores(self) -> np.ndarray:
        return self.model.congruence()

    @cached_property
    def studied(self) -> dict[Neuron, int]:
        """Token of each studied neuron; which random ones were drawn is taken from the store."""
        texts = self.model.texts()
        found = contract.studied(self.scores, texts, self.options)
        tokens = {neuron: token for neuron, (token, _) in found.items()}
        drawn = self.rows("SELECT layer, neuron FROM studied_neurons WHERE kind = 'random'")
        best = contract.best_tokens(self.scores, texts)[..., 0]
        return {**{neuron: int(best[neuron]) for neuron in drawn}, **tokens}

    @cached_property
    def found(self) -> Found:
        return contract.find_prompts(self.model, self.splits, sorted(self.studied), self.options)

    @cached_property
    def parts(self) -> list[Parts]:
        return [contract.attribute(self.model, p.kept, p.neuron) for p in self.found.prompts]

    @cached_property
    def active(self) -> list[set[contract.Head]]:
        return [
            contract.active(self.model, parts.heads, p.neuron[0], self.options.top_k)
            for p, parts in zip(self.found.prompts, self.parts, strict=True)
        ]

    def joined(self, columns: str, table: str) -> list[tuple[Prompt, tuple]]:
        """Each expected prompt with its one row of a table, joined by neuron, split and rank."""
        rows = {
            row[:4]: row[4:]
            for row in self.rows(
                f"SELECT layer, neuron, split, rank, {columns} FROM {table} "
                f"{'' if table == 'prompts' else 'JOIN prompts USING (prompt_id)'}"
            )
        }
        assert set(rows) == {(*p.neuron, p.split, p.rank) for p in self.found.prompts}
        return [(p, rows[(*p.neuron, p.split, p.rank)]) for p in self.found.prompts]


def make_case(
    folder: Path, corpora: dict[str, list[str]], write: Callable[..., Path],
    publish: Callable[..., duckdb.DuckDBPyConnection], options: Options, argv: dict[str, Any],
) -> Case:  # fmt: skip
    model = PlainModel(folder)
    tokens = shared_token(model.congruence(), model, options)
    options = replace(options, tokens=tokens)
    encoded = {name: [model.encode(text) for text in texts] for name, texts in corpora.items()}
    if len(encoded) == 1:
        ids = dict(enumerate(encoded["train"]))
        splits = {"train": {i: t for i, t in ids.items() if i % 2 == 0},
                  "test": {i: t for i, t in ids.items() if i % 2 == 1}}  # fmt: skip
    else:
        splits = {name: dict(enumerate(documents)) for name, documents in encoded.items()}
    argv = {
        "model": folder,
        "corpus": write(corpora["train"], "train"),
        **({"test_corpus": write(corpora["test"], "test")} if "test" in corpora else {}),
        "neurons_per_layer": options.per_layer,
        "random_neurons_per_layer": N_RANDOM,
        "tokens": ",".join(model.texts()[i].replace(" ", "␣") for i in tokens),
        "neurons": ",".join(f"L{layer}N{index}" for layer, index in options.neurons),
        "prompts": options.prompts,
        "candidates": options.candidates,
        "max_prompt_tokens": options.max_prompt_tokens,
        "keep_ratio": options.keep_ratio,
        **argv,
    }
    flags = [
        word for name, value in argv.items() for word in (f"--{name.replace('_', '-')}", value)
    ]
    return Case(publish(*flags), model, options, splits, argv)
