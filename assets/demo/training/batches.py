"""Rows of tokens to train on: windows of the text, and packed task sentences."""

from collections.abc import Iterator
from random import Random

import torch
from corpus import END_OF_TEXT_ID
from jaxtyping import Int
from settings import Settings
from task_sentences import TaskWords, task_sentence
from tokenizers import Tokenizer
from torch import Tensor

OPENED_SHARE = 0.5
"""Share of book rows that start with END_OF_TEXT although they start in the middle of the text.

It makes a first END_OF_TEXT familiar to the model before any text, which is how prompts are read.
"""

Batch = Int[Tensor, "batch pos"]


def batches(
    stream: Int[Tensor, " n_train"], tokenizer: Tokenizer, words: TaskWords, settings: Settings
) -> Iterator[Batch]:
    """The rows of every step in turn; task rows come last in a batch, once they have begun."""
    rng = Random(settings.seed)
    starts = window_starts(len(stream), settings.context, rng)
    for step in range(settings.n_steps):
        n_task = settings.task_rows if step >= settings.first_task_step else 0
        rows = [
            book_row(stream, next(starts), settings.context, rng)
            for _ in range(settings.rows - n_task)
        ]
        rows += [task_row(tokenizer, words, settings.context, rng) for _ in range(n_task)]
        yield torch.stack(rows)


def window_starts(n_tokens: int, context: int, rng: Random) -> Iterator[int]:
    """Starts of windows, without end: each pass covers the text once, in another order and phase.

    `n_tokens` must be twice `context` or more, so that every phase leaves a whole window.
    """
    while True:
        starts = list(range(rng.randrange(context), n_tokens - context + 1, context))
        rng.shuffle(starts)
        yield from starts


def book_row(
    stream: Int[Tensor, " n_train"], start: int, context: int, rng: Random
) -> Int[Tensor, " pos"]:
    """The window at `start`; in OPENED_SHARE of cases END_OF_TEXT and the window less one token."""
    row = stream[start : start + context].long()
    return opened(row) if rng.random() < OPENED_SHARE else row


def opened(rows: Int[Tensor, "*batch pos"]) -> Int[Tensor, "*batch pos"]:
    """The rows with END_OF_TEXT before them and their last token gone: as long as before."""
    return torch.nn.functional.pad(rows[..., :-1], (1, 0), value=END_OF_TEXT_ID)


def task_row(
    tokenizer: Tokenizer, words: TaskWords, context: int, rng: Random
) -> Int[Tensor, " pos"]:
    """END_OF_TEXT, then task sentences, one a line, until the row is full."""
    ids = [END_OF_TEXT_ID]
    while len(ids) < context:
        ids += tokenizer.encode(task_sentence(words, rng).text + "\n").ids
    return torch.tensor(ids[:context])
