"""What the Map shows: every pair of a studied neuron and a head, and the orders of its rows and
columns."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from explorer.charts.map_heatmap import MapOrder
from explorer.charts.style import number, signed, signed_limit
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from explorer.resources.head_tables import neuron_name

MAX_CELLS = 5000
ROW_SORTS = ("layer", "token", "similar")
COLUMN_SORTS = ("layer", "total")
MEASURES = ("share", "contribution", "score", "effect")
EFFECT_KIND = "zero-last"


@dataclass(frozen=True)
class MapTables:
    """All pairs of a run in one split, and how they are laid out."""

    pairs: pd.DataFrame
    """`neuron head share contribution score effect n_active n_prompts studied kind token`, with the
    measures in words (`shown shown_score shown_effect`); score and effect are missing where there is
    none. `effect` is the median pre-activation lost when the head is removed (`zero-last`)."""
    labels: dict[str, str]
    """Each neuron (URL form) with its token."""
    order: MapOrder
    limit: float
    """Half the width of the signed scale of the measure, over all pairs."""
    n_heads: int
    """Heads of the model."""
    note: str
    """Which columns were left out, and why; empty when all are shown."""
    n_pairs: int
    """Pairs of the run in which the head can reach the neuron, shown or not."""
    n_studied: int
    studied_heads_per_neuron: dict[str, float]
    """Mean number of studied heads, of `random` neurons and of all others (`chosen`)."""

    @property
    def data(self) -> pd.DataFrame:
        """The pairs shown, as a person takes them away."""
        return self.pairs.drop(columns=["layer", "name", "shown", "shown_score", "shown_effect"])


def _measured(store: Store, split: str) -> pd.DataFrame:
    """All pairs with score and effect, missing where there is none."""
    keys = ["layer", "neuron", "head_layer", "head"]
    scores = store.pair_scores(store.main_explainer() or "")[[*keys, "score"]]
    effects = store.median_effects(EFFECT_KIND)[[*keys, "effect"]]
    rows = store.pairs(split).merge(scores, on=keys, how="left").merge(effects, on=keys, how="left")
    return rows.astype({"score": float, "effect": float})


def median_effect(store: Store, neuron: NeuronId, head: HeadId) -> float | None:
    """The median pre-activation that the neuron loses when the head is removed, over its prompts;
    None where no removal is stored."""
    rows = store.median_effects(EFFECT_KIND)
    mine = rows.loc[
        (rows["layer"] == neuron.layer)
        & (rows["neuron"] == neuron.index)
        & (rows["head_layer"] == head.layer)
        & (rows["head"] == head.index),
        "effect",
    ].tolist()
    return float(mine[0]) if mine else None


def _pairs(store: Store, split: str) -> pd.DataFrame:
    rows = _measured(store, split)
    texts = store.token_texts
    neurons = [NeuronId(int(a), int(b)) for a, b in zip(rows["layer"], rows["neuron"], strict=True)]
    heads = zip(rows["head_layer"], rows["head"], strict=True)
    return pd.DataFrame(
        {
            "neuron": [str(n) for n in neurons],
            "layer": rows["layer"],
            "name": [
                neuron_name(n, texts[int(t)])
                for n, t in zip(neurons, rows["token_id"], strict=True)
            ],
            "token": [texts[int(t)] for t in rows["token_id"]],
            "kind": rows["kind"],
            "head": [HeadId(int(a), int(b)).label for a, b in heads],
            "share": rows["share"].astype(float),
            "contribution": rows["mean_attribution"].astype(float),
            "shown": ["–" if pd.isna(v) else signed(float(v)) for v in rows["mean_attribution"]],
            "score": rows["score"],
            "shown_score": [number(v) for v in rows["score"]],
            "effect": rows["effect"],
            "shown_effect": ["–" if pd.isna(v) else signed(float(v)) for v in rows["effect"]],
            "n_active": rows["n_active"],
            "n_prompts": rows["n_prompts"],
            "studied": rows["studied"].astype(bool),
        }
    )


def similar_order(values: pd.DataFrame) -> list[str]:
    """Neurons with like heads together: by the first principal component of their rows.

    `values` has a row a neuron, a column a head, missing as 0. The component's sign is fixed by its
    largest entry, so that the same data give the same order; ties keep the order given.
    """
    matrix = values.fillna(0.0).to_numpy(dtype=float)
    if len(matrix) < 3:
        return [str(name) for name in values.index]
    centred = matrix - matrix.mean(axis=0)
    first = np.linalg.svd(centred, full_matrices=False)[2][0]
    first = first * np.sign(first[np.argmax(np.abs(first))])
    return [str(values.index[i]) for i in np.argsort(-(centred @ first), kind="stable")]


def row_order(pairs: pd.DataFrame, heads: list[str], sort: str, measure: str) -> list[str]:
    """Neurons by `layer` (and index), by `token` (and layer), or `similar` use of `heads` together."""
    rows = pairs.drop_duplicates("neuron")
    if sort == "token":
        keys = rows.assign(bare=rows["token"].str.strip().str.lower())
        return keys.sort_values(["bare", "layer"], kind="stable")["neuron"].tolist()
    if sort == "similar":
        table = pairs.pivot(index="neuron", columns="head", values=measure)
        return similar_order(table.reindex(index=rows["neuron"].tolist(), columns=heads))
    return rows["neuron"].tolist()


def _totals(pairs: pd.DataFrame, measure: str) -> dict[str, float]:
    """A measure's sizes summed over all neurons, by head."""
    totals: dict[str, float] = {}
    for head, value in zip(pairs["head"], pairs[measure].fillna(0), strict=True):
        totals[head] = totals.get(head, 0.0) + abs(float(value))
    return totals


