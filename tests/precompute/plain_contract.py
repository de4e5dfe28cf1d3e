"""What a store must hold, worked out slowly from the words of the contract on a `PlainModel`.

One loop for each sentence; nothing of the product is used here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tests.precompute.plain_model import PlainModel

Neuron = tuple[int, int]
Head = tuple[int, int]


@dataclass(frozen=True)
class Options:
    """What the job was asked for, as far as the numbers depend on it."""

    layers: tuple[int, ...]
    per_layer: int
    tokens: tuple[int, ...]
    neurons: tuple[Neuron, ...]
    prompts: int
    candidates: int
    max_prompt_tokens: int
    keep_ratio: float
    top_k: int | None
    """None is `mean+2sd`."""


@dataclass
class Prompt:
    neuron: Neuron
    split: str
    rank: int
    doc_id: int
    token_ids: list[int]
    start: int
    activation: float
    curve: dict[int, float]
    """Suffix start to activation."""

    @property
    def kept(self) -> list[int]:
        return self.token_ids[self.start :]


@dataclass
class Found:
    """The prompts of all neurons, and how often each special case came up."""

    prompts: list[Prompt] = field(default_factory=list)
    n_repeats: int = 0
    n_dropped: int = 0
    n_short: int = 0


@dataclass(frozen=True)
class Parts:
    heads: np.ndarray
    mlps: np.ndarray
    embedding: float
    bias: float
    pre_activation: float
    ln_scale: float


def best_tokens(scores: np.ndarray, texts: list[str]) -> np.ndarray:
    """Tokens with a text from best to worst, for each `[... token]` row of congruences."""
    with_text = np.array([i for i, text in enumerate(texts) if text])
    return with_text[np.argsort(-scores[..., with_text], axis=-1, kind="stable")]


def is_word_start(text: str) -> bool:
    return text.startswith(" ") and sum(not c.isspace() for c in text) >= 2


def next_token_neurons(
    scores: np.ndarray, texts: list[str], layers: tuple[int, ...], per_layer: int
) -> list[Neuron]:
    best = best_tokens(scores, texts)[..., 0]
    found: list[Neuron] = []
    for layer in layers:
        words = [n for n in range(scores.shape[1]) if is_word_start(texts[best[layer, n]])]
        words.sort(key=lambda n: -scores[layer, n, best[layer, n]])
        found += [(layer, n) for n in words[:per_layer]]
    return found


def token_best(scores: np.ndarray, token: int, layers: tuple[int, ...], count: int) -> list[Neuron]:
    """A token's best neurons over those layers taken together."""
    pairs = [(layer, n) for layer in layers for n in range(scores.shape[1])]
    return sorted(pairs, key=lambda pair: -scores[(*pair, token)])[:count]


def studied(scores: np.ndarray, texts: list[str], o: Options) -> dict[Neuron, tuple[int, str]]:
    """Token and kind of all studied neurons but the random ones."""
    best = best_tokens(scores, texts)[..., 0]
    found = {
        pair: (int(best[pair]), "next-token")
        for pair in next_token_neurons(scores, texts, o.layers, o.per_layer)
    }
    for token in o.tokens:
        for pair in token_best(scores, token, o.layers, o.per_layer):
            found.setdefault(pair, (token, "requested"))
    for pair in o.neurons:
        found.setdefault(pair, (int(best[pair]), "requested"))
    return found


def peak(model: PlainModel, ids: list[int], neuron: Neuron) -> tuple[float, int, int] | None:
    """Highest post-activation in any window at any position but BOS: value, window start, position.

    Only a positive one counts; ties go to the earlier position.
    """
    layer, index = neuron
    size = model.context - 1
    best: tuple[float, int, int] | None = None
    for window in range(0, len(ids), size):
        values = model.run(ids[window : window + size]).post[layer][1:, index]
        for position, value in enumerate(values):
            if value > 0 and (best is None or value > best[0]):
                best = float(value), window, window + position
    return best


def last_activation(model: PlainModel, ids: list[int], neuron: Neuron) -> float:
    return float(model.run(ids).post[neuron[0]][-1, neuron[1]])


def truncate(
    model: PlainModel, ids: list[int], neuron: Neuron, o: Options
) -> dict[int, float] | None:
    """Lengths evaluated with their activations, the kept one last; None where none is kept."""
    whole = last_activation(model, ids, neuron)
    found: dict[int, float] = {}
    for length in range(1, min(len(ids), o.max_prompt_tokens) + 1):
        found[length] = last_activation(model, ids[-length:], neuron)
        if found[length] >= o.keep_ratio * whole:
            return found
    return None


