"""Removals measured: what each changes of the neuron and of the prediction, ablated minus clean.

The job and the live view are two callers. Clean values come from the same sweep as ablated ones, so
that a removal that changes nothing gives 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from explorer.core.ablation import HeadMeans, Removal, Replacements, ReplacementSums
from explorer.core.analysis import token_probabilities
from explorer.core.model import LanguageModel
from explorer.core.model_ablation import Sweep, Swept, batches_of_removals, clean_sums
from explorer.core.model_blocks import Blocks
from explorer.core.types import NeuronId

_LOGITS_AT_ONCE = 1 << 24
"""Entries of the widest table that is held: rows times vocabulary."""


@dataclass(frozen=True)
class Effects:
    """Ablated minus clean, one entry for each removal."""

    delta_pre_activation: Float[np.ndarray, " removal"]
    """Pre-activation units, as the contributions of `attribution`."""
    delta_activation: Float[np.ndarray, " removal"]
    delta_probability: Float[np.ndarray, " removal"]
    """Of the neuron's token after the prompt; softmax over the whole vocabulary, -1 to 1."""

    def __post_init__(self) -> None:
        for name, values in self.__dict__.items():
            if not bool(np.isfinite(values).all()):
                raise ValueError(f"expected finite effects, got others in {name}")


def replacements_for(
    model: LanguageModel, means: Mapping[NeuronId, HeadMeans | None]
) -> Replacements:
    """The vectors that re-runs for these neurons may put in a head's place."""
    shape = model.shape
    known = [(neuron, mean) for neuron, mean in means.items() if mean is not None]
    return Replacements(shape.n_layers, shape.n_heads, shape.d_head, known, model.device)


def removal_effects(
    blocks: Blocks,
    removals: Sequence[Removal],
    means: Mapping[NeuronId, HeadMeans | None],
    max_tokens: int,
) -> Iterator[tuple[list[int], Effects]]:
    """Measure removals, a batch at a time: their places in `removals`, and their effects.

    `means` has what the mean kinds need, for each neuron; `max_tokens` is about the number of
    positions in one sweep. The caller holds the model's lock.
    """
    replacements = replacements_for(blocks.model, means)

    def effects_of(places: Sequence[int]) -> Effects:
        batch = [removals[i] for i in places]
        return _effects(blocks, batch, Sweep(blocks, batch, replacements).run())

    def length(place: int) -> int:
        return len(removals[place].prompt) + 1

    for batch in batches_of_removals(removals, max_tokens):
        for places, effects in blocks.model.halver.run("removals", effects_of, batch, length):
            yield list(places), effects


def _effects(blocks: Blocks, removals: Sequence[Removal], swept: Swept) -> Effects:
    tokens = [removal.token_id for removal in removals]
    # One clean probability for each prompt and token, not for each removal.
    pairs: dict[tuple[int, int], int] = {}
    for prompt, token in zip(swept.prompt.tolist(), tokens, strict=True):
        pairs.setdefault((prompt, token), len(pairs))
    clean = _probabilities(
        blocks, swept.clean_final[[prompt for prompt, _ in pairs]], [token for _, token in pairs]
    )
    own = [pairs[pair] for pair in zip(swept.prompt.tolist(), tokens, strict=True)]
    ablated = _probabilities(blocks, swept.final, tokens)
    return Effects(
        (swept.pre_activation - swept.clean_pre_activation).cpu().numpy(),
        (swept.activation - swept.clean_activation).cpu().numpy(),
        (ablated - clean[own]).cpu().numpy(),
    )


def _probabilities(
    blocks: Blocks, final: Float[Tensor, "row d_model"], token_ids: Sequence[int]
) -> Float[Tensor, " row"]:
    rows = max(1, _LOGITS_AT_ONCE // blocks.model.shape.d_vocab)
    return torch.cat([
        token_probabilities(blocks.logits(final[i : i + rows]), token_ids[i : i + rows])
        for i in range(0, len(token_ids), rows)
    ])  # fmt: skip


def add_prompts(
    sums: ReplacementSums,
    blocks: Blocks,
    prompts: Sequence[tuple[NeuronId, Sequence[int]]],
    n_layers: int,
    max_tokens: int,
) -> None:
    """Take train prompts, each with the neuron that kept it, into the sums that the mean kinds need.

    `n_layers`: of how many layers, from 0, heads are summed. Equal prompts in equal order give equal
    sums. The caller holds the model's lock.
    """

    def sums_of(some: Sequence[tuple[NeuronId, Sequence[int]]]) -> tuple[Tensor, Tensor]:
        return clean_sums(blocks, [ids for _, ids in some], n_layers)

    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i][1]), i))
    first = 0
    while first < len(order):
        n = len(prompts[order[first]][1])
        end = first + max(1, max_tokens // (n + 1))
        batch = [prompts[i] for i in order[first:end] if len(prompts[i][1]) == n]
        halves = blocks.model.halver.run("sums", sums_of, batch, lambda prompt: len(prompt[1]) + 1)
        for some, (last, total) in halves:
            sums.update([neuron for neuron, _ in some], last, total, [n] * len(some))
        first += len(batch)
