"""Whether a store's rows are what the pages may count on, whoever wrote it: one scan a table.

Ids lie within the model, numbers are there and finite, lists are as long as what they belong to, words
with a meaning are known ones. What a page would stumble over is said in one line when the store is
opened. That the numbers are true is another question: `python -m precompute verify` asks it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from explorer.core.errors import StoreError
from explorer.core.schema_tables import NULLABLE, TABLES
from explorer.core.store_open import REBUILD
from explorer.core.types import ABLATION_KINDS, ActiveRule, ModelShape

Query = Callable[..., pd.DataFrame]
MAX_TEXT = 1_000_000
"""Longest text of one cell, in characters: a page must be able to send it to a browser."""
MAX_TOKEN = 4096
"""Longest text of one token, in characters."""
MAX_SIZE = 1 << 24
"""Largest size of a model that is believed, of any kind (rows of a vocabulary, neurons of a layer)."""
_SIZES = tuple(
    name
    for name, kind in ModelShape.__annotations__.items()
    if str(kind) in ("int", "<class 'int'>")
)
_UPPER = {
    "token_id": "d_vocab", "layer": "n_layers", "head_layer": "n_layers", "src_layer": "n_layers",
    "dst_layer": "n_layers", "neuron_layer": "n_layers", "neuron": "d_mlp", "head": "n_heads",
    "src_head": "n_heads", "dst_head": "n_heads", "component": "d_head", "src_component": "d_head",
}  # fmt: skip
"""Columns that name a part of the model, and the size that bounds them."""
_WORDS = {
    ("prompts", "split"): ("train", "test"), ("head_activity", "split"): ("train", "test"),
    ("studied_neurons", "kind"): ("next-token", "requested", "random"),
    ("ablations", "kind"): ABLATION_KINDS, ("joint_ablations", "kind"): ABLATION_KINDS,
    ("composition", "mode"): ("Q", "K", "V"), ("component_composition", "mode"): ("Q", "K", "V"),
    ("head_components", "matrix"): ("OV", "QK"), ("component_tokens", "matrix"): ("OV", "QK"),
    ("component_tokens", "side"): ("read", "write"),
    ("score_nulls", "null_kind"): ("other-head", "shuffle"),
}  # fmt: skip
_LENGTHS = {
    "prompts": (
        "len(token_ids) NOT BETWEEN 1 AND $n_ctx", '"start" >= len(token_ids)',
        'len(kept_activations) <> len(token_ids) - "start"', "list_max(token_ids) >= $d_vocab",
        "list_min(token_ids) < 0",
    ),
    "truncation_curves": (
        "len(starts) = 0", "len(starts) <> len(activations)", "list_min(starts) < 0",
        "list_max(starts) >= $n_ctx",
    ),
    "head_attributions": ("len(heads) <> $n_layers * $n_heads", "len(mlps) <> $n_layers"),
    "component_attributions": ("len(components) NOT BETWEEN 1 AND $d_head",),
}  # fmt: skip
_ONCE = {
    "tokens": "token_id", "studied_neurons": "layer, neuron", "prompts": "prompt_id",
    "truncation_curves": "prompt_id", "head_attributions": "prompt_id",
}  # fmt: skip

# ruff: noqa: S608 - every name that is put into a query is the schema's own


def _wrong(table: str, name: str, kind: str) -> list[str]:
    """Conditions under which a value of this column is not one that a run writes."""
    value = f'"{name}"'
    wrong = [] if (table, name) in NULLABLE else [f"{value} IS NULL"]
    if kind == "INTEGER":
        wrong.append(f"{value} < {int(name == 'rank')}")
        if name in _UPPER:
            wrong.append(f"{value} >= ${_UPPER[name]}")
    elif kind == "FLOAT":
        wrong.append(f"NOT isfinite({value})")
    elif kind == "VARCHAR":
        longest = MAX_TOKEN if table == "tokens" else MAX_TEXT
        wrong.append(f"length({value}) > {longest}")
    elif kind.endswith("[]"):
        wrong.append(f"len({value}) <> list_count({value})")
        if kind == "FLOAT[]":
            wrong.append(f"NOT list_bool_and(list_transform({value}, lambda one: isfinite(one)))")
    if (table, name) in _WORDS:
        words = ", ".join(f"'{word}'" for word in _WORDS[table, name])
        wrong.append(f"{value} NOT IN ({words})")
    return wrong


def _count_wrong(query: Query, table: str, wrong: list[str], sizes: Mapping[str, int]) -> int:
    condition = " OR ".join(f"coalesce({one}, false)" for one in wrong)
    used = {name: size for name, size in sizes.items() if f"${name}" in condition}
    found = query(f'SELECT count(*) AS n FROM main."{table}" WHERE {condition}', used)
    return int(found["n"].tolist()[0])


def _check_table(query: Query, path: Path, table: str, sizes: Mapping[str, int]) -> None:
    columns = {
        name: _wrong(table, name, kind)
        for name, kind, _ in TABLES[table].columns
    } | {"lists": list(_LENGTHS.get(table, ()))}  # fmt: skip
    every = [one for wrong in columns.values() for one in wrong]
    if not _count_wrong(query, table, every, sizes):
        return
    for name, wrong in columns.items():
        if wrong and (count := _count_wrong(query, table, wrong, sizes)):
            what = f"{table}, {name}" if name == "lists" else f"{table}.{name}"
            raise StoreError(
                f"{path.name} is not a store that can be shown ({what}: {count:,} rows hold what no "
                f"run writes); {REBUILD}"
            )


def _check_keys(query: Query, path: Path, sizes: Mapping[str, int]) -> None:
    """What pages find by place or by id must be there once."""
    for table, key in _ONCE.items():
        counted = query(
            f'SELECT count(*) AS n, count(DISTINCT ({key})) AS once FROM main."{table}"'
        )
        n, once = (int(counted[name].tolist()[0]) for name in ("n", "once"))
        if n != once or (table == "tokens" and n != sizes["d_vocab"]):
            raise StoreError(
                f"{path.name} is not a store that can be shown ({table}: {n:,} rows, {once:,} of them "
                f"different, {sizes['d_vocab']:,} tokens in the model); {REBUILD}"
            )
    short = query(
        "SELECT count(*) AS n FROM main.head_attention a JOIN main.prompts p USING (prompt_id) "
        'WHERE len(a.weights) <> len(p.token_ids) - p."start" + 1'
    )
    if int(short["n"].tolist()[0]):
        raise StoreError(
            f"{path.name} is not a store that can be shown (head_attention.weights: not one for each "
            f"kept token); {REBUILD}"
        )


def _fact_problem(manifest: Mapping[str, Any]) -> str | None:
    """The first fact that a page would stumble over; None where all are sound."""
    for name in _SIZES:
        size = manifest.get(name)
        if type(size) is not int or not 1 <= size <= MAX_SIZE:
            return name
    for name in ("parallel_blocks", "rotary"):
        if type(manifest.get(name)) is not bool:
            return name
    for name in ("model", "corpus"):
        if name not in manifest:
            return name
    ratio, longest = manifest.get("keep_ratio"), manifest.get("max_prompt_tokens")
    if type(ratio) not in (int, float) or not 0 < float(ratio) <= 1 or not math.isfinite(ratio):  # type: ignore[arg-type]
        return "keep_ratio"
    if type(longest) is not int or not 1 <= longest <= MAX_SIZE:
        return "max_prompt_tokens"
    try:
        ActiveRule.parse(str(manifest.get("active_rule")))
    except ValueError:
        return "active_rule"
    counted = manifest.get("warnings")
    if not isinstance(counted, dict | None) or not all(
        type(count) is int for count in (counted or {}).values()
    ):
        return "warnings"
    tokens = manifest.get("tokens")
    if not isinstance(tokens, list | None) or not all(isinstance(t, str) for t in tokens or ()):
        return "tokens"
    return None


def check_values(query: Query, path: Path, manifest: Mapping[str, Any]) -> None:
    """Raise StoreError, naming table and column, where a store holds what no run writes.

    `query` runs SQL with bound values on the open store.
    """
    problem = _fact_problem(manifest)
    if problem is not None:
        raise StoreError(
            f"{path.name} is not a store that can be shown (the manifest's {problem} is missing or not "
            f"what a run writes); {REBUILD}"
        )
    sizes = {name: int(manifest[name]) for name in _SIZES}
    for table in TABLES:
        _check_table(query, path, table, sizes)
    _check_keys(query, path, sizes)
