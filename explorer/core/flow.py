"""What flows at one position: heads to neurons, neurons to a next token. Pure, and without torch.

Two quantities in two units, never added to one another: what a head adds to a neuron's
pre-activation (`attribution`), and what a neuron adds to a token's centred logit (`direct_effects`).
A graph shows the large ones of each; `select_flow` says which, and what share of the whole they are.
Ours, not a paper's; both are direct, not causal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

MAX_EDGES = 400
"""Most lines from heads to neurons in one graph; more could be neither read nor drawn in time."""


def direct_effects(
    activations: Float[np.ndarray, " neuron"],
    congruence: Float[np.ndarray, " neuron"],
    final_scale: float,
) -> Float[np.ndarray, " neuron"]:
    """What each neuron adds directly to one token's centred logit; positive raises the token.

    Activation (after the non-linearity) x congruence with the token / the final layer norm's divisor
    observed at that position, sqrt(var + eps). On folded weights with centred unembedding these,
    with the heads, embedding and biases read the same way, sum to the logit less the mean logit.
    """
    if not final_scale > 0:
        raise ValueError(f"expected a positive layer-norm divisor, got {final_scale}")
    effects = activations.astype(np.float64) * congruence.astype(np.float64) / final_scale
    if not np.isfinite(effects).all():
        raise ValueError("expected finite direct effects, got others")
    return effects


def centred_logit(logits: Float[np.ndarray, " vocab"], token_id: int) -> float:
    """A token's logit less the mean over the vocabulary: the part of it that can matter."""
    values = logits.astype(np.float64)
    return float(values[token_id] - values.mean())


def strongest(effects: Float[np.ndarray, " neuron"], n: int) -> Int[np.ndarray, " n"]:
    """Places of the n largest effects by size, raising or lowering; equal ones lower place first."""
    return np.argsort(-np.abs(effects), kind="stable")[:n]


def most_raising(effects: Float[np.ndarray, " neuron"], n: int) -> Int[np.ndarray, " n"]:
    """Places of the n neurons that push the token up most, largest first; only those that raise."""
    order = np.argsort(-effects, kind="stable")[:n]
    return order[effects[order] > 0]


@dataclass(frozen=True)
class FlowSelection:
    """Which neurons and which lines from heads a graph shows, and how much of the whole they are."""

    neurons: tuple[int, ...]
    """Rows of the candidates shown."""
    edges: tuple[tuple[int, int], ...]
    """`(row, flat head)` of each line from a head to a neuron shown, largest first."""
    n_left_out: int
    """Lines above the threshold that are not drawn because there are too many."""
    head_share: float | None
    """Sizes of the contributions drawn, over those of all heads to the neurons shown. None: nothing
    reaches them."""
    neuron_share: float | None
    """Sizes of the direct effects of the neurons shown, over those of all neurons of the model. None:
    no neuron of the model has any."""


def _share(part: float, whole: float) -> float | None:
    return min(1.0, part / whole) if whole > 0 else None


def select_flow(
    heads: Float[np.ndarray, "neuron layer head"],
    effects: Float[np.ndarray, " neuron"],
    size_of_all_effects: float,
    min_head: float,
    min_neuron: float,
    max_edges: int = MAX_EDGES,
) -> FlowSelection:
    """The neurons whose direct effect is at least `min_neuron` in size, and the head contributions to
    them of at least `min_head` (0 where a head cannot reach, and never a line).

    `heads` in pre-activation units, `effects` in centred logits, both signed; `size_of_all_effects`
    sums the sizes over all neurons of the model. Shares are of summed sizes, so that what raises and
    what lowers do not cancel, and stated one for each unit.
    """
    rows = np.flatnonzero(np.abs(effects) >= min_neuron)
    sizes = np.abs(heads[rows].reshape(len(rows), int(np.prod(heads.shape[1:])))).astype(np.float64)
    flat = np.flatnonzero((sizes >= min_head) & (sizes > 0))
    order = flat[np.argsort(-sizes.ravel()[flat], kind="stable")]
    drawn = order[:max_edges]
    n_columns = max(1, sizes.shape[1])
    return FlowSelection(
        neurons=tuple(int(row) for row in rows),
        edges=tuple((int(rows[i // n_columns]), int(i % n_columns)) for i in drawn),
        n_left_out=len(order) - len(drawn),
        head_share=_share(float(sizes.ravel()[drawn].sum()), float(sizes.sum())),
        neuron_share=_share(float(np.abs(effects[rows]).sum()), size_of_all_effects),
    )


def threshold_for(sizes: Float[np.ndarray, " value"], n: int, step: float) -> float:
    """The least whole number of steps at which at most `n` of the values remain.

    0 where no more than `n` are there; where that would leave none (many equal ones), the largest
    that keeps them.
    """
    ordered = np.sort(np.abs(sizes))[::-1]
    if len(ordered) <= n or ordered[0] <= 0:
        return 0.0
    steps = math.floor(ordered[n] / step) + 1
    if steps * step > ordered[0]:
        steps = math.floor(ordered[0] / step)
    return float(f"{steps * step:.12g}")