def curve(
    model: PlainModel, ids: list[int], neuron: Neuron, tried: dict[int, float]
) -> dict[int, float]:
    kept = max(tried)
    more = {n for n in (2 * kept, 4 * kept, 8 * kept) if n < len(ids)} | {len(ids)}
    lengths = {**tried, **{n: last_activation(model, ids[-n:], neuron) for n in more}}
    return {len(ids) - n: value for n, value in lengths.items()}


def find_prompts(
    model: PlainModel,
    splits: dict[str, dict[int, list[int]]],
    neurons: list[Neuron],
    o: Options,
) -> Found:
    """Kept prompts of every neuron; `splits` holds token ids by `doc_id`, train first."""
    found, texts = Found(), model.texts()
    size = model.context - 1
    every = [ids for documents in splits.values() for ids in documents.values()]
    model.prepare(ids[n : n + size] for ids in every for n in range(0, len(ids), size))
    for neuron in neurons:
        seen: set[str] = set()
        for split, documents in splits.items():
            peaks = [(doc_id, peak(model, ids, neuron)) for doc_id, ids in documents.items()]
            held = sorted((-p[0], doc_id, p) for doc_id, p in peaks if p is not None)
            held = held[: o.candidates]
            whole = [documents[doc_id][p[1] : p[2] + 1] for _, doc_id, p in held]
            model.prepare(ids[-n:] for ids in whole for n in range(1, o.max_prompt_tokens + 1))
            rank = 0
            for (_, doc_id, (value, _, _)), ids in zip(held, whole, strict=True):
                if rank == o.prompts:
                    break
                tried = truncate(model, ids, neuron, o)
                if tried is None:
                    found.n_dropped += 1
                    continue
                text = "".join(texts[i] for i in ids[-max(tried) :])
                if text in seen:
                    found.n_repeats += 1
                    continue
                seen.add(text)
                rank += 1
                found.prompts.append(
                    Prompt(
                        neuron, split, rank, doc_id, ids, len(ids) - max(tried), value,
                        curve(model, ids, neuron, tried),
                    )
                )  # fmt: skip
            found.n_short += rank < o.prompts
    return found


def attribute(model: PlainModel, ids: list[int], neuron: Neuron) -> Parts:
    """Parts of the pre-activation at the last position: the layer norm frozen at its divisor.

    LN(x) . w + b = (x - mean(x)) . (gain w) / scale + shift . w + b, and x is a sum of parts.
    """
    layer, index = neuron
    run, own = model.run(ids), model.layers[layer]
    x = run.mlp_input[layer]
    scale = float(np.sqrt(x.var() + own.eps))
    reads = own.gain * own.w_in[index]

    def part(vector: np.ndarray) -> float:
        return float((vector - vector.mean()) @ reads) / scale

    heads = np.zeros((model.n_layers, model.n_heads))
    bias = float(own.shift @ own.w_in[index] + own.b_in[index])
    for n in range(model.n_reaching(layer)):
        block = model.layers[n]
        bias += part(block.b_o)
        for h in range(model.n_heads):
            # Attention sums to 1, so what every value holds passes through whole.
            bias += part(block.b_v[h] @ block.w_o[h])
            heads[n, h] = part((run.z[n][h] - block.b_v[h]) @ block.w_o[h])
    mlps = np.zeros(model.n_layers)
    for n in range(layer):
        mlps[n] = part(run.mlp_out[n])
    pre = float(run.pre[layer][index])
    return Parts(heads, mlps, part(run.embedding), bias, pre, scale)


def active(model: PlainModel, heads: np.ndarray, layer: int, top_k: int | None) -> set[Head]:
    reachable = [(n, h) for n in range(model.n_reaching(layer)) for h in range(model.n_heads)]
    values = np.array([heads[head] for head in reachable])
    if top_k is not None:
        best = sorted((-value, head) for value, head in zip(values, reachable, strict=True))
        return {head for value, head in best[:top_k] if value < 0}
    if len(reachable) < 6:
        return set()
    threshold = values.mean() + 2 * values.std(ddof=1)
    return {head for value, head in zip(values, reachable, strict=True) if value > threshold}
