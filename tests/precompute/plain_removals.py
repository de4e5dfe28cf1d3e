"""What removing heads changes, worked out from the contract's words on a `PlainModel`, one at a time.

Nothing of the product is used here, and nothing is batched or begun half-way up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch

from tests.precompute.plain_contract import Head, Neuron, Prompt
from tests.precompute.plain_model import BOS, PlainModel

KINDS = ("zero-last", "zero-all", "mean-last", "mean-all")


def _modules(model: PlainModel, layer: int) -> tuple[torch.nn.Module, torch.nn.Module]:
    """The output projections of a block's attention and MLP."""
    block = model.blocks[layer]
    if model.is_parallel:
        return block.attention.dense, block.mlp.dense_4h_to_h
    return block.attn.c_proj, block.mlp.c_proj


@contextmanager
def _reading(module: torch.nn.Module, change: object) -> Iterator[None]:
    """Let `change` write into what a module reads."""

    def hook(_: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        read = args[0].clone()
        change(read)  # type: ignore[operator]
        return (read, *args[1:])

    handle = module.register_forward_pre_hook(hook)
    yield
    handle.remove()


def z_everywhere(model: PlainModel, ids: list[int]) -> np.ndarray:
    """`[layer pos head d_head]` over BOS and tokens, what every value holds taken out."""
    seen: list[np.ndarray] = []
    handles = [
        _modules(model, n)[0].register_forward_pre_hook(
            lambda _, args: seen.append(args[0][0].detach().numpy().copy())
        )
        for n in range(model.n_layers)
    ]
    _run(model, ids)
    for handle in handles:
        handle.remove()
    z = np.stack(seen).reshape(model.n_layers, len(ids) + 1, model.n_heads, model.d_head)
    return z - np.stack([layer.b_v for layer in model.layers])[:, None]


def _share(logits: np.ndarray, token: int) -> float:
    weights = np.exp(logits - logits.max())
    return float(weights[token] / weights.sum())


class Means:
    """Over the kept train prompts of all other neurons, each prompt or position alike."""

    def __init__(self, model: PlainModel, prompts: Iterable[Prompt]) -> None:
        self._z: list[tuple[Neuron, np.ndarray]] = [
            (p.neuron, z_everywhere(model, p.kept)) for p in prompts if p.split == "train"
        ]

    def of(self, kind: str, neuron: Neuron) -> np.ndarray | None:
        """`[layer head d_head]`"""
        others = [z for owner, z in self._z if owner != neuron]
        if not others:
            return None
        if kind == "mean-last":
            return np.mean([z[:, -1] for z in others], axis=0)
        return np.concatenate([z[:, 1:] for z in others], axis=1).mean(1)


def _run(model: PlainModel, ids: list[int]) -> np.ndarray:
    """Logits after the last token."""
    with torch.no_grad():
        return model.hf(torch.tensor([[BOS, *ids]])).logits[0, -1].numpy().copy()


def _read(model: PlainModel, ids: list[int], neuron: Neuron, token: int) -> np.ndarray:
    """Pre-activation, activation, probability of the token; by a run of its own."""
    layer, index = neuron
    logits = _run(model, ids)
    pre, post = (model._seen[f"{name}{layer}"][0, -1, index] for name in ("pre", "post"))
    return np.array([pre, post, _share(logits, token)])


def _clean(model: PlainModel, ids: list[int], neuron: Neuron, token: int) -> np.ndarray:
    """The same of the prompt as it is."""
    layer, index = neuron
    run = model.run(ids)
    return np.array([run.pre[layer][index], run.post[layer][-1, index], _share(run.logits, token)])


def removed(
    model: PlainModel, ids: list[int], heads: Iterable[Head], kind: str, means: Means,
    neuron: Neuron, token: int,
) -> np.ndarray:  # fmt: skip
    """Removed minus clean: pre-activation, activation, probability."""
    clean = _clean(model, ids, neuron, token)
    mean = means.of(kind, neuron) if kind.startswith("mean") else None

    def change_of(layer: int, head: int) -> object:
        value = torch.tensor(
            model.layers[layer].b_v[head] + (0 if mean is None else mean[layer, head])
        )
        columns = slice(head * model.d_head, (head + 1) * model.d_head)
        first = {"zero-all": 0, "mean-all": 1}.get(kind, len(ids))

        def change(read: torch.Tensor) -> None:
            read[:, first:, columns] = value

        return change

    with ExitStack() as stack:
        for layer, head in heads:
            stack.enter_context(_reading(_modules(model, layer)[0], change_of(layer, head)))
        return _read(model, ids, neuron, token) - clean


def neuron_removed(model: PlainModel, ids: list[int], neuron: Neuron, token: int) -> float:
    """Change of the token's probability where the neuron's activation is 0 at the last position."""
    layer, index = neuron
    clean = _clean(model, ids, neuron, token)

    def change(read: torch.Tensor) -> None:
        read[:, -1, index] = 0.0

    with _reading(_modules(model, layer)[1], change):
        return float(_read(model, ids, neuron, token)[2] - clean[2])
