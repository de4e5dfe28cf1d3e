"""What the guide of the first minute names: prompts and words of the run, never fixed ones."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from explorer.resources.live_values import stored_prompt
from explorer.resources.presets import presets

_WORD = re.compile(r"[^\W\d_]{2,}")


def clearest_prompt(store: Store, neuron: NeuronId, head: HeadId) -> int | None:
    """The neuron's train prompt to which the head adds most among those in which it is active, else
    among all; None without a prompt, or where the head cannot reach."""
    shape = store.shape
    if head.layer >= shape.n_reaching_layers(neuron.layer):
        return None
    rows = store.attributions(neuron, "train")
    flat = head.flat(shape.n_heads)
    ranked = [
        (flat in list(active), float(heads[flat]), -int(prompt))
        for prompt, heads, active in zip(
            rows["prompt_id"], rows["heads"], rows["active"], strict=True
        )
    ]
    return -max(ranked)[2] if ranked else None


def _word_at(tokens: Sequence[str], place: int) -> str | None:
    """The whole word that a token is part of; None where it is no word of letters."""
    first = place
    while first > 0 and not tokens[first].startswith(" "):
        first -= 1
    last = place + 1
    while last < len(tokens) and tokens[last][:1].isalpha():
        last += 1
    word = "".join(tokens[first:last]).strip()
    return word if _WORD.fullmatch(word) else None


def looked_at(tokens: Sequence[str], weights: Sequence[float]) -> str | None:
    """The word that the peak token attends to most; `weights` begin with the hidden start token."""
    order = sorted(range(len(tokens)), key=lambda i: -weights[i + 1])
    words = (_word_at(tokens, place) for place in order)
    return next((word for word in words if word is not None), None)


def _pair_of_preset(store: Store, text: str) -> tuple[str, str] | None:
    """The one word in which an example differs from its second prompt."""
    for preset in presets(store):
        if preset.text != text or not preset.text2:
            continue
        a, b = text.split(), preset.text2.split()
        changed = [pair for pair in zip(a, b, strict=False) if pair[0] != pair[1]]
        if len(a) == len(b) and len(changed) == 1:
            return changed[0]
    return None


def words_to_swap(
    store: Store, neuron: NeuronId, head: HeadId, prompt: int | None, text: str | None
) -> tuple[str, str] | None:
    """A word of the prompt and another to put in its place; None where the run offers none.

    The word at which the head looks in this prompt, and the one at which it looks most often in the
    neuron's train prompts in which it is not active. For a text of the examples, their own pair.
    """
    if text is not None:
        return _pair_of_preset(store, text)
    shown = None if prompt is None else stored_prompt(store, neuron, prompt)
    return (
        None
        if shown is None
        else _stored_pair(store, neuron, head, shown.prompt_id, shown.token_ids)
    )


@lru_cache(maxsize=64)
def _stored_pair(
    store: Store, neuron: NeuronId, head: HeadId, prompt: int, token_ids: tuple[int, ...]
) -> tuple[str, str] | None:
    rows, texts = store.head_attention(neuron, head), store.token_texts
    weights = {int(i): list(w) for i, w in zip(rows["prompt_id"], rows["weights"], strict=True)}
    if prompt not in weights:
        return None
    word = looked_at([texts[i] for i in token_ids], weights[prompt])
    parts, flat = store.attributions(neuron, "train"), head.flat(store.shape.n_heads)
    active = {
        int(i) for i, a in zip(parts["prompt_id"], parts["active"], strict=True) if flat in list(a)
    }
    found: Counter[str] = Counter()
    for row in store.prompts(neuron, "train").to_dict("records"):
        other = int(row["prompt_id"])
        if other not in active and other in weights:
            kept = [texts[int(i)] for i in row["token_ids"][int(row["start"]) :]]
            seen = looked_at(kept, weights[other])
            found.update([seen] if seen else [])
    best = next((w for w, _ in found.most_common() if word and w.lower() != word.lower()), None)
    return None if word is None or best is None else (word, best)
