"""Heads removed from one typed prompt: the whole analysis after the removal, and each head alone.

The same sweep and the same functions as the job's tables. The mean kinds need means: `prompt_means`
makes them from stored train prompts of other neurons, as the job does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from explorer.core.ablation import HeadMeans, Removal, ReplacementSums
from explorer.core.ablation_effects import (
    Effects,
    add_prompts,
    removal_effects,
    replacements_for,
)
from explorer.core.analysis import NextToken, next_tokens, token_probabilities, token_ranks
from explorer.core.model import LanguageModel
from explorer.core.model_ablation import Sweep
from explorer.core.model_blocks import Blocks
from explorer.core.types import HeadId, NeuronId

_MAX_TOKENS_A_SWEEP = 4096


@dataclass(frozen=True)
class AblatedAnalysis:
    """One neuron at one position, some heads removed. Contributions are in pre-activation units;
    they sum to `pre_activation` as those of the clean prompt do."""

    heads_removed: tuple[HeadId, ...]
    kind: str
    heads: Float[np.ndarray, "layer head"]
    """Direct contribution of each head after the removal; of a removed one, that of what replaces it."""
    n_reaching_layers: int
    mlps: Float[np.ndarray, " layer"]
    embedding: float
    bias: float
    pre_activation: float
    activation: float
    ln_scale: float
    next_tokens: tuple[NextToken, ...]
    target: NextToken
    """The neuron's token."""
    probabilities: Float[np.ndarray, " vocab"]
    """Of every token to come next, 0 to 1."""
    delta_pre_activation: float
    """Ablated minus clean, both from the same sweep."""
    delta_activation: float
    delta_probability: float


def _used(model: LanguageModel, token_ids: Sequence[int], position: int | None) -> tuple[int, ...]:
    """The tokens up to the position studied: those to its right change nothing there. Cut and counted
    as in `analyse_prompt`."""
    if not token_ids:
        raise ValueError("expected at least one token")
    used = tuple(int(i) for i in token_ids[-model.max_prompt_tokens :])
    return used if position is None or not 0 <= position < len(used) else used[: position + 1]


def ablate_prompt(
    blocks: Blocks,
    token_ids: Sequence[int],
    neuron: NeuronId,
    token_id: int,
    position: int | None,
    heads: Sequence[HeadId],
    kind: str,
    *,
    means: HeadMeans | None = None,
    n_next_tokens: int = 8,
) -> AblatedAnalysis:
    """Remove heads together, each with its own replacement, and analyse what is left at `position`.

    `position` counts in the tokens used, None or out of range is the last one. The mean kinds need
    `means`; without them they raise ValueError.
    """
    model = blocks.model
    removal = Removal(
        _used(model, token_ids, position), neuron, token_id, kind, tuple(sorted(set(heads)))
    )
    with model.lock:
        swept = Sweep(
            blocks, [removal], replacements_for(model, {neuron: means}), traces=True
        ).run()
        assert swept.traces is not None
        (trace,) = swept.traces
        parts = trace.attribute(slice(0, 1), model.reader(neuron), neuron.layer)
        clean = token_probabilities(blocks.logits(swept.clean_final), [token_id])
    assert trace.logits is not None
    probability, rank = token_ranks(trace.logits, [token_id])
    shape = model.shape
    by_head = np.zeros((shape.n_layers, shape.n_heads), dtype=np.float32)
    by_head[: parts.heads.shape[1]] = parts.heads[0].float().cpu().numpy()
    mlps = np.zeros(shape.n_layers, dtype=np.float32)
    mlps[: neuron.layer] = parts.mlps[0].float().cpu().numpy()
    return AblatedAnalysis(
        heads_removed=removal.heads, kind=kind, heads=by_head, mlps=mlps,
        n_reaching_layers=parts.heads.shape[1],
        embedding=float(parts.embedding[0]), bias=float(parts.bias[0]),
        pre_activation=float(swept.pre_activation[0]), activation=float(swept.activation[0]),
        ln_scale=float(trace.ln_scale[0]),
        next_tokens=next_tokens(trace.logits[0], n_next_tokens),
        target=NextToken(token_id, float(probability[0]), int(rank[0])),
        probabilities=trace.logits[0].softmax(-1).cpu().numpy(),
        delta_pre_activation=float(swept.pre_activation[0] - swept.clean_pre_activation[0]),
        delta_activation=float(swept.activation[0] - swept.clean_activation[0]),
        delta_probability=float(probability[0] - clean[0]),
    )  # fmt: skip


def single_head_effects(
    blocks: Blocks,
    token_ids: Sequence[int],
    neuron: NeuronId,
    token_id: int,
    position: int | None,
    kind: str,
    *,
    means: HeadMeans | None = None,
) -> Effects:
    """The effect of each head that can reach the neuron, removed alone; flat, `layer * n_heads + head`
    over the layers that reach."""
    model = blocks.model
    n_heads, n = model.shape.n_heads, model.shape.n_reaching_heads(neuron.layer)
    prompt = _used(model, token_ids, position)
    removals = [
        Removal(prompt, neuron, token_id, kind, (HeadId.from_flat(flat, n_heads),))
        for flat in range(n)
    ]
    found = np.zeros((3, n), dtype=np.float32)
    with model.lock:
        batches = removal_effects(blocks, removals, {neuron: means}, _MAX_TOKENS_A_SWEEP)
        for places, effects in batches:
            found[:, places] = (
                effects.delta_pre_activation, effects.delta_activation, effects.delta_probability
            )  # fmt: skip
    return Effects(*found)


def prompt_means(blocks: Blocks, prompts: Sequence[Sequence[int]]) -> HeadMeans | None:
    """What the mean kinds put in a head's place, over prompts that the caller chose: the kept train
    prompts of all other neurons of a run. None without a prompt."""
    sums, model = ReplacementSums(), blocks.model
    anyone = NeuronId(0, 0)
    with model.lock:
        each = [(anyone, ids) for ids in prompts]
        add_prompts(sums, blocks, each, model.shape.n_layers, _MAX_TOKENS_A_SWEEP)
    return sums.result().over_all()
