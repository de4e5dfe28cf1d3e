"""Checks of a store against itself: what a reader may rely on, tried on every row, without the model.

`checks(path)` yields each check as it is done. Queries run in the database and checksums stream, so
that a store need not fit in memory. What an older store has no record of is left out, not failed.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from explorer.core.errors import StoreError
from explorer.core.schema_tables import TABLES
from explorer.core.seals import (
    MANIFEST_SEAL,
    SEALED_TABLES,
    manifest_seal_in_store,
    seal_in_store,
)
from explorer.core.store_open import connect
from explorer.core.types import ActiveRule, ModelShape
from explorer.core.verify_report import Check, Finding, Report
from explorer.core.verify_results import maths
from explorer.core.verify_rules import REFERENCES, RuleSet

OPENS = ("opens", "The file is a store of this program's schema")
TABLES_HOLD = ("tables", "Every table and column says what it means, and nothing is computed")
MANIFEST = ("manifest", "The manifest names the model's sizes, the rules and the weights")
ROWS = ("row counts", "Every table has the rows that were written")
CHECKSUMS = ("checksums", "Every table and the manifest are as they were written, byte for byte")
N_CHECKS = 5 + len(REFERENCES) + len(maths(None))
_BEFORE_CHECKSUMS = "made before stores kept a record of it"


@dataclass(frozen=True)
class _Opened:
    con: duckdb.DuckDBPyConnection
    manifest: dict[str, Any]
    counts: dict[str, int]


def settings_of(manifest: dict[str, Any]) -> dict[str, Any]:
    """What the rules of a store are bound to. Raises ValueError for a manifest that lacks it."""
    try:
        shape = ModelShape(**{n: manifest[n] for n in ModelShape.__dataclass_fields__})
        rule = ActiveRule.parse(str(manifest["active_rule"]))
        values = {name: getattr(shape, name) for name in
                  ("n_layers", "n_heads", "d_mlp", "d_vocab", "d_head", "n_ctx")}  # fmt: skip
        values |= {name: manifest[name] for name in ("prompts", "max_prompt_tokens")}
        ratio = manifest["keep_ratio"]
    except KeyError as error:
        raise ValueError(f"it lacks {error}") from error
    wrong = [n for n, v in values.items() if type(v) is not int or not 0 < v < 2**31]
    if wrong or not isinstance(ratio, int | float) or not 0 < ratio <= 1:
        raise ValueError(f"{', '.join(wrong) or 'keep_ratio'} cannot be")
    return values | {
        "keep_ratio": float(ratio), "top_k": rule.top_k, "reach": int(not shape.parallel_blocks)
    }  # fmt: skip


def _tables_hold(store: _Opened) -> Finding:
    views = store.con.execute(
        "SELECT view_name FROM duckdb_views() WHERE NOT internal UNION ALL "
        "SELECT function_name FROM duckdb_functions() WHERE NOT internal"
    ).fetchall()
    if views:
        return Finding.failed(f"{len(views)} views or macros, for example {views[0][0]}")
    rows = store.con.execute(
        "SELECT table_name, '', comment FROM duckdb_tables() WHERE schema_name = 'main' UNION ALL "
        "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE schema_name = 'main'"
    ).fetchall()
    said = {(table, column) for table, column, comment in rows if comment}
    wanted = [(table, name) for table, spec in TABLES.items()
              for name in ("", *(column[0] for column in spec.columns))]  # fmt: skip
    silent = [pair for pair in wanted if pair not in said]
    if silent:
        table, column = silent[0]
        what = f"column {table}.{column}" if column else f"table {table}"
        return Finding.failed(f"{len(silent)} without a comment, for example {what}")
    return Finding.ok(f"{len(TABLES)} tables, {len(wanted) - len(TABLES)} columns")


def _manifest_holds(store: _Opened) -> Finding:
    facts = store.manifest
    try:
        settings_of(facts)
        begin, end = (datetime.fromisoformat(str(facts[name])) for name in ("start", "end"))
        if begin > end:
            return Finding.failed(f"it ended {facts['end']}, before it started")
        if not re.fullmatch(r"[0-9a-f]{64}", str(facts["weights_sha256"])):
            return Finding.failed("weights_sha256 is no checksum")
    except KeyError as error:
        return Finding.failed(f"it lacks {error}")
    except (ValueError, TypeError) as error:
        return Finding.failed(str(error).splitlines()[0][:200])
    return Finding.ok(f"{len(facts)} facts")


def _record(store: _Opened, name: str) -> dict[str, Any] | None:
    found = store.manifest.get(name)
    return found if isinstance(found, dict) else None


def _rows_hold(store: _Opened) -> Finding:
    expected = _record(store, "table_rows")
    if expected is None:
        return Finding.left_out(_BEFORE_CHECKSUMS)
    wrong = [t for t in SEALED_TABLES if store.counts[t] != expected.get(t)]
    if wrong:
        table = wrong[0]
        return Finding.failed(f"{table} has {store.counts[table]:,} rows, "
                              f"{str(expected.get(table))[:20]} were written")  # fmt: skip
    return Finding.ok(f"{sum(store.counts.values()):,} rows")


def _checksums_hold(store: _Opened) -> Finding:
    expected = _record(store, "table_sha256")
    if expected is None:
        return Finding.left_out(_BEFORE_CHECKSUMS)
    wrong = [table for table in SEALED_TABLES
             if seal_in_store(store.con.cursor(), table).hexdigest() != expected.get(table)]  # fmt: skip
    if manifest_seal_in_store(store.con.cursor()) != store.manifest.get(MANIFEST_SEAL):
        wrong.append("manifest")
    if wrong:
        return Finding.failed(f"not as written: {', '.join(wrong)}")
    return Finding.ok(f"{len(SEALED_TABLES) + 1} tables")


def _broken(store: _Opened, query: str, settings: dict[str, Any]) -> tuple[int, str]:
    """How many rows break a rule, and one of them."""
    named = {name: settings[name] for name in set(re.findall(r"\$(\w+)", query))}
    (row,) = store.con.cursor().execute(
        f"SELECT count(*), coalesce(min(subject::VARCHAR), '') FROM ({query})", named  # noqa: S608
    ).fetchall()  # fmt: skip
    return int(row[0]), str(row[1])


def _rules_hold(store: _Opened, rules: RuleSet, settings: dict[str, Any]) -> Finding:
    n_rows = [store.counts[table] for table in rules.tables]
    if rules.tables and not any(n_rows):
        return Finding.left_out(f"the run has no rows of {' or '.join(rules.tables)}")
    for rule in rules.rules:
        count, example = _broken(store, rule.query, settings)
        if count:
            return Finding.failed(f"{count:,} {rule.broken}, for example {example[:120]}")
    if not rules.tables:
        return Finding.ok(f"{sum(store.counts.values()):,} rows")
    return Finding.ok(f"{max(n_rows):,} rows of {rules.tables[n_rows.index(max(n_rows))]}")


def _timed(name: str, meaning: str, find: Callable[[], Finding]) -> Check:
    begin = time.perf_counter()
    try:
        found = find()
    except duckdb.OutOfMemoryException:  # says nothing of the store
        found = Finding.left_out(
            "not enough memory, and no room to set rows aside beside the store"
        )
    except duckdb.Error as error:  # damaged blocks, or numbers that no query can take
        found = Finding.failed(f"cannot be read: {str(error).splitlines()[0][:200]}")
    return Check(name, meaning, found.state, found.reason, time.perf_counter() - begin)


def checks(path: Path) -> Iterator[Check]:
    """Each check of a store against itself, as it is done. A file that is no store fails the first."""
    begin = time.perf_counter()
    try:
        con, manifest = connect(path)
    except StoreError as error:
        yield Check(*OPENS, "failed", str(error), time.perf_counter() - begin)
        return
    with con:
        yield Check(*OPENS, "ok", f"schema version {manifest['schema_version']}",
                    time.perf_counter() - begin)  # fmt: skip
        yield from _all_checks(con, manifest)


def _counted(con: duckdb.DuckDBPyConnection) -> dict[str, int]:
    query = " UNION ALL ".join(f"SELECT '{t}', count(*) FROM \"{t}\"" for t in TABLES)  # noqa: S608
    return dict(con.execute(query).fetchall())


def _all_checks(con: duckdb.DuckDBPyConnection, manifest: dict[str, Any]) -> Iterator[Check]:
    store = _Opened(con, manifest, _counted(con))
    yield _timed(*TABLES_HOLD, lambda: _tables_hold(store))
    yield _timed(*MANIFEST, lambda: _manifest_holds(store))
    yield _timed(*ROWS, lambda: _rows_hold(store))
    yield _timed(*CHECKSUMS, lambda: _checksums_hold(store))
    try:
        settings = settings_of(manifest)
    except (ValueError, TypeError):
        for rules in (*REFERENCES, *maths(None)):
            yield Check(rules.name, rules.meaning, "left out", "the manifest cannot be read", 0.0)
        return
    for rules in (*REFERENCES, *maths(settings["top_k"])):
        yield _timed(rules.name, rules.meaning,
                     lambda rules=rules: _rules_hold(store, rules, settings))  # fmt: skip


def check_store(path: Path) -> Report:
    """All checks of a store against itself."""
    return Report(path, tuple(checks(path)))


def cannot_be_run(found: Iterable[Check]) -> str | None:
    """The first check that failed without which the model cannot be asked about stored prompts."""
    needed = ("opens", "manifest", "prompts named", "neurons named", "tokens named", "list lengths")
    return next((c.name for c in found if c.state == "failed" and c.name in needed), None)
