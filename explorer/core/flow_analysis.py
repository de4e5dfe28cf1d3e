"""Trace and mathematics composed: how one prompt reaches a next token, and which neurons push it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from explorer.core.analysis import NextToken, next_tokens, token_ranks
from explorer.core.attribution import attribute_heads, read_through_heads
from explorer.core.congruence import congruence
from explorer.core.flow import centred_logit, direct_effects, most_raising, strongest
from explorer.core.model import LanguageModel
from explorer.core.model_flow import FlowTrace
from explorer.core.types import NeuronId

N_NEURONS = 20
"""How many neurons a graph may hold."""
N_NEXT_TOKENS = 8


@dataclass(frozen=True)
class FlowNeuron:
    """A neuron at one position of one prompt, and what it does to one token there."""

    neuron: NeuronId
    pre_activation: float
    activation: float
    congruence: float
    """With the token that `effect` is about."""
    effect: float
    """Direct effect on the token, in centred logits; positive raises it."""


@dataclass(frozen=True)
class FlowAnalysis:
    """One position of one prompt and one next token. Heads in pre-activation units, effects in centred
    logits; both direct, neither causal."""

    token_ids: tuple[int, ...]
    """The tokens used, BOS not among them."""
    n_cut: int
    """Tokens cut from the left because the context is shorter than the prompt."""
    position: int
    """Index into `token_ids` of the position studied."""
    target: NextToken
    """The token that the flow ends in."""
    logit: float
    """Its logit less the mean over the vocabulary."""
    next_tokens: tuple[NextToken, ...]
    """The most probable tokens after the position, best first."""
    neurons: tuple[FlowNeuron, ...]
    """The neurons with the largest direct effects by size, largest first."""
    heads: Float[np.ndarray, "neuron layer head"]
    """Direct contribution of each head to each of these neurons; 0 where it cannot reach."""
    sum_of_all_effects: float
    """Signed sum of the direct effects of all neurons of the model."""
    size_of_all_effects: float
    """Sum of their sizes."""


def _read(
    model: LanguageModel, token_ids: Sequence[int], position: int | None
) -> tuple[tuple[int, ...], int, FlowTrace]:
    """The tokens used, the position in them, and what a forward pass left there."""
    if not token_ids:
        raise ValueError("expected at least one token")
    used = tuple(int(i) for i in token_ids[-model.max_prompt_tokens :])
    at = len(used) - 1 if position is None or not 0 <= position < len(used) else position
    # What stands right of the position cannot reach it: it is not run.
    tokens, _ = model.batch([used[: at + 1]])
    return used, at, model.trace_flow(tokens, at + 1)


def _congruences(model: LanguageModel, token_id: int) -> Float[np.ndarray, " neuron"]:
    """Congruence of every neuron of the model (flat: layer x d_mlp + neuron) with one token."""
    column = model.w_u[:, token_id : token_id + 1]
    layers = [congruence(model.w_out(n), column)[:, 0] for n in range(model.shape.n_layers)]
    return torch.cat(layers).double().cpu().numpy()


def _all_effects(
    model: LanguageModel, trace: FlowTrace, token_id: int
) -> tuple[Float[np.ndarray, " neuron"], Float[np.ndarray, " neuron"]]:
    """Congruence with the token and direct effect on it, of every neuron of the model."""
    if not 0 <= token_id < model.shape.d_vocab:
        raise ValueError(f"expected a token below {model.shape.d_vocab}, got {token_id}")
    scores = _congruences(model, token_id)
    activations = trace.activations.flatten().double().cpu().numpy()
    return scores, direct_effects(activations, scores, trace.final_scale)


def _chosen(
    model: LanguageModel,
    trace: FlowTrace,
    places: np.ndarray,
    scores: Float[np.ndarray, " neuron"],
    effects: Float[np.ndarray, " neuron"],
) -> tuple[FlowNeuron, ...]:
    found = []
    for place in places.tolist():
        neuron = NeuronId(*divmod(place, model.shape.d_mlp))
        at = (neuron.layer, neuron.index)
        pre, post = float(trace.pre_activations[at]), float(trace.activations[at])
        found.append(FlowNeuron(neuron, pre, post, float(scores[place]), float(effects[place])))
    return tuple(found)


def _heads(
    model: LanguageModel, trace: FlowTrace, neurons: Sequence[NeuronId]
) -> Float[np.ndarray, "neuron layer head"]:
    """Direct contribution of every head to each neuron's pre-activation; 0 where it cannot reach."""
    w_in = torch.stack([model.w_in(neuron.layer)[:, neuron.index] for neuron in neurons])
    readers = read_through_heads(w_in, model.w_o).double().cpu()
    for row, neuron in enumerate(neurons):
        readers[row, model.shape.n_reaching_layers(neuron.layer) :] = 0
    layers = [neuron.layer for neuron in neurons]
    return attribute_heads(
        trace.z.double().cpu(), readers, trace.ln_scale.double().cpu()[layers]
    ).numpy()


def analyse_flow(
    model: LanguageModel,
    token_ids: Sequence[int],
    position: int | None = None,
    token_id: int | None = None,
    n_neurons: int = N_NEURONS,
) -> FlowAnalysis:
    """One forward pass: the neurons with the largest direct effects on a next token, and what every
    head adds to each of them.

    `token_id` None is the most probable next token. Long prompts and positions are as in
    `analyse_prompt`: the last `n_ctx - 1` tokens are used, None or out of range is the last one.
    """
    with model.lock:
        used, at, trace = _read(model, token_ids, position)
        best = next_tokens(trace.logits, N_NEXT_TOKENS)
        wanted = best[0].token_id if token_id is None else token_id
        scores, effects = _all_effects(model, trace, wanted)
        neurons = _chosen(model, trace, strongest(effects, n_neurons), scores, effects)
        heads = _heads(model, trace, [found.neuron for found in neurons])
    return FlowAnalysis(
        token_ids=used,
        n_cut=len(token_ids) - len(used),
        position=at,
        target=_next_token(trace.logits, wanted),
        logit=centred_logit(trace.logits.double().cpu().numpy(), wanted),
        next_tokens=best,
        neurons=neurons,
        heads=heads,
        sum_of_all_effects=float(effects.sum()),
        size_of_all_effects=float(np.abs(effects).sum()),
    )


def _next_token(logits: Float[Tensor, " vocab"], token_id: int) -> NextToken:
    probability, rank = token_ranks(logits[None], [token_id])
    return NextToken(token_id, float(probability[0]), int(rank[0]))


def pushing_neurons(
    model: LanguageModel,
    token_ids: Sequence[int],
    position: int | None,
    token_id: int | None,
    n: int,
) -> tuple[FlowNeuron, ...]:
    """The neurons that push a next token up most at a position, largest direct effect first.

    Neurons of any layer, studied or not; fewer than `n` where fewer raise it. `token_id` None is the
    most probable next token.
    """
    with model.lock:
        _, _, trace = _read(model, token_ids, position)
        wanted = next_tokens(trace.logits, 1)[0].token_id if token_id is None else token_id
        scores, effects = _all_effects(model, trace, wanted)
        return _chosen(model, trace, most_raising(effects, n), scores, effects)
