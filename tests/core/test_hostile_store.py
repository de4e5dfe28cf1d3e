"""A store made to harm: functions of its own, names that are SQL, links out of the folder, rows that no
run writes. It is refused in one line, or shown as the text it is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from explorer.core.errors import StoreError
from explorer.core.runs import list_runs
from explorer.core.schema_tables import TABLES
from explorer.core.store import Store
from explorer.core.store_open import _READ_ONLY
from explorer.core.store_values import check_values
from explorer.resources.stores import OpenStores
from tests.core.test_store_open import (  # noqa: F401 two of them are fixtures
    COMMAND,
    alter,
    everything,
    path,
    pristine,
)

# ruff: noqa: F811 fixtures by their names

MACROS = (
    "lower(x) AS 'evil'", "contains(a, b) AS true", "count(x) AS 7", "coalesce(a, b) AS a",
    "list(x) AS 1", "len(x) AS 1", "isfinite(x) AS true", "unnest(x) AS 1", "nullif(a, b) AS 1",
    "range(x) AS TABLE SELECT 1 AS layer", "duckdb_functions() AS TABLE SELECT 1 AS n",
    "duckdb_tables() AS TABLE SELECT 1 AS n", "duckdb_columns() AS TABLE SELECT 1 AS n",
    "steal() AS (SELECT content FROM read_text('/etc/hostname'))",
)  # fmt: skip


@pytest.mark.parametrize("macro", MACROS)
def test_a_store_that_brings_functions_is_refused(path: Path, macro: str) -> None:
    """A macro of a store is called in the place of DuckDB's own function of that name."""
    alter(path, f"CREATE MACRO {macro}")
    with pytest.raises(StoreError, match="a function of its own") as error:
        Store.open(path)
    assert macro.split("(")[0] in str(error.value)


def test_such_a_macro_would_be_called_and_hide_a_view(path: Path, tmp_path: Path) -> None:
    """The control: why stores with functions are refused, and that what they call reads nothing."""
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    columns = [(name, kind) for name, kind, _ in TABLES["prompts"].columns]
    faked = ", ".join(f"('prompts', '{name}', '{kind}')" for name, kind in columns)
    alter(
        path,
        "CREATE MACRO lower(x) AS 'evil'",
        f"CREATE MACRO duckdb_columns() AS TABLE SELECT * FROM (VALUES {faked}) AS t(a, b, c)",
        f"CREATE MACRO steal() AS (SELECT content FROM read_text('{secret}'))",
    )
    with duckdb.connect(str(path), read_only=True) as open_to_all:
        assert open_to_all.execute("SELECT lower('GOOD')").fetchall() == [("evil",)]
        assert len(open_to_all.execute("FROM duckdb_columns()").fetchall()) == len(columns)
        assert open_to_all.execute("SELECT steal()").fetchall() == [("secret",)]
    with (
        duckdb.connect(str(path), read_only=True, config=_READ_ONLY) as closed,
        pytest.raises(duckdb.PermissionException),
    ):
        closed.execute("SELECT steal()")


@pytest.mark.parametrize(
    "stem", ["system", "temp", "main", "memory", "information_schema", "pg_catalog", 'a"; DROP TABLE b',
             "a'b", "x.y", "-", "<b>", "a\nb", "\x1b[31m", "\u202e", "é"],
)  # fmt: skip
def test_no_name_of_a_file_is_obeyed(pristine: bytes, tmp_path: Path, stem: str) -> None:
    path = tmp_path / f"{stem}.duckdb"
    path.write_bytes(pristine)
    try:
        assert everything(path)["tokens"]
    except StoreError as error:  # a name that the database keeps for itself
        assert stem in ("system", "temp") and COMMAND in str(error)
    found = list_runs(tmp_path)
    assert [run.run_id for run in found.runs] + [n for n, _ in found.unreadable if stem in n]
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_links_out_of_the_folder_and_names_that_are_no_text_are_listed_with_the_reason(
    pristine: bytes, tmp_path: Path
) -> None:
    inside, outside = tmp_path / "runs", tmp_path / "outside"
    for folder in (inside, outside):
        folder.mkdir()
    (outside / "private.duckdb").write_bytes(pristine)
    (inside / "good.duckdb").write_bytes(pristine)
    (inside / "out.duckdb").symlink_to(outside / "private.duckdb")
    (inside / "up.duckdb").symlink_to("../outside/private.duckdb")
    (inside / "device.duckdb").symlink_to("/dev/zero")
    (inside / "loop.duckdb").symlink_to("loop.duckdb")
    (inside / "nowhere.duckdb").symlink_to("nothing.duckdb")
    (inside / "other.duckdb").symlink_to("good.duckdb")
    os.mkfifo(inside / "pipe.duckdb")
    Path(os.fsdecode(os.fsencode(inside) + b"/\xff\xfe.duckdb")).write_bytes(pristine)
    found = list_runs(inside)
    assert sorted(run.run_id for run in found.runs) == ["good", "other"]
    reasons = dict(found.unreadable)
    assert {name: r for name, r in reasons.items() if "out of the folder" in r}.keys() == {
        "out.duckdb", "up.duckdb", "device.duckdb",
    }  # fmt: skip
    assert "not UTF-8; rename" in reasons["<0xDCFF><0xDCFE>.duckdb"]
    assert {"loop.duckdb", "nowhere.duckdb", "pipe.duckdb"} <= set(reasons)
    # The control: the same file is a run where it lies, and through a link to the whole folder.
    (tmp_path / "linked").symlink_to(outside)
    assert [run.run_id for run in list_runs(tmp_path / "linked").runs] == ["private"]


