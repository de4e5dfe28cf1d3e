"""What the Head page shows of one head: the studied neurons it reaches, and its attention."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import pandas as pd

from explorer.charts.style import signed
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId, visible
from explorer.resources.neuron_tables import NeuronTables

MAX_NEURONS = 8
"""Neurons shown of those that a head serves."""


def neuron_name(neuron: NeuronId, token: str) -> str:
    """A neuron with its token, for rows of charts and pickers: `L9 N2770 ␣together`."""
    return f"{neuron.label} {visible(token)}"


@lru_cache(maxsize=256)
def served_neurons_of(
    store: Store, head: HeadId, split: str, explainer: str | None = None
) -> pd.DataFrame:
    """The studied neurons that a head can reach: `neuron label token share n_active n_prompts
    contribution studied kind score`; studied pairs first, then by share, then by mean contribution.
    `score` is of the explanations by `explainer`; NULL without one. Not to be changed in place."""
    rows = store.head_neurons(head, split)
    scored = store.scores_of_head(head, explainer or "")
    scores = {
        NeuronId(int(a), int(b)): float(s)
        for a, b, s in zip(scored["layer"], scored["neuron"], scored["score"], strict=True)
    }
    texts = store.token_texts
    neurons = [NeuronId(int(a), int(b)) for a, b in zip(rows["layer"], rows["neuron"], strict=True)]
    tokens = [texts[int(t)] for t in rows["token_id"]]
    names = [neuron_name(n, t) for n, t in zip(neurons, tokens, strict=True)]
    return pd.DataFrame(
        {
            "neuron": [str(n) for n in neurons],
            "label": names,
            "token": tokens,
            "share": rows["share"].astype(float),
            "n_active": rows["n_active"],
            "n_prompts": rows["n_prompts"],
            "contribution": [
                "–" if pd.isna(v) else signed(float(v)) for v in rows["mean_attribution"]
            ],
            "studied": rows["studied"],
            "kind": rows["kind"],
            "score": [scores.get(n, float("nan")) for n in neurons],
        }
    )


def shown_neurons(served: pd.DataFrame, chosen: NeuronId, limit: int = MAX_NEURONS) -> pd.DataFrame:
    """The first rows, and the chosen neuron's in the last place if it is beyond them."""
    names = served["neuron"].tolist()
    places = list(range(min(limit, len(names))))
    if str(chosen) in names[limit:]:
        places[-1] = names.index(str(chosen))
    return served.take(places)


def attention_of(store: Store, neuron: NeuronId, head: HeadId) -> dict[int, Sequence[float]]:
    """Attention of the peak token over the start token and the kept tokens, by prompt id; empty
    where the pair is not studied."""
    rows = store.head_attention(neuron, head)
    return {int(i): w for i, w in zip(rows["prompt_id"], rows["weights"], strict=True)}


def attention_limit(weights: dict[int, Sequence[float]]) -> float:
    """The attention that gets the darkest tint: the largest paid to a kept token, in tenths up."""
    largest = max((float(max(row[1:])) for row in weights.values() if len(row) > 1), default=0.0)
    return min(1.0, max(0.1, -(-largest * 10 // 1) / 10))


def reaching_heads(store: Store, neuron: NeuronId) -> list[HeadId]:
    """All heads that write to a neuron's input, by layer."""
    shape = store.shape
    return [
        HeadId.from_flat(flat, shape.n_heads)
        for flat in range(shape.n_reaching_heads(neuron.layer))
    ]


def attention_data(
    tables: NeuronTables, head: HeadId, weights: dict[int, Sequence[float]]
) -> pd.DataFrame:
    """The prompts with the head's activity, contribution and attention, to take away."""
    active, contributions = tables.active_prompts(head), tables.contributions(head)
    rows = []
    for p in tables.prompts.to_dict("records"):
        prompt_id = int(p["prompt_id"])
        row = weights.get(prompt_id)
        rows.append(
            {
                "prompt": int(p["rank"]),
                "prompt_id": prompt_id,
                "split": p["split"],
                "active": prompt_id in active,
                "contribution (pre-activation)": contributions[prompt_id],
                "kept text": p["kept"],
                "attention to start": None if row is None else float(row[0]),
                "attention to kept tokens": "–"
                if row is None
                else " ".join(f"{float(w):.3f}" for w in row[1:]),
            }
        )
    return pd.DataFrame(rows)
