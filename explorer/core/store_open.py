"""Opening a store that may come from a stranger: read-only, closed to the outside, checked.

External access is off and the configuration locked, so that a store can show rows and nothing else;
what the schema calls a table must be one, with its columns and types.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from explorer.core.errors import StoreError
from explorer.core.schema import SCHEMA_VERSION
from explorer.core.schema_tables import TABLES
from explorer.core.types import without_lone_surrogates

REBUILD = "rebuild it with: python -m precompute --model MODEL --corpus CORPUS"
_READ_ONLY: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "lock_configuration": "true",
}
_DAMAGE = (
    duckdb.IOException, duckdb.SerializationException, duckdb.InternalException,
    duckdb.FatalException, duckdb.NotImplementedException, duckdb.OutOfRangeException,
    duckdb.OutOfMemoryException, UnicodeDecodeError, MemoryError,
)  # fmt: skip
"""What reading a file raises whose bytes were changed: a text that is none, a length without end."""


def _check_functions(con: duckdb.DuckDBPyConnection, path: Path) -> None:
    """A macro of the store would stand in for a function of our queries, `count` and `coalesce` too,
    and for those that tell tables from views. Asked in one plain read by its full name, which none of
    them can change."""
    own = con.execute(
        "SELECT function_name, internal FROM system.main.duckdb_functions()"
    ).fetchall()
    names = [str(name) for name, is_internal in own if not is_internal]
    if names:
        raise StoreError(
            f"{path.name} is not a store (it brings a function of its own, {names[0][:40]!r}); {REBUILD}"
        )


def _check_tables(con: duckdb.DuckDBPyConnection, path: Path, names: Iterable[str]) -> None:
    """Each must be a table (a view could compute anything) with the columns and types of the schema."""
    found = con.execute(
        "SELECT c.table_name, c.column_name, c.data_type FROM system.main.duckdb_columns() c "
        "JOIN system.main.duckdb_tables() t USING (database_oid, schema_oid, table_oid) "
        "WHERE t.schema_name = 'main' AND NOT t.temporary"
    ).fetchall()
    have = set(found)
    for table in names:
        for column, kind, _ in TABLES[table].columns:
            if (table, column, kind) not in have:
                raise StoreError(
                    f"{path.name} is not a store (no {table}.{column} of type {kind}); {REBUILD}"
                )


def _writable(value: Any) -> Any:
    """A fact whose texts can be written as UTF-8 (JSON can say half a character, `"\\ud800"`), and
    whose numbers are finite (`1e999` is not)."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):
        return without_lone_surrogates(value)
    if isinstance(value, list):
        return [_writable(one) for one in value]
    if isinstance(value, dict):
        return {without_lone_surrogates(key): _writable(one) for key, one in value.items()}
    return value


def _fact(text: str) -> Any:
    """A manifest's value. NaN and infinities, which are no JSON, are None."""
    return _writable(json.loads(text, parse_constant=lambda _: None))


def _read_manifest(con: duckdb.DuckDBPyConnection, path: Path) -> dict[str, Any]:
    try:
        rows = con.execute("SELECT key, value FROM manifest").fetchall()
        manifest = {without_lone_surrogates(key): _fact(value) for key, value in rows}
    except (duckdb.Error, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise StoreError(f"{path.name} is not a store (no readable manifest); {REBUILD}") from error
    version = manifest.get("schema_version")
    if version != SCHEMA_VERSION:
        raise StoreError(
            f"{path.name} has schema version {str(version)[:20]}, this program reads {SCHEMA_VERSION}; "
            + REBUILD
        )
    return manifest


def connect(path: Path) -> tuple[duckdb.DuckDBPyConnection, dict[str, Any]]:
    """A connection and the manifest. Raises StoreError with the command that repairs it."""
    if not path.is_file():
        raise StoreError(f"no store at {path}; make one with: python -m precompute --help")
    try:
        con = duckdb.connect(str(path), read_only=True, config=_READ_ONLY)
    except duckdb.Error as error:
        raise StoreError(f"{path.name} is not a readable DuckDB file; {REBUILD}") from error
    try:
        _check_functions(con, path)
        _check_tables(con, path, ["manifest"])
        manifest = _read_manifest(con, path)
        _check_tables(con, path, TABLES)
    except StoreError:
        con.close()
        raise
    except (duckdb.Error, *_DAMAGE) as error:
        con.close()
        raise StoreError(f"{path.name} is damaged; {REBUILD}") from error
    return con, manifest


def run_query(
    con: duckdb.DuckDBPyConnection,
    path: Path,
    query: str,
    parameters: Sequence[Any] | Mapping[str, Any],
) -> pd.DataFrame:
    """Run one query on a cursor of its own. A damaged file is a StoreError, a wrong query is not."""
    try:
        return con.cursor().execute(query, parameters).df()
    except (duckdb.Error, *_DAMAGE) as error:
        # A block whose checksum is wrong raises the base class itself.
        if type(error) is duckdb.Error or isinstance(error, _DAMAGE):
            raise StoreError(f"{path.name} is damaged; {REBUILD}") from error
        raise