# --- rows that no run writes -------------------------------------------------------------------

_NAN, _INF = "'nan'::FLOAT", "'-inf'::FLOAT"
BAD = {
    "INTEGER": ("NULL", "-1", "-2147483648", "2147483647"),
    "FLOAT": ("NULL", _NAN, _INF),
    "VARCHAR": ("NULL", "repeat('x', 1000001)", "'unheard of'"),
    "BOOLEAN": ("NULL",),
    "INTEGER[]": ("NULL", "[]", "[NULL]", "[-1]", "[2147483647]"),
    "FLOAT[]": ("NULL", "[]", "[NULL]", f"[{_NAN}]", f"[1, {_INF}]", "repeat([0.5], 9999)"),
}
MAY_BE_NULL = {
    "mean_attribution",
    "rule",
    "request",
    "reply",
    "score",
    "ci_low",
    "ci_high",
    "p_value",
    "z",
}
FREE_NUMBERS = {
    "doc_id", "rank", "n_active", "n_prompts", "n", "position", "n_right", "token_rank", "tp", "fp",
    "tn", "fn", "n_missing", "n_heads", "prompt_id",
}  # fmt: skip
"""Counts and numbers that nothing of the manifest bounds from above."""
KNOWN_WORDS = {"split", "kind", "mode", "matrix", "side", "null_kind"}


def _is_bad(table: str, name: str, kind: str, value: str) -> bool:
    if value == "NULL":
        return (
            name not in MAY_BE_NULL
            or (table, name) == ("composition", "score")
            or (table, name) == ("component_composition", "score")
        )
    if value == "2147483647":
        return name not in FREE_NUMBERS
    if value == "'unheard of'":
        return name in KNOWN_WORDS
    return True


@pytest.fixture(scope="module")
def writable(
    pristine: bytes, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[duckdb.DuckDBPyConnection]:
    path = tmp_path_factory.mktemp("writable") / "store.duckdb"
    path.write_bytes(pristine)
    with duckdb.connect(str(path)) as con:
        # The one table that the seeded store leaves empty.
        con.execute(
            "INSERT INTO task_results VALUES ('name-inhibition', 'A', 'seen', 2, 0, 4, 3, 0.5)"
        )
        yield con


@pytest.mark.parametrize("table", [name for name in TABLES if name != "manifest"])
def test_a_value_that_no_run_writes_is_named(
    writable: duckdb.DuckDBPyConnection, pristine: bytes, path: Path, table: str
) -> None:
    """One row of each column in turn; a store as it was written, and NULL where it may be, pass."""
    with Store.open(path) as store:
        facts = store.manifest

    def query(text: str, values: object = ()) -> pd.DataFrame:
        return writable.execute(text, values).df()

    check_values(query, path, facts)
    assert not query(f'SELECT * FROM "{table}" LIMIT 1').empty
    for name, kind, _ in TABLES[table].columns:
        for value in BAD[kind]:
            writable.execute("BEGIN")
            writable.execute(f'UPDATE "{table}" SET "{name}" = {value} WHERE rowid = 0')
            try:
                if _is_bad(table, name, kind, value):
                    with pytest.raises(StoreError, match=table) as error:
                        check_values(query, path, facts)
                    assert COMMAND in str(error.value) and "\n" not in str(error.value)
                else:
                    check_values(query, path, facts)
            finally:
                writable.execute("ROLLBACK")


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO tokens SELECT * FROM tokens LIMIT 1", "DELETE FROM tokens WHERE token_id = 3",
        "INSERT INTO prompts SELECT * FROM prompts LIMIT 1", "UPDATE tokens SET token_id = token_id + 1",
        "INSERT INTO studied_neurons SELECT * FROM studied_neurons LIMIT 1",
        "INSERT INTO head_attributions SELECT * FROM head_attributions LIMIT 1",
        "UPDATE head_attention SET weights = list_append(weights, 0.5) WHERE rowid = 0",
        "UPDATE tokens SET text = repeat('a', 5000) WHERE token_id = 3",
        *(f"DELETE FROM manifest WHERE key = '{key}'" for key in (
            "n_layers", "d_vocab", "rotary", "keep_ratio", "active_rule", "model", "corpus",
            "max_prompt_tokens")),
        *(f"UPDATE manifest SET value = '{value}' WHERE key = 'n_heads'" for value in (
            "0", "-1", "1e3", "null", '"8"', "true", "99999999999", "[8]", "9")),
        *(f"UPDATE manifest SET value = '{value}' WHERE key = 'keep_ratio'" for value in (
            "0", "-1", "2", "1e999", "null", '"x"', "true", "[]")),
        *(f"UPDATE manifest SET value = '{value}' WHERE key = 'active_rule'" for value in (
            "null", '"top:0"', '"<b>"', "3", "{}")),
        *(f"UPDATE manifest SET value = '{value}' WHERE key = 'warnings'" for value in (
            "[1]", '"x"', '{"a": "b"}', '{"a": null}')),
        *(f"UPDATE manifest SET value = '{value}' WHERE key = 'tokens'" for value in (
            '"x"', "[1]", "{}", "[null]")),
    ],
)  # fmt: skip
def test_rows_and_facts_that_do_not_fit_together_are_named(path: Path, statement: str) -> None:
    alter(path, statement)
    stores = OpenStores()
    with pytest.raises(StoreError, match="not a store that can be shown") as error:
        stores.store(path)
    assert COMMAND in str(error.value)
    # It is then a file that is no run, with the reason, and not tried again at every page.
    found = stores.runs(path.parent)
    assert found.runs == () and found.unreadable == ((path.name, str(error.value)),)


