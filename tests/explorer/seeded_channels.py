"""Channels of the seeded store: random directions and readers of invented heads, which obey the rules.

Scores follow from them by the definitions, z by median and MAD; parts of a head's contribution sum to
it. One channel is planted: component 1 of L1 H2 is read by the queries of L4 H3.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

Rows = dict[str, list[tuple[Any, ...]]]
MODES = ("Q", "K", "V")
N_COMPONENTS, D_MODEL = 2, 16
PLANTED_SOURCE, PLANTED_COMPONENT, PLANTED_RECEIVER = (1, 2), 1, (4, 3)
_N_STORED, _N_TOKENS = 50, 20


def directions(n_layers: int, n_heads: int, rng: np.random.Generator) -> np.ndarray:
    """Unit output directions, orthonormal within a head: layer x head x component x d_model."""
    noise = rng.normal(size=(n_layers, n_heads, D_MODEL, N_COMPONENTS))
    return np.swapaxes(np.linalg.qr(noise)[0], -1, -2)


def _readers(writes: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """What each head reads through, of unit Frobenius norm: mode -> layer x head x d_model x d_head."""
    n_layers, n_heads = writes.shape[:2]
    found = {mode: rng.normal(size=(n_layers, n_heads, D_MODEL, N_COMPONENTS)) for mode in MODES}
    found["Q"][PLANTED_RECEIVER][:, 0] = 30 * writes[PLANTED_SOURCE][PLANTED_COMPONENT]
    return {m: r / np.linalg.norm(r, axis=(2, 3), keepdims=True) for m, r in found.items()}


def _composition(writes: np.ndarray, sizes: np.ndarray, readers: dict[str, np.ndarray]) -> Rows:
    rows: Rows = defaultdict(list)
    n_layers, n_heads = writes.shape[:2]
    places = [
        (m, d, h) for m in MODES for d in range(1, n_layers) for h in range(n_heads)
    ]  # fmt: skip
    for mode, layer, head in places:
        scores = np.linalg.norm(writes[:layer] @ readers[mode][layer, head], axis=-1)
        weights = sizes[:layer] ** 2
        whole = np.sqrt((scores**2 * weights).sum(-1) / weights.sum(-1))
        for (src, src_head), score in np.ndenumerate(whole):
            rows["composition"].append((mode, src, src_head, layer, head, float(score)))
        centred = scores - np.median(scores)
        z = centred / (1.4826 * np.median(np.abs(centred)))
        for flat in np.argsort(-scores, axis=None)[:_N_STORED]:
            at = np.unravel_index(flat, scores.shape)
            place = (mode, *map(int, at), layer, head)
            rows["component_composition"].append((*place, float(scores[at]), float(z[at])))
    return rows


def _component_rows(
    sizes: np.ndarray, studied: list[tuple[Any, ...]], n_tokens: int, rng: np.random.Generator
) -> Rows:
    rows: Rows = defaultdict(list)
    for (layer, head, component), size in np.ndenumerate(sizes):
        for matrix in ("OV", "QK"):
            value = float(size) * (1.0 if matrix == "OV" else 0.5)
            rows["head_components"].append((layer, head, matrix, component, value))
            for side in ("read", "write"):
                chosen = rng.choice(n_tokens, size=_N_TOKENS, replace=False)
                values = np.sort(rng.uniform(0.1, 1.0, size=_N_TOKENS))[::-1]
                rows["component_tokens"] += [
                    (layer, head, matrix, side, component, rank, int(token), float(value))
                    for rank, (token, value) in enumerate(zip(chosen, values, strict=True), start=1)
                ]
        for neuron_layer, neuron, *_ in studied:
            if neuron_layer >= layer:
                place = (layer, head, component, neuron_layer, neuron)
                rows["component_neurons"].append((*place, float(rng.normal())))
    return rows


def _parts(
    rows: Mapping[str, list[tuple[Any, ...]]], n_heads: int, rng: np.random.Generator
) -> Rows:
    """Each studied head's contribution in each prompt, divided over its components."""
    heads = {prompt: parts for prompt, parts, *_ in rows["head_attributions"]}
    found = []
    for prompt, layer, head, _ in rows["head_attention"]:
        whole = heads[prompt][layer * n_heads + head]
        first = whole * float(rng.uniform(0.5, 1.4))
        found.append((prompt, layer, head, [first, whole - first]))
    return {"component_attributions": found}


def channel_rows(
    rows: Mapping[str, list[tuple[Any, ...]]], n_layers: int, n_heads: int, n_tokens: int, seed: int
) -> Rows:
    """The rows of the six tables of channels; `n_tokens` are those with a text."""
    rng = np.random.default_rng([seed, 2])
    writes = directions(n_layers, n_heads, rng)
    sizes = np.sort(rng.uniform(0.5, 3.0, size=(n_layers, n_heads, N_COMPONENTS)))[..., ::-1]
    return {
        **_composition(writes, sizes, _readers(writes, rng)),
        **_component_rows(sizes, rows["studied_neurons"], n_tokens, rng),
        **_parts(rows, n_heads, rng),
    }
