"""The tables of a store: names, types, units and meanings, and the one place that creates them.

A store is written once, whole, from Arrow tables; see `write_store`. Every column carries a DuckDB
comment with its unit and meaning. Names here are a public contract: see `SCHEMA_VERSION`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from explorer.core.schema_tables import TABLES

SCHEMA_VERSION = 1
"""Raised when a column changes its meaning; an older store then gets an error, not wrong numbers."""

_ARROW_TYPES: dict[str, pa.DataType] = {
    "INTEGER": pa.int32(),
    "FLOAT": pa.float32(),
    "VARCHAR": pa.string(),
    "BOOLEAN": pa.bool_(),
    "INTEGER[]": pa.list_(pa.int32()),
    "FLOAT[]": pa.list_(pa.float32()),
}

SORT_KEYS: dict[str, tuple[str, ...]] = {
    "manifest": ("key",),
    "tokens": ("token_id",),
    "token_neurons": ("token_id", "rank"),
    "neuron_tokens": ("layer", "neuron", "rank"),
    "studied_neurons": ("layer", "neuron"),
    "prompts": ("prompt_id",),
    "truncation_curves": ("prompt_id",),
    "head_attributions": ("prompt_id",),
    "active_heads": ("prompt_id", "head_layer", "head"),
    "head_activity": ("layer", "neuron", "head_layer", "head", "split"),
    "head_attention": ("prompt_id", "head_layer", "head"),
    "ablations": ("prompt_id", "head_layer", "head", "kind"),
    "joint_ablations": ("prompt_id", "kind"),
    "neuron_ablations": ("prompt_id",),
    "explanations": ("layer", "neuron", "head_layer", "head", "explainer"),
    "classifications": ("layer", "neuron", "head_layer", "head", "explainer", "prompt_id"),
    "head_scores": ("layer", "neuron", "head_layer", "head", "explainer"),
    "score_nulls": ("layer", "neuron", "head_layer", "head", "explainer", "null_kind"),
    "failures": ("stage", "subject", "reason"),
    "head_components": ("layer", "head", "matrix", "component"),
    "component_tokens": ("layer", "head", "matrix", "side", "component", "rank"),
    "component_neurons": ("neuron_layer", "neuron", "layer", "head", "component"),
    "component_attributions": ("prompt_id", "head_layer", "head"),
    "composition": ("mode", "dst_layer", "dst_head", "src_layer", "src_head"),
    "component_composition": (
        "mode",
        "dst_layer",
        "dst_head",
        "src_layer",
        "src_head",
        "src_component",
    ),
    "task_results": ("task", "template", "condition", "n", "position"),
}
"""What tells a table's rows apart; they are stored in this order, so that one neuron's or one prompt's
rows lie together."""


def arrow_schema(table: str) -> pa.Schema:
    """The Arrow schema of a table, in column order."""
    return pa.schema([(name, _ARROW_TYPES[kind]) for name, kind, _ in TABLES[table].columns])


def _quoted(text: str) -> str:
    """A string literal for DDL, where DuckDB accepts no bound parameters. Only our own texts."""
    return "'" + text.replace("'", "''") + "'"


def _create_table(con: duckdb.DuckDBPyConnection, table: str) -> None:
    spec = TABLES[table]
    columns = ", ".join(f'"{name}" {kind}' for name, kind, _ in spec.columns)
    con.execute(f'CREATE TABLE "{table}" ({columns})')
    con.execute(f'COMMENT ON TABLE "{table}" IS {_quoted(spec.comment)}')
    for name, _, comment in spec.columns:
        con.execute(f'COMMENT ON COLUMN "{table}"."{name}" IS {_quoted(comment)}')


def write_store(path: Path, tables: Mapping[str, pa.Table]) -> dict[str, int]:
    """Write a new store file with every table of the contract; return the rows per table.

    `tables` maps names to Arrow tables with the columns of `arrow_schema`; tables not given are
    created empty. The file must not exist: a store is written once and never again.
    """
    unknown = set(tables) - set(TABLES)
    if unknown:
        raise ValueError(f"expected tables of the schema, got also {sorted(unknown)}")
    if path.exists():
        raise ValueError(f"expected a new file, {path} exists")
    counts: dict[str, int] = {}
    with duckdb.connect(str(path)) as con:
        for table in TABLES:
            _create_table(con, table)
            rows = tables.get(table)
            counts[table] = 0 if rows is None else rows.num_rows
            if rows is None or rows.num_rows == 0:
                continue
            con.register("incoming", rows.cast(arrow_schema(table)))
            order = ", ".join(f'"{key}"' for key in SORT_KEYS.get(table, ())) or "ALL"
            con.execute(f'INSERT INTO "{table}" SELECT * FROM incoming ORDER BY {order}')  # noqa: S608
            con.unregister("incoming")
        con.execute("CHECKPOINT")
    return counts


def manifest_rows(facts: Mapping[str, Any]) -> pa.Table:
    """The rows of the manifest: each fact as JSON."""
    values = [json.dumps(value, ensure_ascii=False) for value in facts.values()]
    return pa.table({"key": list(facts), "value": values}, schema=arrow_schema("manifest"))


def write_manifest(path: Path, facts: Mapping[str, Any]) -> int:
    """Write the facts into a store that has every other table; return the rows.

    They come last, so that they can tell how long the rest took.
    """
    rows = manifest_rows(facts)
    with duckdb.connect(str(path)) as con:
        con.register("incoming", rows)
        con.execute("INSERT INTO manifest SELECT * FROM incoming ORDER BY key")
        con.unregister("incoming")
        con.execute("CHECKPOINT")
    return rows.num_rows
