"""Trace and mathematics composed: one prompt, one neuron, every number that Live shows.

The job computes the same quantities in batches through the same functions; a parity test recomputes
stored prompts here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from explorer.core.attribution import active_heads
from explorer.core.model import LanguageModel
from explorer.core.truncation import CURVE_FACTORS, reaches
from explorer.core.types import ActiveRule, HeadId, NeuronId

_MAX_TOKENS_A_BATCH = 4096


@dataclass(frozen=True)
class AnalysisSpec:
    """The rules that make live and stored numbers agree; taken from a store's manifest."""

    keep_ratio: float = 0.8
    """A suffix is long enough when it keeps this share of the whole prompt's activation."""
    active_rule: ActiveRule = ActiveRule()
    """When a head counts as active."""
    max_prompt_tokens: int = 100
    """Longest suffix that may be kept, BOS not counted."""
    n_next_tokens: int = 8
    """How many of the most probable next tokens are reported."""

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, Any]) -> AnalysisSpec:
        return cls(
            keep_ratio=float(manifest["keep_ratio"]),
            active_rule=ActiveRule.parse(str(manifest["active_rule"])),
            max_prompt_tokens=int(manifest["max_prompt_tokens"]),
        )


@dataclass(frozen=True)
class NextToken:
    """A next token, its probability (0 to 1) and its rank (1 + tokens with a higher logit)."""

    token_id: int
    probability: float
    rank: int


@dataclass(frozen=True)
class PromptAnalysis:
    """One neuron at one position of one prompt. Contributions are in pre-activation units."""

    token_ids: tuple[int, ...]
    """The tokens used, BOS not among them."""
    n_cut: int
    """Tokens cut from the left because the context is shorter than the prompt."""
    neuron: NeuronId
    token_id: int
    """The neuron's token, whose probability `target` gives."""
    position: int
    """Index into `token_ids` of the position studied."""
    activations: Float[np.ndarray, " pos"]
    """Post-activation of the neuron at each token."""
    heads: Float[np.ndarray, "layer head"]
    """Direct contribution of each head; 0 where it cannot reach."""
    n_reaching_layers: int
    mlps: Float[np.ndarray, " layer"]
    """Direct contribution of each layer's MLP; 0 from the neuron's layer on."""
    embedding: float
    bias: float
    pre_activation: float
    activation: float
    ln_scale: float
    active: tuple[HeadId, ...]
    next_tokens: tuple[NextToken, ...]
    """The most probable tokens after the position, best first."""
    target: NextToken
    attention: Float[np.ndarray, "layer head pos"]
    """What each head that reaches the neuron attends to from the position studied, over BOS and the
    tokens up to it; each row sums to 1."""
    probabilities: Float[np.ndarray, " vocab"]
    """Of every token to come next, 0 to 1."""


@dataclass(frozen=True)
class SuffixCurve:
    """Activation at the last token when only the last `lengths[i]` tokens are kept."""

    lengths: tuple[int, ...]
    """Ascending; the last one is the whole prompt."""
    activations: tuple[float, ...]
    whole_activation: float
    kept: int | None
    """The shortest length that reaches the threshold; None where the neuron is off or none does."""
    keep_ratio: float


def token_probabilities(
    logits: Float[Tensor, "batch vocab"], token_ids: Sequence[int]
) -> Float[Tensor, " batch"]:
    """Probability of each row's token: softmax over the whole vocabulary."""
    ids = torch.as_tensor(list(token_ids), device=logits.device)[:, None]
    return logits.softmax(-1).gather(1, ids)[:, 0]


def token_ranks(
    logits: Float[Tensor, "batch vocab"], token_ids: Sequence[int]
) -> tuple[Float[Tensor, " batch"], Tensor]:
    """Probability of each row's token and its rank, 1 + the number of tokens with a higher logit."""
    own = logits.gather(1, torch.as_tensor(list(token_ids), device=logits.device)[:, None])
    return token_probabilities(logits, token_ids), 1 + (logits > own).sum(1)


def active_of(heads: Float[Tensor, "batch layer head"], rule: ActiveRule) -> list[list[HeadId]]:
    """The active heads of each prompt; `heads` are those of the layers that reach the neuron."""
    n_heads = heads.shape[2]
    mask = active_heads(heads.flatten(1), rule)
    return [[HeadId.from_flat(int(i), n_heads) for i in row.nonzero()[:, 0]] for row in mask]


def next_tokens(logits: Float[Tensor, " vocab"], n: int) -> tuple[NextToken, ...]:
    """The n most probable next tokens, best first."""
    best = logits.topk(min(n, len(logits))).indices.tolist()
    probabilities, ranks = token_ranks(logits.expand(len(best), -1), best)
    return tuple(
        NextToken(i, float(p), int(r)) for i, p, r in zip(best, probabilities, ranks, strict=True)
    )


