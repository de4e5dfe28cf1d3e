"""The checksums that a manifest holds: taken when a store is written, and again from an open one.

`table_rows` and `table_sha256` are over every table but the manifest, rows in the order in which the
schema stores them; `manifest_sha256` is over every other fact of the manifest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa
from pyarrow import compute

from explorer.core.digest import TableDigest, digest_of
from explorer.core.schema import SORT_KEYS, arrow_schema, manifest_rows
from explorer.core.schema_tables import TABLES

MANIFEST_SEAL = "manifest_sha256"
SEALED_TABLES = tuple(table for table in TABLES if table != "manifest")
_ROWS_A_BATCH = 50_000


def _columns(table: str) -> list[tuple[str, str]]:
    return [(name, kind) for name, kind, _ in TABLES[table].columns]


def seal_of_rows(table: str, rows: pa.Table | None) -> TableDigest:
    """The checksum that these rows will have in a store, whatever order they come in."""
    if rows is None:
        return TableDigest(_columns(table))
    stored = rows.select(arrow_schema(table).names).cast(arrow_schema(table))
    if not _is_sorted(stored, SORT_KEYS[table]):  # stages mostly hand rows on in order
        stored = stored.sort_by([(key, "ascending") for key in SORT_KEYS[table]])
    return digest_of(_columns(table), stored.to_batches())


def _is_sorted(rows: pa.Table, keys: Sequence[str]) -> bool:
    """Whether no row comes before the one above it, by the first key in which they differ."""
    in_order: pa.ChunkedArray | None = None
    for key in reversed(keys):
        above, below = rows.column(key).slice(0, max(0, len(rows) - 1)), rows.column(key).slice(1)
        less = _call("less", above, below)
        same = _call("equal", above, below)
        in_order = _call("or", less, same if in_order is None else _call("and", same, in_order))
    return in_order is None or (
        in_order.null_count == 0 and _call("all", in_order).as_py() is not False
    )


def _call(name: str, *values: pa.ChunkedArray) -> Any:
    return compute.call_function(name, list(values))


def seals(tables: Mapping[str, pa.Table]) -> dict[str, Any]:
    """The facts `table_rows` and `table_sha256` of a store that is written from these tables."""
    found = {table: seal_of_rows(table, tables.get(table)) for table in SEALED_TABLES}
    return {
        "table_rows": {table: digest.n_rows for table, digest in found.items()},
        "table_sha256": {table: digest.hexdigest() for table, digest in found.items()},
    }


def seal_of_facts(facts: Mapping[str, Any]) -> str:
    """The fact `manifest_sha256`: over all the others, as the manifest stores them."""
    others = {key: facts[key] for key in sorted(facts) if key != MANIFEST_SEAL}
    return digest_of(_columns("manifest"), manifest_rows(others).to_batches()).hexdigest()


def stored_batches(con: duckdb.DuckDBPyConnection, query: str) -> Iterator[pa.RecordBatch]:
    """A query's rows as Arrow batches; the whole is never held."""
    yield from con.sql(query).to_arrow_reader(_ROWS_A_BATCH)


def seal_in_store(con: duckdb.DuckDBPyConnection, table: str) -> TableDigest:
    """The checksum of a table's rows as they lie in an open store; `con` is the caller's own cursor."""
    names = ", ".join(f'"{name}"' for name, _ in _columns(table))
    return digest_of(_columns(table), stored_batches(con, f'SELECT {names} FROM "{table}"'))  # noqa: S608


def manifest_seal_in_store(con: duckdb.DuckDBPyConnection) -> str:
    """The checksum of the manifest's rows as they lie in an open store, byte for byte."""
    query = f"SELECT key, value FROM manifest WHERE key <> '{MANIFEST_SEAL}' ORDER BY key"  # noqa: S608
    return digest_of(_columns("manifest"), stored_batches(con, query)).hexdigest()
