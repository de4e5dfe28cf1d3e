"""One component of a head, and how a head's contribution divides over its components.

Values of the store with the names that a person reads. Nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from explorer.charts.style import signed
from explorer.charts.token_text import ending, passage
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId, visible
from explorer.resources.head_tables import neuron_name

N_NEURONS = 10
_ENDING = 32
"""Characters of a prompt that its row shows."""


@lru_cache(maxsize=64)
def token_sides(store: Store, head: HeadId, matrix: str, component: int) -> dict[str, pd.DataFrame]:
    """What a component reads and writes in terms of tokens: `label value rank token_id` by side."""
    rows = store.component_tokens(head, matrix, component)
    rows = rows.assign(label=[visible(text) or "∅" for text in rows["text"]])
    return {
        side: rows.loc[rows["side"] == side, ["label", "value", "rank", "token_id"]].reset_index(
            drop=True
        )
        for side in ("read", "write")
    }


@dataclass(frozen=True)
class Fed:
    """The studied neurons that an OV component can reach."""

    rows: pd.DataFrame
    """`neuron` (URL form), `label value part contribution`: by the size of `value`, `v . w_in`;
    `part` and `contribution` in words, where the head is studied for the neuron."""
    n_studied: int
    """Neurons for which the head is studied: those whose prompts have parts."""

    def first(self, chosen: NeuronId | None) -> pd.DataFrame:
        """The first rows, and the chosen neuron's."""
        own = (self.rows["neuron"] == str(chosen)).to_numpy(dtype=bool)
        return self.rows.loc[(self.rows.index < N_NEURONS) | own].reset_index(drop=True)


@lru_cache(maxsize=64)
def fed_neurons(store: Store, head: HeadId, component: int) -> Fed:
    """Which neurons a component feeds, and what it adds to them on the run's train prompts."""
    rows = store.component_neurons(head, component)
    means = store.component_means(head, component)
    parts = {
        (int(layer), int(neuron)): (signed(float(part)), signed(float(whole)))
        for layer, neuron, part, whole in zip(
            means["layer"], means["neuron"], means["part"], means["contribution"], strict=True
        )
    }
    ids = [(int(a), int(b)) for a, b in zip(rows["layer"], rows["neuron"], strict=True)]
    texts, none = store.token_texts, ("not studied for this head", "–")
    named = pd.DataFrame(
        {
            "neuron": [str(NeuronId(*key)) for key in ids],
            "label": [
                neuron_name(NeuronId(*key), texts[int(token)])
                for key, token in zip(ids, rows["token_id"], strict=True)
            ],
            "value": rows["value"].astype(float).tolist(),
            "part": [parts.get(key, none)[0] for key in ids],
            "contribution": [parts.get(key, none)[1] for key in ids],
        }
    )
    return Fed(named, len(means))


def first_fed(store: Store, head: HeadId, component: int) -> NeuronId | None:
    """The neuron to which a component adds most on the run's prompts; None where its head is studied
    for none. Next-token neurons come before random ones."""
    means = store.component_means(head, component)
    chosen = means.loc[means["kind"] != "random"]
    rows = (chosen if len(chosen) else means)[["layer", "neuron"]].to_numpy(dtype=int)
    return NeuronId(int(rows[0][0]), int(rows[0][1])) if len(rows) else None


@dataclass(frozen=True)
class ComponentPrompts:
    """A component on the prompts of one neuron."""

    neuron: NeuronId
    split: str
    rows: pd.DataFrame
    """`prompt_id label part contribution activation active`, largest part first."""

    @property
    def mean_part(self) -> float:
        return float(np.mean(self.rows["part"].to_numpy(dtype=float)))

    @property
    def mean_contribution(self) -> float:
        """Of the whole head."""
        return float(np.mean(self.rows["contribution"].to_numpy(dtype=float)))


@lru_cache(maxsize=64)
def component_prompts(
    store: Store, head: HeadId, component: int, neuron: NeuronId, split: str
) -> ComponentPrompts | None:
    """What a component adds in each of a neuron's prompts, and its activation there; None where the
    head is not studied for the neuron."""
    found = store.component_parts(head, neuron, split)
    if found.empty:
        return None
    along = store.component_activations(head, component, neuron, split)
    activations = dict(zip(along["prompt_id"], along["activation"].astype(float), strict=True))
    texts = store.token_texts
    rows = pd.DataFrame(
        {
            "prompt_id": found["prompt_id"].astype(int),
            "label": [
                ending(passage("".join(texts[i] for i in ids[int(start) :])), _ENDING)
                for ids, start in zip(found["token_ids"], found["start"], strict=True)
            ],
            "part": [float(parts[component]) for parts in found["components"]],
            "contribution": found["contribution"].astype(float),
            "activation": [activations.get(prompt, float("nan")) for prompt in found["prompt_id"]],
            "active": found["active"].astype(bool),
        }
    )
    rows = rows.sort_values("part", key=abs, ascending=False, kind="stable", ignore_index=True)
    return ComponentPrompts(neuron, split, rows)


# --- the Head page ----------------------------------------------------------------------------


@dataclass(frozen=True)
class HeadParts:
    """A head's contribution to a neuron, divided over its OV components."""

    rows: pd.DataFrame
    """`component part value`: part in pre-activation units; `v . w_in`."""
    total: float
    """The head's contribution itself, as the store has it apart from its parts."""
    n_prompts: int
    prompt: int | None
    """The one prompt shown; None for the mean over all of the split."""

    @property
    def largest(self) -> int:
        """The component with the largest part, by size."""
        return int(self.rows["part"].abs().to_numpy(dtype=float).argmax())

    @property
    def n_for_most(self) -> int:
        """How few components, largest sizes first, make up 80 % of the summed sizes."""
        sizes = np.sort(np.abs(self.rows["part"].to_numpy(dtype=float)))[::-1]
        return int(np.searchsorted(np.cumsum(sizes), 0.8 * sizes.sum())) + 1


def head_parts(
    store: Store, head: HeadId, neuron: NeuronId, split: str, prompt: int | None
) -> HeadParts | None:
    """The parts in one prompt of the split, else their mean over all of it; None where nothing is
    stored: the head is not studied for the neuron."""
    found = store.component_parts(head, neuron, split)
    if found.empty:
        return None
    own = found.loc[found["prompt_id"] == prompt]
    used = own if len(own) else found
    parts = np.mean(np.stack([np.asarray(row, dtype=float) for row in used["components"]]), axis=0)
    values = store.neuron_components(head, neuron)
    by_component = dict(zip(values["component"], values["value"].astype(float), strict=True))
    rows = pd.DataFrame(
        {
            "component": range(len(parts)),
            "part": parts,
            "value": [by_component.get(i, float("nan")) for i in range(len(parts))],
        }
    )
    total = float(np.mean(used["contribution"].to_numpy(dtype=float)))
    return HeadParts(rows, total, len(used), prompt if len(own) else None)
