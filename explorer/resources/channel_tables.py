"""What the Channels page shows of a run, as data frames with the names that a person reads.

Scores are those of `core.composition`, read from the store. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import pandas as pd

from explorer.charts.style import number, signed
from explorer.core.composition_modes import MODES, Mode, random_level
from explorer.core.store import Store
from explorer.core.store_channels import MATRICES
from explorer.core.types import HeadId
from explorer.resources.missing_stages import job_command

MAX_CELLS = 4900
"""Cells of the map, unreachable ones included; a larger model's strongest heads are shown alone."""
Z_STANDS_OUT = 4.0
"""From this size of z on a component is named as one that stands out."""
N_FIRST_COMPONENTS = 18
READS_THROUGH: dict[Mode, str] = {"Q": "queries", "K": "keys", "V": "values"}
Matrix = Literal["OV", "QK"]


def fill_command(store: Store) -> str:
    """The job's call that makes a run with channels."""
    return job_command(store.manifest, ["--force"])


def _heads(rows: pd.DataFrame, side: str) -> list[HeadId]:
    layers, indices = rows[f"{side}_layer"].tolist(), rows[f"{side}_head"].tolist()
    return [HeadId(int(a), int(b)) for a, b in zip(layers, indices, strict=True)]


# --- whole heads ------------------------------------------------------------------------------


@dataclass(frozen=True)
class ChannelMap:
    """All pairs of an earlier and a later head in one mode, and what is drawn of them."""

    mode: Mode
    pairs: pd.DataFrame
    """`src dst` (labels), `src_id dst_id score ratio rank`: strongest first. `ratio` is to the
    random level, rank counts from 1."""
    sources: tuple[str, ...]
    destinations: tuple[str, ...]
    """Labels of the rows and columns drawn, by layer and index."""
    level: float
    """The random level."""
    limit: float
    """The largest score of all modes: the end of the colour scale."""
    median: float
    note: str
    """What is left out of the drawing; empty where nothing is."""

    def score_of(self, src: HeadId, dst: HeadId) -> tuple[float, int] | None:
        """Score and rank of a pair; None where the first does not come before the second."""
        mine = self.pairs.loc[
            (self.pairs["src_id"] == str(src)) & (self.pairs["dst_id"] == str(dst))
        ]
        row = next(iter(mine.to_dict("records")), None)
        return None if row is None else (float(row["score"]), int(row["rank"]))


def _strongest(names: Iterable[str], n: int) -> set[str]:
    """The first `n` different names."""
    return set(list(dict.fromkeys(names))[:n])


def _by_place(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(names), key=HeadId.parse))


@lru_cache(maxsize=16)
def _map(store: Store, mode: Mode) -> ChannelMap | None:
    rows = store.composition(mode)
    limit = store.largest_composition()
    if rows.empty or limit is None:
        return None
    level = random_level(store.shape.d_model)
    sources, destinations = _heads(rows, "src"), _heads(rows, "dst")
    pairs = pd.DataFrame(
        {
            "src": [head.label for head in sources], "dst": [head.label for head in destinations],
            "src_id": [str(head) for head in sources], "dst_id": [str(head) for head in destinations],
            "score": rows["score"].astype(float), "ratio": rows["score"].astype(float) / level,
            "rank": range(1, len(rows) + 1),
        }
    )  # fmt: skip
    return ChannelMap(
        mode, pairs, _by_place(pairs["src"]), _by_place(pairs["dst"]), level, limit,
        float(np.median(pairs["score"].to_numpy(dtype=float))), "",
    )  # fmt: skip


def channel_map(
    store: Store, mode: Mode, keep: tuple[HeadId, ...] = (), max_cells: int = MAX_CELLS
) -> ChannelMap | None:
    """The map of a mode; None in a run without channels.

    Above `max_cells` cells the heads of the strongest pairs are drawn alone, with those of `keep`.
    """
    whole = _map(store, mode)
    if whole is None or len(whole.sources) * len(whole.destinations) <= max_cells:
        return whole
    n = int(max_cells**0.5) - len(keep)
    always = {head.label for head in keep}
    rows = (_strongest(whole.pairs["src"], n) | always) & set(whole.sources)
    columns = (_strongest(whole.pairs["dst"], n) | always) & set(whole.destinations)
    note = (
        f"All {len(whole.sources)} × {len(whole.destinations)} heads would be too many cells: drawn "
        f"are the {len(rows)} senders and {len(columns)} receivers of the strongest pairs."
    )
    return replace(whole, sources=_by_place(rows), destinations=_by_place(columns), note=note)


def pair_scores(store: Store, src: HeadId, dst: HeadId) -> pd.DataFrame:
    """A pair in each mode: `mode score ratio rank n`; no rows where it cannot compose."""
    found = []
    for mode in MODES:
        whole = _map(store, mode)
        scored = None if whole is None else whole.score_of(src, dst)
        if whole is not None and scored is not None:
            score, rank = scored
            found.append((mode, score, score / whole.level, rank, len(whole.pairs)))
    return pd.DataFrame(found, columns=pd.Index(["mode", "score", "ratio", "rank", "n"]))