def analyse_prompt(
    model: LanguageModel,
    token_ids: Sequence[int],
    neuron: NeuronId,
    token_id: int,
    position: int | None,
    spec: AnalysisSpec,
) -> PromptAnalysis:
    """One forward pass: activations along the prompt, parts at `position`, what comes next.

    A prompt longer than the context keeps its last `n_ctx - 1` tokens (`n_cut` says how many went);
    `position` counts in the tokens used, None or out of range is the last one.
    """
    if not token_ids:
        raise ValueError("expected at least one token")
    used = tuple(int(i) for i in token_ids[-model.max_prompt_tokens :])
    at = len(used) - 1 if position is None or not 0 <= position < len(used) else position
    with model.lock:
        tokens, _ = model.batch([used])
        last = torch.tensor([at + 1], device=tokens.device)
        trace = model.trace(tokens, last, [neuron], attention=True, logits=True)
        parts = trace.attribute(slice(0, 1), model.reader(neuron), neuron.layer)
    assert trace.logits is not None and trace.attention is not None
    shape = model.shape
    heads = np.zeros((shape.n_layers, shape.n_heads), dtype=np.float32)
    heads[: parts.heads.shape[1]] = parts.heads[0].float().cpu().numpy()
    mlps = np.zeros(shape.n_layers, dtype=np.float32)
    mlps[: neuron.layer] = parts.mlps[0].float().cpu().numpy()
    probability, rank = token_ranks(trace.logits, [token_id])
    activations = trace.activations[0, 1:].cpu().numpy()
    return PromptAnalysis(
        token_ids=used,
        n_cut=len(token_ids) - len(used),
        neuron=neuron,
        token_id=token_id,
        position=at,
        activations=activations,
        heads=heads,
        n_reaching_layers=parts.heads.shape[1],
        mlps=mlps,
        embedding=float(parts.embedding[0]),
        bias=float(parts.bias[0]),
        pre_activation=float(trace.pre_activation[0]),
        activation=float(activations[at]),
        ln_scale=float(trace.ln_scale[0]),
        active=tuple(active_of(parts.heads, spec.active_rule)[0]),
        next_tokens=next_tokens(trace.logits[0], spec.n_next_tokens),
        target=NextToken(token_id, float(probability[0]), int(rank[0])),
        attention=trace.attention[0, :, :, : at + 2].cpu().numpy(),
        probabilities=trace.logits[0].softmax(-1).cpu().numpy(),
    )


def _curve_lengths(n_tokens: int, longest: int) -> list[int]:
    """Every length up to `longest`, and the whole prompt."""
    return sorted({*range(1, min(n_tokens, longest) + 1), n_tokens})


def _suffix_activations(
    model: LanguageModel, token_ids: Sequence[int], neuron: NeuronId, lengths: Sequence[int]
) -> list[float]:
    """Post-activation at the last token for each suffix length, batched by size."""
    found: list[float] = []
    rows: list[Sequence[int]] = []
    for index, length in enumerate(lengths):
        rows.append(token_ids[len(token_ids) - length :])
        is_last = index + 1 == len(lengths)
        if is_last or (len(rows) + 1) * (lengths[index + 1] + 1) > _MAX_TOKENS_A_BATCH:
            tokens, last = model.batch(rows)
            found += model.activation_at_last(tokens, last, [neuron] * len(rows)).tolist()
            rows = []
    return found


def suffix_curve(
    model: LanguageModel, token_ids: Sequence[int], neuron: NeuronId, spec: AnalysisSpec
) -> SuffixCurve:
    """Activation at the last token against how many tokens are kept.

    Every suffix of at most `max_prompt_tokens` tokens is evaluated, beyond that the multiples of the
    kept length and the whole prompt, as in the store.
    """
    if not token_ids:
        raise ValueError("expected at least one token")
    used = list(token_ids[-model.max_prompt_tokens :])
    lengths = _curve_lengths(len(used), spec.max_prompt_tokens)
    with model.lock:
        found = dict(zip(lengths, _suffix_activations(model, used, neuron, lengths), strict=True))
        whole = found[len(used)]
        kept = next(
            (
                n
                for n in lengths
                if n <= spec.max_prompt_tokens and reaches(found[n], whole, spec.keep_ratio)
            ),
            None,
        )
        extra = (
            []
            if kept is None
            else [f * kept for f in CURVE_FACTORS if f * kept < len(used) and f * kept not in found]
        )
        found |= dict(zip(extra, _suffix_activations(model, used, neuron, extra), strict=True))
    order = tuple(sorted(found))
    return SuffixCurve(order, tuple(found[n] for n in order), whole, kept, spec.keep_ratio)