def test_a_mended_file_is_a_run_again(path: Path) -> None:
    whole, stores = path.read_bytes(), OpenStores()
    alter(path, "DELETE FROM tokens WHERE token_id = 3")
    with pytest.raises(StoreError):
        stores.store(path)
    assert stores.runs(path.parent).runs == ()
    path.write_bytes(whole)
    assert [run.run_id for run in stores.runs(path.parent).runs] == [path.stem]
    stores.store(path).close()


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE {t} ADD COLUMN extra STRUCT(a INTEGER, b VARCHAR[])",
        "CREATE TYPE mood AS ENUM ('a', 'b'); ALTER TABLE {t} ADD COLUMN extra mood",
        "CREATE INDEX mine ON {t} ({c})", "CREATE UNIQUE INDEX mine ON prompts (prompt_id)",
        "CREATE SEQUENCE mine; ALTER TABLE {t} ADD COLUMN extra BIGINT DEFAULT nextval('mine')",
        "CREATE SCHEMA evil; CREATE TABLE evil.{t} AS FROM main.{t}",
        "CREATE VIEW evil AS SELECT * FROM read_csv('/etc/passwd')",
        "COMMENT ON TABLE {t} IS '<script>alert(1)</script>'",
    ],
)  # fmt: skip
def test_what_a_store_has_besides_changes_no_row(path: Path, statement: str) -> None:
    truth = everything(path)
    alter(path, statement.format(t="studied_neurons", c="layer"))
    with Store.open(path) as store:
        check_values(store.sql, path, store.manifest)
        columns = ", ".join(f'"{name}"' for name, _, _ in TABLES["studied_neurons"].columns)
        found = store.sql(f"SELECT {columns} FROM studied_neurons").to_csv().splitlines()
    assert found == truth["studied_neurons"]


@pytest.mark.parametrize(
    ("table", "column", "kind"),
    [
        ("studied_neurons", "kind", "ENUM('next-token', 'requested', 'random')"),
        ("studied_neurons", "layer", "BIGINT"), ("prompts", "activation", "DOUBLE"),
        ("prompts", "token_ids", "BIGINT[]"), ("tokens", "text", "BLOB"),
        ("head_attributions", "bias", "DECIMAL(18, 3)"), ("studied_neurons", "token_id", "UTINYINT"),
    ],
)  # fmt: skip
def test_another_type_in_a_columns_place_is_refused(
    path: Path, table: str, column: str, kind: str
) -> None:
    alter(path, f'ALTER TABLE {table} ALTER COLUMN "{column}" TYPE {kind}')
    with pytest.raises(StoreError, match=rf"no {table}\.{column} of type"):
        Store.open(path)


def test_a_generated_column_reads_no_file(path: Path, tmp_path: Path) -> None:
    """DuckDB lets none hold a query; what it lets be computed comes from the row itself."""
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    for text in (f"(SELECT content FROM read_text('{secret}'))", f"read_text('{secret}')",
                 "getenv('HOME')"):  # fmt: skip
        with pytest.raises(duckdb.Error):
            alter(path, f"CREATE TABLE g (a INTEGER, b VARCHAR GENERATED ALWAYS AS ({text}))")