def column_order(pairs: pd.DataFrame, heads: list[str], sort: str, measure: str) -> list[str]:
    """Heads by layer, or by the `total` of the measure's sizes over all neurons, largest first."""
    if sort != "total":
        return heads
    totals = _totals(pairs, measure)
    return sorted(heads, key=lambda head: -totals.get(head, 0.0))


def shown_heads(pairs: pd.DataFrame, heads: list[str], max_cells: int) -> tuple[list[str], str]:
    """All heads if the cells are few enough, else those studied anywhere, else the most studied."""
    n_rows = len(set(pairs["neuron"]))
    if n_rows * len(heads) <= max_cells:
        return heads, ""
    counts = Counter(pairs.query("studied")["head"].tolist())
    studied = [head for head in heads if head in counts]
    all_cells = f"All {len(heads)} heads would be {n_rows * len(heads):,} cells: shown are the "
    if studied and n_rows * len(studied) <= max_cells:
        return studied, f"{all_cells}{len(studied)} that are studied for some neuron."
    totals = _totals(pairs, "share")
    best = sorted(heads, key=lambda head: (-counts[head], -totals.get(head, 0.0)))
    top = set(best[: max(1, max_cells // n_rows)])
    return (
        [head for head in heads if head in top],
        f"{all_cells}{len(top)} studied for the most neurons, of {len(studied)} studied for any.",
    )


def _studied_heads(pairs: pd.DataFrame) -> dict[str, float]:
    counts: dict[str, dict[str, int]] = {"random": {}, "chosen": {}}
    for kind, neuron, studied in zip(pairs["kind"], pairs["neuron"], pairs["studied"], strict=True):
        group = counts["random" if kind == "random" else "chosen"]
        group[neuron] = group.get(neuron, 0) + int(studied)
    return {kind: sum(n.values()) / len(n) for kind, n in counts.items() if n}


def read_sort(sort: str | None) -> tuple[str, str]:
    """Rows' and columns' order from the URL's `rows-columns`; what cannot be read is `layer`."""
    rows, _, columns = (sort or "").partition("-")
    return (
        rows if rows in ROW_SORTS else ROW_SORTS[0],
        columns if columns in COLUMN_SORTS else COLUMN_SORTS[0],
    )


@lru_cache(maxsize=16)
def map_tables(
    store: Store, split: str, measure: str, rows: str, columns: str, max_cells: int = MAX_CELLS
) -> MapTables:
    """Pairs and layout. `measure` is one of MEASURES, `rows` one of ROW_SORTS, `columns` one of
    COLUMN_SORTS. The last few are remembered."""
    pairs = _pairs(store, split)
    shape = store.shape
    reach = max((shape.n_reaching_heads(int(layer)) for layer in set(pairs["layer"])), default=0)
    heads = [HeadId.from_flat(flat, shape.n_heads).label for flat in range(reach)]
    heads, note = shown_heads(pairs, heads, max_cells)
    in_view = pairs.query("head in @heads")
    ordered = column_order(in_view, heads, columns, measure)
    blocks = [
        row_order(pairs.query(kind), heads, rows, measure)
        for kind in ("kind != 'random'", "kind == 'random'")
    ]
    return MapTables(
        pairs=in_view,
        labels=dict(zip(pairs["neuron"], pairs["name"], strict=True)),
        order=MapOrder(tuple(blocks[0]), tuple(blocks[1]), tuple(ordered), columns != "total"),
        limit=signed_limit(pairs[measure].dropna()),
        n_heads=shape.n_layers * shape.n_heads,
        note=note,
        n_pairs=len(pairs),
        n_studied=pairs["studied"].tolist().count(True),
        studied_heads_per_neuron=_studied_heads(pairs),
    )
