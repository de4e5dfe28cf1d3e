"""Two stores of one run made on different machines: rows matched by what they are about, not by place.

Rounding may swap two documents that tie, and so shift every number below; here such rows are counted as
unmatched, and all others compared. As a program: `python -m tests.precompute.store_match A B`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

_PROMPT = ["layer", "neuron", "split", "doc_id"]
_KEYS: dict[str, list[str]] = {
    "token_neurons": ["token_id", "layer", "neuron"],
    "neuron_tokens": ["layer", "neuron", "token_id"],
    "studied_neurons": ["layer", "neuron"],
    "prompts": _PROMPT,
    "truncation_curves": _PROMPT,
    "head_attributions": _PROMPT,
    "active_heads": [*_PROMPT, "head_layer", "head"],
    "ablations": [*_PROMPT, "head_layer", "head", "kind"],
    "joint_ablations": [*_PROMPT, "kind"],
    "neuron_ablations": _PROMPT,
    "head_activity": ["layer", "neuron", "head_layer", "head", "split"],
    "component_attributions": [*_PROMPT, "head_layer", "head"],
    "composition": ["mode", "src_layer", "src_head", "dst_layer", "dst_head"],
    "head_components": ["layer", "head", "matrix", "component"],
    "component_neurons": ["layer", "head", "component", "neuron_layer", "neuron"],
    "task_results": ["task", "template", "condition", "n", "position"],
}


@dataclass(frozen=True)
class Match:
    """How two tables agree."""

    n_rows: int
    """Of the first."""
    n_unmatched: int
    """Rows of either that the other lacks, those of unlike lengths or whole numbers included."""
    gap: float
    """Largest difference of two floats, relative to the larger where that is above 1."""


def _read(con: duckdb.DuckDBPyConnection, table: str) -> pd.DataFrame:
    rows = con.execute(f'FROM "{table}"').df()
    if "prompt_id" in rows and table != "prompts":
        about = con.execute("SELECT prompt_id, layer, neuron, split, doc_id FROM prompts").df()
        rows = rows.merge(about, on="prompt_id")
    return rows.drop(columns=[c for c in ("prompt_id", "rank") if c in rows])


def _gaps(a: pd.Series, b: pd.Series) -> np.ndarray:
    """A gap for each row; infinite where they are of unlike form."""
    found = np.zeros(len(a))
    for i, (x, y) in enumerate(zip(a, b, strict=True)):
        u, v = np.atleast_1d(x), np.atleast_1d(y)
        if u.shape != v.shape:
            found[i] = np.inf
        elif u.dtype.kind == "f":
            scale = np.maximum(1.0, np.maximum(np.abs(u), np.abs(v)))
            both_missing = np.isnan(u) & np.isnan(v)
            found[i] = np.where(both_missing, 0.0, np.abs(u - v) / scale).max(initial=0.0)
        elif not np.array_equal(u, v):
            found[i] = np.inf
    return found


def match(first: Path, second: Path) -> dict[str, Match]:
    """Each table of `_KEYS` in both stores."""
    found: dict[str, Match] = {}
    with (
        duckdb.connect(str(first), read_only=True) as one,
        duckdb.connect(str(second), read_only=True) as two,
    ):
        for table, keys in _KEYS.items():
            ours, theirs = _read(one, table), _read(two, table)
            both = ours.merge(theirs, on=keys, suffixes=("", "_b"))
            values = [c for c in ours.columns if c not in keys]
            gaps = np.zeros(len(both))
            for column in values:
                gaps = np.maximum(gaps, _gaps(both[column], both[f"{column}_b"]))
            alike = np.isfinite(gaps)
            n_lost = len(ours) + len(theirs) - 2 * len(both) + int((~alike).sum())
            found[table] = Match(len(ours), n_lost, float(gaps[alike].max(initial=0.0)))
    return found


if __name__ == "__main__":
    for name, result in match(Path(sys.argv[1]), Path(sys.argv[2])).items():
        sys.stdout.write(
            f"{name:24} {result.n_rows:>8,} rows {result.n_unmatched:>6} unmatched  {result.gap:.2e}\n"
        )
