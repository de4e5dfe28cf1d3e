"""What the first page shows as found: the best pairs of the run, and of how many they are the best.

A pair is shown if its explanation beats shuffled labels (p at most 0.05) and its removal costs the
neuron more where the head is active than where it is not. Nothing here needs Streamlit or the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from explorer.resources.first_minute import clearest_prompt

LEVEL = 0.05
N_CARDS = 4


@dataclass(frozen=True)
class Found:
    """One pair worth looking at. Losses are medians, in pre-activation units; positive: the removal
    takes that much from the neuron."""

    neuron: NeuronId
    head: HeadId
    token: str
    text: str
    """The explanation."""
    n_right: int
    n_test: int
    score: float
    p_value: float
    lost_active: float
    lost_inactive: float
    prompt: int | None
    """A train prompt to see it in, the one to which the head adds most."""


@dataclass(frozen=True)
class Gallery:
    """The pairs shown, and the numbers that say how they were chosen."""

    found: tuple[Found, ...]
    explainer: str
    n_pairs: int
    """Pairs with a score and a removal, random neurons left out."""
    n_beat: int
    """Those whose p is at most `LEVEL`."""
    n_both: int
    """Those of them that lose more where the head is active."""

    @property
    def n_by_chance(self) -> float:
        """How many would have such a p if no explanation held anything."""
        return LEVEL * self.n_pairs


@lru_cache(maxsize=8)
def gallery_of(store: Store) -> Gallery | None:
    """The best pairs of a run, one a neuron and one a head; None where nothing was scored and removed."""
    explainer = store.main_explainer()
    rows = store.told_and_removed(explainer or "")
    if explainer is None or rows.empty:
        return None
    beat = rows.loc[rows["p_value"].astype(float) <= LEVEL]
    both = beat.loc[beat["lost_active"].astype(float) > beat["lost_inactive"].astype(float)]
    found: list[Found] = []
    for row in both.to_dict("records"):
        neuron = NeuronId(int(row["layer"]), int(row["neuron"]))
        head = HeadId(int(row["head_layer"]), int(row["head"]))
        if len(found) < N_CARDS and not any(neuron == f.neuron or head == f.head for f in found):
            found.append(
                Found(neuron, head, store.token_texts[int(row["token_id"])], str(row["text"]),
                      int(row["n_right"]), int(row["n_test"]), float(row["score"]),
                      float(row["p_value"]), float(row["lost_active"]), float(row["lost_inactive"]),
                      clearest_prompt(store, neuron, head))
            )  # fmt: skip
    return Gallery(tuple(found), explainer, len(rows), len(beat), len(both))
