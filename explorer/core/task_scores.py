"""Which components make a head look at one name rather than the other.

Inhibition score, ours: on name-inhibition prompts, the receiver's attention from the last token (END) to
the first mention of the name that is the answer (IO), minus that to the first mention of the other (S1);
clean minus with the component's activation removed at END; mean over prompts. Positive: the component helps
the receiver to look at the answer. Attention is a share of 1, BOS included. That removing one component of
an inhibition head takes this ability from a name mover is the finding of Merullo, Eickhoff and Pavlick 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from explorer.core.component_edit import ComponentEdit
from explorer.core.model_blocks import Blocks
from explorer.core.model_component_edit import CleanRuns, ComponentDials
from explorer.core.steps import Steps
from explorer.core.tasks import TaskPrompt
from explorer.core.types import HeadId


@dataclass(frozen=True)
class ComponentScore:
    """A component's inhibition score for one receiver."""

    head: HeadId
    component: int
    score: float
    """Mean over prompts, -2 to 2."""
    standard_error: float
    """Of that mean; NaN for a single prompt."""


def _places(prompts: Sequence[TaskPrompt]) -> tuple[Tensor, Tensor]:
    """Positions of IO and of S1 in each prompt's sequence, BOS at 0."""
    if not prompts or any(p.n != 2 for p in prompts):
        raise ValueError("expected prompts with two candidates each")
    answers = [1 + p.mentions[p.position] for p in prompts]
    others = [1 + p.mentions[1 - p.position] for p in prompts]
    return torch.tensor(answers), torch.tensor(others)


def attention_gap(
    attention: Float[Tensor, "prompt *head pos"], prompts: Sequence[TaskPrompt]
) -> Float[Tensor, " prompt *head"]:
    """Attention to the answer's first mention minus that to the other's, BOS at position 0."""
    to_answer, to_other = (p.to(attention.device) for p in _places(prompts))
    rows = torch.arange(len(prompts), device=attention.device)
    return attention[rows, ..., to_answer] - attention[rows, ..., to_other]


@torch.no_grad()
def receiver_gaps(blocks: Blocks, prompts: Sequence[TaskPrompt]) -> Float[np.ndarray, "layer head"]:
    """The mean attention gap of every head at END, the model as it is: the larger, the more the head
    moves the answer's name. Callers hold the model's lock."""
    by_length: dict[int, list[TaskPrompt]] = {}
    for p in prompts:
        by_length.setdefault(len(p.token_ids), []).append(p)
    shape = blocks.model.shape
    total = np.zeros((shape.n_layers, shape.n_heads))
    for group in by_length.values():
        tokens, _ = blocks.model.batch([p.token_ids for p in group])
        start = blocks.start(tokens)
        x = start.x
        # One-hot values come out of attention as its weights.
        one_hot = torch.eye(tokens.shape[1], device=x.device, dtype=x.dtype)
        values = one_hot.expand(len(group), shape.n_heads, -1, -1)
        for layer, block in enumerate(blocks.blocks):
            q, k, v = block.qkv(x, start.rotary, 0)
            weights = block.attend(q[:, :, -1:], k, values, causal=False)[:, 0]
            total[layer] += attention_gap(weights, group).double().sum(0).cpu().numpy()
            written = block.attention_out(block.attend(q, k, v, causal=True))
            post = block.activations(block.pre_activations(block.mlp_reads(x, written)))
            x = x + written + block.mlp_out(post)
    return total / len(prompts)


def _gap(
    runs: CleanRuns,
    edits: Sequence[ComponentEdit],
    receiver: HeadId,
    prompts: Sequence[TaskPrompt],
) -> Float[Tensor, " prompt"]:
    attention = runs.edited(edits, receiver=receiver, stop_at_receiver=True).attention
    assert attention is not None
    return attention_gap(attention, prompts).double()


def inhibition_scores(
    dials: ComponentDials,
    prompts: Sequence[TaskPrompt],
    receiver: HeadId,
    heads: Sequence[HeadId] | None = None,
) -> Steps[list[ComponentScore]]:
    """The score of every component of `heads` (all heads below the receiver's layer by default), one
    step each, highest first. Each removal is a re-run of the last position up to the receiver, layer
    norms recomputed. Callers hold the model's lock during each step."""
    shape = dials.blocks.model.shape
    below = [HeadId(layer, i) for layer in range(receiver.layer) for i in range(shape.n_heads)]
    wanted = sorted(set(below if heads is None else heads))
    if any(head.layer >= receiver.layer for head in wanted):
        raise ValueError(f"expected heads below the layer of {receiver}")
    ids = [p.token_ids for p in prompts]
    total, done = len(wanted) * shape.d_head, 0
    found: list[ComponentScore] = []
    for layer in sorted({head.layer for head in wanted}):
        runs = dials.clean(ids, layer)
        clean = _gap(runs, [], receiver, prompts)
        for head in (h for h in wanted if h.layer == layer):
            for component in range(shape.d_head):
                edits = [ComponentEdit.removed(head, component)]
                lost = clean - _gap(runs, edits, receiver, prompts)
                error = float(lost.std()) / len(lost) ** 0.5 if len(lost) > 1 else float("nan")
                found.append(ComponentScore(head, component, float(lost.mean()), error))
                done += 1
                yield done, total
    return sorted(found, key=lambda s: (-s.score, s.head, s.component))