# --- components -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Receiver:
    """The components of earlier heads that a head reads most in one mode."""

    head: HeadId
    mode: Mode
    rows: pd.DataFrame
    """`src` (URL form), `component label score z shown_score shown_z stands_out`, strongest first."""
    n_all: int
    """Components of all earlier heads."""
    level: float
    n_out: int
    """How many of `rows` stand out."""
    z_line: float | None
    """The score at which z is `Z_STANDS_OUT`; None where the receiver has no z."""
    median: float | None
    """The median score over all earlier components, which z counts from."""

    @property
    def is_complete(self) -> bool:
        """Whether every component that stands out is among the stored ones."""
        return self.n_out < len(self.rows) or len(self.rows) == self.n_all

    def shown(self, chosen: tuple[HeadId, int] | None = None) -> pd.DataFrame:
        """The first rows: all that stand out, `N_FIRST_COMPONENTS` at least, and the chosen one."""
        first = self.rows.index < max(N_FIRST_COMPONENTS, self.n_out)
        if chosen is not None:
            own = (self.rows["src"] == str(chosen[0])) & (self.rows["component"] == chosen[1])
            first = first | own.to_numpy(dtype=bool)
        return self.rows.loc[first].reset_index(drop=True)


def _z_scale(rows: pd.DataFrame) -> tuple[float, float] | None:
    """Median and spread of all scores, from two stored ones: z is (score - median) / spread."""
    known = rows.dropna(subset=["z"])
    if len(known) < 2 or known["z"].iloc[0] == known["z"].iloc[-1]:
        return None
    first, last = known.iloc[0], known.iloc[-1]
    spread = (first["score"] - last["score"]) / (first["z"] - last["z"])
    return float(first["score"] - first["z"] * spread), float(spread)


@lru_cache(maxsize=64)
def receiver(store: Store, mode: Mode, head: HeadId) -> Receiver | None:
    """Who writes what a head reads; None where no head comes before it, or nothing is stored."""
    found = store.component_composition(mode, head)
    if found.empty:
        return None
    shape = store.shape
    senders = _heads(found, "src")
    components = found["src_component"].astype(int).tolist()
    z = found["z"].astype(float)
    rows = pd.DataFrame(
        {
            "src": [str(sender) for sender in senders],
            "component": components,
            "label": [f"{s.label} · {c}" for s, c in zip(senders, components, strict=True)],
            "score": found["score"].astype(float),
            "z": z,
            "shown_score": [number(v, 3) for v in found["score"]],
            "shown_z": ["–" if pd.isna(v) else signed(v, 1) for v in z],
            "stands_out": (z.abs() > Z_STANDS_OUT).to_numpy(dtype=bool),
        }
    )
    scale = _z_scale(rows)
    return Receiver(
        head, mode, rows, head.layer * shape.n_heads * shape.d_head, random_level(shape.d_model),
        rows["stands_out"].tolist().count(True),
        None if scale is None else scale[0] + Z_STANDS_OUT * scale[1],
        None if scale is None else scale[0],
    )  # fmt: skip


def best_component(found: Receiver | None, head: HeadId) -> int:
    """The component of a sender that the receiver reads most, among the stored ones; else 0."""
    if found is None:
        return 0
    own = found.rows.loc[found.rows["src"] == str(head), "component"].tolist()
    return int(own[0]) if own else 0


# --- what a page opens with -------------------------------------------------------------------


def read_mode(mode: str | None) -> Mode:
    """The mode that a link names; Q for none or an unknown one."""
    known: dict[str | None, Mode] = {name: name for name in MODES}
    return known.get(mode, MODES[0])


def read_matrix(matrix: str | None) -> Matrix:
    """The matrix that a link names; OV for none or an unknown one."""
    return "QK" if matrix == MATRICES[1] else "OV"


def first_pair(
    store: Store, mode: Mode, src: HeadId | None, dst: HeadId | None
) -> tuple[HeadId, HeadId] | None:
    """Sender and receiver to open with: those chosen, else of the strongest pair with the one that is;
    None in a run without channels."""
    whole = _map(store, mode)
    if whole is None:
        return None
    if src is not None and dst is not None:
        return src, dst
    rows = whole.pairs
    if src is not None and str(src) in set(rows["src_id"]):
        rows = rows.loc[rows["src_id"] == str(src)]
    if dst is not None and str(dst) in set(rows["dst_id"]):
        rows = rows.loc[rows["dst_id"] == str(dst)]
    first: dict[str, Any] = rows.iloc[0].to_dict()
    return src or HeadId.parse(first["src_id"]), dst or HeadId.parse(first["dst_id"])
