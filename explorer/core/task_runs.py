"""Task prompts put to a model: what it answers, and how often that is right.

Right, ours: the answer outscores every other candidate (the list's other items, the other name), so that
guessing among `n` candidates is right in 1/n. Beside it, top-1: the answer is the most likely token of
the whole vocabulary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from explorer.core.accuracy import Accuracy
from explorer.core.model_blocks import Blocks
from explorer.core.task_seen import Condition
from explorer.core.tasks import TaskPrompt


@dataclass(frozen=True)
class Judged:
    """What a model makes of prompts, row by row; candidates in the order of their prompt."""

    scores: Float[np.ndarray, "prompt candidate"]
    """Logits of the candidates; NaN past a prompt's own."""
    probabilities: Float[np.ndarray, "prompt candidate"]
    """Of the candidates among the whole vocabulary; NaN past a prompt's own."""
    winners: Int[np.ndarray, " prompt"]
    """Place of the candidate with the highest logit; of equal ones the first."""
    right: Bool[np.ndarray, " prompt"]
    """The answer outscores all other candidates; a tie is not right."""
    top1: Bool[np.ndarray, " prompt"]
    """No token of the vocabulary has a higher logit than the answer, and it is right."""

    def __post_init__(self) -> None:
        if bool((self.top1 & ~self.right).any()):
            raise ValueError("expected the most likely token to outscore the other candidates")


def judge(logits: Float[Tensor, "prompt vocab"], prompts: Sequence[TaskPrompt]) -> Judged:
    """Judge the logits after each prompt's last token."""
    if len(logits) != len(prompts):
        raise ValueError(f"expected logits for {len(prompts)} prompts, got {len(logits)}")
    widest = max((p.n for p in prompts), default=0)
    ids = np.array([[*p.candidates, *[-1] * (widest - p.n)] for p in prompts], dtype=np.int64)
    ids = ids.reshape(len(prompts), widest)
    at = torch.from_numpy(ids).to(logits.device)
    found = logits.gather(1, at.clamp(min=0)).double()
    chances = (found - logits.double().logsumexp(1, keepdim=True)).exp()
    best = logits.max(1).values.double().cpu().numpy()
    scores, shares = (np.where(ids < 0, np.nan, v.cpu().numpy()) for v in (found, chances))
    rows = np.arange(len(prompts))
    answers = np.array([p.position for p in prompts], dtype=np.int64)
    own = scores[rows, answers]
    others = scores.copy()
    others[rows, answers] = np.nan
    right = own > np.nanmax(others, axis=1)
    return Judged(
        scores=scores.astype(np.float32),
        probabilities=shares.astype(np.float32),
        winners=np.nanargmax(scores, axis=1),
        right=right,
        top1=right & (own >= best),
    )


def joined(parts: Sequence[Judged], places: Sequence[Int[np.ndarray, " row"]]) -> Judged:
    """Batches put together again; `places` has each batch's rows among all prompts."""
    order = np.concatenate(places).argsort()
    widest = max(part.scores.shape[1] for part in parts)

    def padded(name: str) -> np.ndarray:
        values = [getattr(part, name) for part in parts]
        if values[0].ndim == 1:
            return np.concatenate(values)[order]
        wide = [
            np.pad(v, ((0, 0), (0, widest - v.shape[1])), constant_values=np.nan) for v in values
        ]
        return np.concatenate(wide)[order]

    names = ("scores", "probabilities", "winners", "right", "top1")
    return Judged(**{name: padded(name) for name in names})


def last_logits(
    blocks: Blocks, prompts: Sequence[Sequence[int]], batch_tokens: int
) -> Iterator[tuple[Int[np.ndarray, " row"], Float[Tensor, "row vocab"]]]:
    """Logits after each prompt, in batches of like lengths of at most `batch_tokens` (or one prompt),
    with their places among the prompts. Which prompts share a batch depends on the prompts alone.
    Callers hold the model's lock."""

    def length(place: int) -> int:
        return len(prompts[place]) + 1

    def logits_of(rows: Sequence[int]) -> Tensor:
        return _logits(blocks, [prompts[i] for i in rows])

    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), i))
    first = 0
    while first < len(order):
        end = first + 1
        while end < len(order):
            if (end + 1 - first) * (len(prompts[order[end]]) + 1) > batch_tokens:
                break
            end += 1
        halves = blocks.model.halver.run("tasks", logits_of, order[first:end], length)
        for rows, logits in halves:
            yield np.array(rows), logits
        first = end


@torch.no_grad()
def _logits(blocks: Blocks, prompts: list[Sequence[int]]) -> Float[Tensor, "row vocab"]:
    tokens, last = blocks.model.batch(prompts)
    start = blocks.start(tokens)
    x = start.x
    for block in blocks.blocks:
        q, k, v = block.qkv(x, start.rotary, 0)
        written = block.attention_out(block.attend(q, k, v, causal=True))
        post = block.activations(block.pre_activations(block.mlp_reads(x, written)))
        x = x + written + block.mlp_out(post)
    rows = torch.arange(len(last), device=last.device)
    return blocks.logits(blocks.final(x[rows, last]))


def run_tasks(blocks: Blocks, prompts: Sequence[TaskPrompt], batch_tokens: int = 4096) -> Judged:
    """Put all prompts to the model as it is. Callers hold the model's lock."""
    if not prompts:
        raise ValueError("expected at least one prompt")
    parts, places = [], []
    for rows, logits in last_logits(blocks, [p.token_ids for p in prompts], batch_tokens):
        parts.append(judge(logits, [prompts[i] for i in rows]))
        places.append(rows)
    return joined(parts, places)


@dataclass(frozen=True)
class Tally:
    """Answers to the prompts of one template, condition, number of candidates and place of the answer."""

    task: str
    template: str
    condition: Condition
    n: int
    position: int
    n_prompts: int
    n_right: int
    n_top1: int

    @property
    def chance(self) -> float:
        """What guessing among the candidates gets right."""
        return 1 / self.n


def tallies(prompts: Sequence[TaskPrompt], judged: Judged) -> list[Tally]:
    """Counts by task, template, condition, n and position, in that order; conditions by their words."""
    cells = [(p.task, p.template, str(p.condition), p.n, p.position) for p in prompts]
    every = Counter(cells)
    right = Counter(cell for cell, yes in zip(cells, judged.right, strict=True) if yes)
    top1 = Counter(cell for cell, yes in zip(cells, judged.top1, strict=True) if yes)
    return [
        Tally(task, template, Condition.parse(words), n, position,
              every[cell], right[cell], top1[cell])
        for cell in sorted(every)
        for task, template, words, n, position in [cell]
    ]  # fmt: skip


def accuracy_of(prompts: Sequence[TaskPrompt], right: Bool[np.ndarray, " prompt"]) -> Accuracy:
    """The share right over prompts, beside the mean of their chances 1/n."""
    chance = float(np.mean([1 / p.n for p in prompts])) if prompts else 0.0
    return Accuracy(int(right.sum()), len(prompts), chance)
