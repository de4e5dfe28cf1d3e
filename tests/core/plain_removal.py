"""Removing heads the plain way: one removal at a time, the whole model, Hugging Face's code in float64.

Hooks on the raw modules alone; the value bias, which the product folds out of what it replaces, is
added back here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from tests.core.reference import RawModel, RawRun

Head = tuple[int, int]


@dataclass(frozen=True)
class PlainEffect:
    pre: float
    post: float
    probability: float
    run: RawRun


def positions(kind: str, n: int) -> range:
    """Where a kind replaces, of `n` positions with BOS first."""
    return {
        "zero-last": range(n - 1, n), "mean-last": range(n - 1, n), "zero-all": range(n),
        "mean-all": range(1, n),
    }[kind]  # fmt: skip


@contextmanager
def neuron_off(raw: RawModel, layer: int, neuron: int) -> Iterator[None]:
    """The neuron's activation is 0 at the last position."""

    def hook(module: object, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        changed = args[0].clone()
        changed[:, -1, neuron] = 0.0
        return (changed, *args[1:])

    handle = raw.mlp_last(layer).register_forward_pre_hook(hook)
    yield
    handle.remove()


def run_without(
    raw: RawModel, ids: Sequence[int], heads: Sequence[Head], kind: str, means: Tensor,
    neuron: tuple[int, int], token: int, where: range | None = None,
) -> PlainEffect:  # fmt: skip
    """Run BOS and tokens with heads replaced (or, for kind `neuron`, the neuron off) and read the
    neuron and the token at the end. `means`: `[layer head d_head]`, value biases not in it."""
    layer, index = neuron
    with ExitStack() as stack:
        if kind == "neuron":
            stack.enter_context(neuron_off(raw, layer, index))
        for head in heads:
            own = means[head].double() if kind.startswith("mean") else torch.zeros(raw.d_head)
            z = own + raw.value_bias(head[0])[head[1]]
            for position in where if where is not None else positions(kind, len(ids)):
                stack.enter_context(raw.head_replaced(*head, position, z))
        run = raw.run(ids)
    post = run.post[layer, -1, index]
    return PlainEffect(
        float(run.pre[layer, -1, index]), float(post), float(run.logits[-1].softmax(-1)[token]), run
    )


def plain_deltas(
    raw: RawModel, ids: Sequence[int], heads: Sequence[Head], kind: str, means: Tensor,
    neuron: tuple[int, int], token: int, where: range | None = None,
) -> tuple[float, float, float]:  # fmt: skip
    """Removed minus clean: pre-activation, activation, probability."""
    clean = run_without(raw, ids, (), "zero-last", means, neuron, token)
    found = run_without(raw, ids, heads, kind, means, neuron, token, where)
    return (
        found.pre - clean.pre, found.post - clean.post, found.probability - clean.probability
    )  # fmt: skip
