"""What the Head page shows of a head's removal: the changes it made, and the answer they give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from explorer.charts.style import signed
from explorer.core.store import Store
from explorer.core.types import ABLATION_KINDS, HeadId, NeuronId
from explorer.core.verdict import Verdict, verdict
from explorer.resources.head_words import with_texts


@dataclass(frozen=True)
class Quantity:
    """What a removal changes, and how its numbers are written."""

    column: str
    name: str
    scale: float
    digits: int
    unit: str
    """Of the numbers shown; empty for the neuron's own units."""

    def shown(self, value: float) -> str:
        return signed(value, self.digits) + (f" {self.unit}" if self.unit else "")


QUANTITIES = {
    "activation": Quantity("delta_activation", "activation", 1.0, 2, ""),
    "pre-activation": Quantity("delta_pre_activation", "pre-activation", 1.0, 2, ""),
    "P(token)": Quantity("delta_probability", "P(token)", 100.0, 1, "points"),
}
"""In the order of the switch. A point is a hundredth of probability."""


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(np.asarray(values, dtype=float))) if len(values) else None


@dataclass(frozen=True)
class Removals:
    """What removing the head changed, on every kept prompt of the neuron, both splits."""

    rows: pd.DataFrame
    """As `Store.ablations` gives them, with `text`."""
    joint: pd.DataFrame
    neuron: pd.DataFrame

    @cached_property
    def kinds(self) -> list[str]:
        """Kinds of removal that are stored, `zero-last` first."""
        found = set(self.rows["kind"])
        return [kind for kind in ABLATION_KINDS if kind in found]

    def of(self, kind: str, quantity: Quantity) -> pd.DataFrame:
        """One mark a prompt: `prompt_id split rank active text value`, removed minus clean."""
        mine = self.rows.loc[self.rows["kind"] == kind].reset_index(drop=True)
        value = mine[quantity.column].astype(float) * quantity.scale
        return mine[["prompt_id", "split", "rank", "active", "text"]].assign(value=value)

    def data(self, kind: str) -> pd.DataFrame:
        """All quantities of a kind, to take away."""
        mine = self.rows.loc[self.rows["kind"] == kind]
        return mine.drop(columns=["text"]).rename(columns={"rank": "prompt"})

    def _active(self, kind: str) -> set[int]:
        mine = self.rows.loc[(self.rows["kind"] == kind) & self.rows["active"], "prompt_id"]
        return {int(i) for i in mine}

    def median(self, kind: str, quantity: Quantity, active: bool) -> float | None:
        """Median change over the prompts in which the head is active, or is not; None without any."""
        rows = self.of(kind, quantity)
        return _median(rows.loc[rows["active"] == active, "value"].tolist())

    def median_when_active(self, kind: str, quantity: Quantity) -> float | None:
        """Median change over the prompts in which the head is active; None without any."""
        return self.median(kind, quantity, active=True)

    def joint_median(self, kind: str, quantity: Quantity) -> tuple[float, float] | None:
        """Over the prompts in which the head is active: the median change with all their active
        heads removed at once, and how many heads that is on average."""
        active = self._active(kind)
        mine = self.joint.loc[
            (self.joint["kind"] == kind) & self.joint["prompt_id"].isin(list(active))
        ]
        value = _median(mine[quantity.column].tolist())
        if value is None:
            return None
        return value * quantity.scale, float(np.mean(mine["n_heads"].to_numpy(dtype=float)))

    def neuron_median(self, kind: str) -> float | None:
        """Over the same prompts: the median change of P(token), in points, without the neuron."""
        mine = self.neuron.loc[self.neuron["prompt_id"].isin(list(self._active(kind)))]
        points = QUANTITIES["P(token)"].scale
        return (
            float(mine["delta_probability"].astype(float).median()) * points if len(mine) else None
        )

    @cached_property
    def verdict(self) -> Verdict | None:
        """Whether the head switches the neuron on, by the rule of `core.verdict`."""
        mine = self.rows.loc[self.rows["kind"] == "zero-last"]
        return verdict(
            mine["delta_pre_activation"].to_numpy(dtype=float),
            mine["pre_activation"].to_numpy(dtype=float),
            mine["active"].to_numpy(dtype=bool),
        )


def removals(
    store: Store, neuron: NeuronId, head: HeadId, texts: Mapping[int, str]
) -> Removals | None:
    """The pair's removals; None where the run has none for it."""
    rows = store.ablations(neuron, head)
    if rows.empty:
        return None
    return Removals(
        with_texts(rows, texts), store.joint_ablations(neuron), store.neuron_ablations(neuron)
    )


def first_kind(removed: Removals | None, wanted: str | None) -> str:
    """The kind of removal to show: the one asked for where it is stored, else the run's first."""
    kinds = [] if removed is None else removed.kinds
    if wanted in kinds:
        return wanted
    return kinds[0] if kinds else wanted or "zero-last"
