"""What removing heads did over a whole run: against direct contributions, on active against inactive
prompts, one by one against together.

Pure functions of a store; Streamlit and the model are not needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd

from explorer.charts.style import signed
from explorer.core import findings
from explorer.core.findings import Estimate, KsTest
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId, visible

MAX_MARKS = 4500
"""Marks of a scatter; more are drawn by a seeded sample of them."""
MEASURES = {
    "pre-activation": "delta_pre_activation",
    "P(token)": "delta_probability",
}
"""What a removal changes, and its column."""
DIRECT_KINDS = ("zero-last", "zero-all")
"""Kinds for which the direct contribution is what the removal takes away on the head's own path."""


class Agreement(NamedTuple):
    """How well direct contributions foretell measured effects, over some rows."""

    n: int
    pearson: Estimate | None
    spearman: Estimate | None
    signs: Estimate | None
    """Share of rows whose signs agree."""
    chance: float | None
    """The share to expect if contributions and effects were paired at random."""


@dataclass(frozen=True)
class Removals:
    """All removals of one kind in a run; empty tables where the run removed nothing."""

    kind: str
    rows: pd.DataFrame
    """As `Store.removals`, with `x` (direct contribution), `y` (pre-activation lost: clean minus
    ablated), `agree` (signs) and `pair` (a number for each pair of neuron and head)."""
    joint: pd.DataFrame
    """As `Store.joint_removals`, of the prompts with two active heads or more, all of them studied."""
    n_joint: int
    """Prompts with two active heads or more."""

    def agreement(self, active: bool) -> Agreement:
        """Over all rows, or within those whose head is active."""
        return self._agreements[active]

    @cached_property
    def _agreements(self) -> dict[bool, Agreement]:
        found = {}
        for active in (False, True):
            rows = self.rows.loc[self.rows["active"]] if active else self.rows
            x, y = rows["x"].to_numpy(dtype=float), rows["y"].to_numpy(dtype=float)
            pairs = rows["pair"].to_numpy(dtype=int)
            found[active] = Agreement(
                len(rows),
                findings.pearson(x, y, pairs),
                findings.spearman(x, y, pairs),
                findings.sign_agreement(x, y, pairs),
                findings.chance_agreement(x, y),
            )
        return found

    def changes(self, measure: str, active: bool) -> np.ndarray:
        """Ablated minus clean, in the rows whose head is active, or is not. `measure` is one of
        `MEASURES`."""
        mine = self.rows["active"] == active
        return self.rows.loc[mine, MEASURES[measure]].to_numpy(dtype=float)

    @cached_property
    def tests(self) -> dict[str, KsTest | None]:
        """Active against inactive rows, by measure."""
        return {
            m: findings.ks_test(self.changes(m, True), self.changes(m, False)) for m in MEASURES
        }

    @cached_property
    def means(self) -> dict[tuple[str, bool], Estimate | None]:
        """Mean change by measure and activity; intervals resample pairs."""
        pairs = self.rows["pair"].to_numpy(dtype=int)
        return {
            (m, active): findings.mean(
                self.changes(m, active), pairs[(self.rows["active"] == active).to_numpy(dtype=bool)]
            )
            for m in MEASURES
            for active in (True, False)
        }

    @cached_property
    def more_together(self) -> Estimate | None:
        """What removing all active heads takes beyond the sum of removing each alone, mean over
        prompts, in pre-activation units; positive: alone, others stand in for them."""
        neurons = pd.factorize(pd.MultiIndex.from_frame(self.joint.loc[:, ["layer", "neuron"]]))[0]
        lost = (self.joint["alone"] - self.joint["together"]).to_numpy(dtype=float)
        return findings.mean(lost, neurons)


def removals_of(store: Store, kind: str) -> Removals:
    """The removals of a run by `kind`."""
    rows = store.removals(kind)
    x, y = rows["contribution"].astype(float), -rows["delta_pre_activation"].astype(float)
    pairs = pd.MultiIndex.from_frame(rows.loc[:, ["layer", "neuron", "head_layer", "head"]])
    rows = rows.assign(
        x=x, y=y, pair=pd.factorize(pairs)[0], active=rows["active"].astype(bool),
        agree=findings.signs_agree(x.to_numpy(dtype=float), y.to_numpy(dtype=float)),
    )  # fmt: skip
    joint = store.joint_removals(kind).query("n_heads > 1")
    whole = joint.query("n_alone == n_heads").reset_index(drop=True)
    return Removals(kind, rows, whole, len(joint))


