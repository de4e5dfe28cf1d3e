"""Copies of a store with one thing wrong, sealed again, so that checksums do not see it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import duckdb

from explorer.core.seals import (
    MANIFEST_SEAL,
    SEALED_TABLES,
    manifest_seal_in_store,
    seal_in_store,
)


def set_fact(con: duckdb.DuckDBPyConnection, key: str, value: object) -> None:
    con.execute("DELETE FROM manifest WHERE key = ?", (key,))
    con.execute("INSERT INTO manifest VALUES (?, ?)", (key, json.dumps(value)))


def seal(con: duckdb.DuckDBPyConnection) -> None:
    """Record the rows as they are now, as publishing does."""
    found = {table: seal_in_store(con, table) for table in SEALED_TABLES}
    set_fact(con, "table_rows", {table: digest.n_rows for table, digest in found.items()})
    set_fact(con, "table_sha256", {t: digest.hexdigest() for t, digest in found.items()})
    set_fact(con, MANIFEST_SEAL, manifest_seal_in_store(con))


def spoiled(store: Path, folder: Path, statements: Sequence[str], sealed: bool = True) -> Path:
    """A copy of the store after the statements; `sealed` again unless a checksum shall see them."""
    path = folder / store.name
    shutil.copyfile(store, path)
    with duckdb.connect(str(path)) as con:
        for statement in statements:
            con.execute(statement)
        if sealed:
            seal(con)
    return path
