"""What a trained model can do: its loss on held-out text, and the two tasks on fresh sentences."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import torch
from batches import opened
from corpus import END_OF_TEXT_ID
from jaxtyping import Int
from optimise import logits_of, next_token_loss
from settings import Settings
from task_sentences import TaskSentence, TaskWords, list_sentence, name_sentence, prompt_of
from tokenizers import Tokenizer
from torch import Tensor
from transformers import GPT2LMHeadModel

N_TASK_SENTENCES = 150
"""Fresh sentences of each task that a model is tried on."""


@dataclass(frozen=True)
class Results:
    """What was measured: a loss in nats a token, shares right between 0 and 1."""

    held_out_loss: float
    name_top1: float | None
    list_top1: float | None

    @property
    def tasks(self) -> str:
        """The two shares in words."""
        return f"name inhibition {_percent(self.name_top1)}, lists {_percent(self.list_top1)}"


def measure(
    model: GPT2LMHeadModel,
    tokenizer: Tokenizer,
    held_out: Int[Tensor, " n_held"],
    words: TaskWords,
    settings: Settings,
) -> Results:
    """Everything measured of a trained model; the task sentences are seeded, and fresh."""
    rng = Random(f"{settings.seed}, fresh")
    shares = [
        task_top1(model, tokenizer, [make(words, rng) for _ in range(N_TASK_SENTENCES)])
        for make in (name_sentence, list_sentence)
    ]
    return Results(held_out_loss(model, held_out, settings), *shares)


@torch.no_grad()
def held_out_loss(
    model: GPT2LMHeadModel, held_out: Int[Tensor, " n_held"], settings: Settings
) -> float:
    """Mean loss in nats a token, in float32, over windows that are each opened by END_OF_TEXT.

    The windows do not overlap; what is left after the last whole one is not read.
    """
    model.eval()
    windows = held_out[: len(held_out) // settings.context * settings.context]
    rows = opened(windows.view(-1, settings.context).long())
    total = 0.0
    for batch in rows.to(model.device).split(settings.rows):
        total += next_token_loss(logits_of(model, batch), batch).item() * len(batch)
    return total / len(rows)


@torch.no_grad()
def task_top1(
    model: GPT2LMHeadModel, tokenizer: Tokenizer, sentences: Sequence[TaskSentence]
) -> float | None:
    """Share of sentences whose answer is the model's first choice, at each token of the answer.

    Sentences that do not fit the context are left out; None if none fits.
    """
    model.eval()
    right = []
    for sentence in sentences:
        n_prompt = 1 + len(tokenizer.encode(prompt_of(sentence)).ids)
        whole = [END_OF_TEXT_ID, *tokenizer.encode(sentence.text.removesuffix(".")).ids]
        if len(whole) > model.config.n_positions:
            continue
        ids = torch.tensor([whole], device=model.device)
        choices = logits_of(model, ids)[0, n_prompt - 1 : -1].argmax(-1)
        right.append(bool((choices == ids[0, n_prompt:]).all()))
    return sum(right) / len(right) if right else None


def _percent(share: float | None) -> str:
    """ "94 %", or what to say where no sentence fitted the context."""
    return "not measured (longer than the context)" if share is None else f"{100 * share:.0f} %"