def _named(rows: pd.DataFrame, texts: list[str]) -> pd.DataFrame:
    """Columns that say which neuron (URL form), head (URL form), token and both in words."""
    neurons = [NeuronId(int(a), int(b)) for a, b in zip(rows["layer"], rows["neuron"], strict=True)]
    heads = [HeadId(int(a), int(b)) for a, b in zip(rows["head_layer"], rows["head"], strict=True)]
    return pd.DataFrame(
        {
            "prompt_id": rows["prompt_id"].astype(int).tolist(),
            "neuron": [str(n) for n in neurons],
            "head": [str(h) for h in heads],
            "name": [f"{h.label} on {n.label}" for h, n in zip(heads, neurons, strict=True)],
            "token": [visible(texts[int(t)]) for t in rows["token_id"]],
        }
    )


Pick = tuple[int | None, str | None, str | None]
"""Prompt id, neuron and head in URL form: the row that is chosen."""


def _drawn(rows: pd.DataFrame, chosen: Pick, limit: int, seed: int) -> pd.DataFrame:
    """At most `limit` rows, by a seeded sample that keeps the chosen one."""
    if len(rows) <= limit:
        return rows
    kept = rows.sample(limit - 1, random_state=seed)
    prompt_id, neuron, head = chosen
    if prompt_id is not None and neuron and head:
        unit = HeadId.parse(head)
        mine = (
            (rows["prompt_id"] == prompt_id)
            & (rows["head_layer"] == unit.layer)
            & (rows["head"] == unit.index)
        )
        kept = pd.concat([kept, rows.loc[mine & ~rows.index.isin(kept.index)]])
    return kept.sort_index()


def scatter_rows(
    removals: Removals, texts: list[str], chosen: Pick, limit: int = MAX_MARKS, seed: int = 0
) -> pd.DataFrame:
    """The marks of the scatter: `x y agree active prompt_id neuron head name token direct lost`.
    Active ones come last, so that they lie on top."""
    rows = _drawn(removals.rows, chosen, limit, seed)
    rows = rows.sort_values("active", kind="stable").reset_index(drop=True)
    return _named(rows, texts).assign(
        x=rows["x"], y=rows["y"], agree=rows["agree"], active=rows["active"],
        direct=[signed(v) for v in rows["x"]], lost=[signed(v) for v in rows["y"]],
    )  # fmt: skip


def removal_data(removals: Removals, texts: list[str]) -> pd.DataFrame:
    """Every removal, as a person takes it away."""
    rows = removals.rows.reset_index(drop=True)
    return _named(rows, texts)[["prompt_id", "neuron", "head", "token"]].assign(
        **{
            "kind of neuron": rows["neuron_kind"], "split": rows["split"], "active": rows["active"],
            "direct contribution (pre-activation)": rows["x"],
            "lost when removed (pre-activation)": rows["y"],
            "change of activation": rows["delta_activation"],
            "change of P(token)": rows["delta_probability"],
        }
    )  # fmt: skip


def joint_rows(removals: Removals, limit: int = MAX_MARKS, seed: int = 0) -> pd.DataFrame:
    """The marks of heads removed together against one by one: `x y n_heads name prompt_id one all`."""
    rows = removals.joint
    if len(rows) > limit:
        rows = rows.sample(limit, random_state=seed).sort_index()
    one, both = -rows["alone"].astype(float), -rows["together"].astype(float)
    return pd.DataFrame(
        {
            "x": one, "y": both, "n_heads": rows["n_heads"], "prompt_id": rows["prompt_id"],
            "name": [
                NeuronId(int(a), int(b)).label
                for a, b in zip(rows["layer"], rows["neuron"], strict=True)
            ],
            "one": [signed(v) for v in one], "all": [signed(v) for v in both],
        }
    )  # fmt: skip


def curves(removals: Removals, measure: str) -> pd.DataFrame:
    """Cumulative shares of active and inactive rows: `group x share`."""
    parts = []
    for active in (True, False):
        x, share = findings.cumulative(removals.changes(measure, active))
        parts.append(
            pd.DataFrame({"group": "active" if active else "inactive", "x": x, "share": share})
        )
    return pd.concat(parts, ignore_index=True)
