"""A store may come from a stranger: what is none is named, and what is one can only show rows."""

from __future__ import annotations

import random
from pathlib import Path

import duckdb
import pytest

from explorer.core.errors import StoreError
from explorer.core.runs import list_runs, short_name
from explorer.core.schema_tables import TABLES
from explorer.core.store import Store
from tests.explorer.seeded import write_seeded_store

COMMAND = "python -m precompute"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_seeded_store(tmp_path_factory.mktemp("pristine")).read_bytes()


@pytest.fixture
def path(pristine: bytes, tmp_path: Path) -> Path:
    """A store of this test's own, to be spoiled."""
    path = tmp_path / "seeded.duckdb"
    path.write_bytes(pristine)
    return path


def alter(path: Path, *statements: str) -> None:
    """Change a store as a stranger could."""
    with duckdb.connect(str(path)) as con:
        for statement in statements:
            con.execute(statement)


def everything(path: Path) -> dict[str, list[str]]:
    with Store.open(path) as store:
        return {t: store.sql(f'SELECT * FROM "{t}"').to_csv().splitlines() for t in TABLES}


def test_errors_are_one_line_that_ends_with_the_command(path: Path) -> None:
    Store.open(path).close()
    alter(path, "DROP TABLE tokens")
    with pytest.raises(StoreError, match=r"no tokens\.token_id") as error:
        Store.open(path)
    assert str(error.value).endswith(f"rebuild it with: {COMMAND} --model MODEL --corpus CORPUS")
    assert "\n" not in str(error.value)


def test_a_missing_store_is_named(tmp_path: Path) -> None:
    for missing in (tmp_path / "none.duckdb", tmp_path, Path("")):
        with pytest.raises(StoreError, match="no store at") as error:
            Store.open(missing)
        assert COMMAND in str(error.value)


@pytest.mark.parametrize(
    "content", [b"", b"not a database", b"SQLite format 3\0" * 300, b"\0" * 9999]
)
def test_foreign_files_are_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "foreign.duckdb"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"foreign\.duckdb is not a") as error:
        Store.open(path)
    assert COMMAND in str(error.value)
    assert path.read_bytes() == content
    assert [p.name for p in tmp_path.iterdir()] == ["foreign.duckdb"]


def test_a_database_that_is_no_store_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.duckdb"
    alter(path, "CREATE TABLE tokens (token_id INTEGER, text VARCHAR)")
    with pytest.raises(StoreError, match=r"other\.duckdb is not a store \(no manifest\.key"):
        Store.open(path)


@pytest.mark.parametrize("share", [0.0001, 0.01, 0.3, 0.6, 0.9, 0.999])
def test_a_truncated_copy_is_refused(path: Path, share: float) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(StoreError, match=COMMAND):
        everything(path)


def test_a_damaged_file_gives_true_rows_or_a_store_error(path: Path) -> None:
    """Bytes changed anywhere: never a traceback of the database, never other rows."""
    whole, truth = path.read_bytes(), everything(path)
    rng = random.Random(0)
    n_refused = 0
    for _ in range(10):
        damaged = bytearray(whole)
        first = rng.randrange(len(whole) - 64)
        for at in range(first, first + 64):
            damaged[at] ^= rng.randrange(1, 256)
        path.write_bytes(damaged)
        try:
            found = everything(path)
        except StoreError as error:
            assert COMMAND in str(error)
            n_refused += 1
        else:
            assert found == truth
    assert n_refused >= 7
    path.write_bytes(whole)
    assert everything(path) == truth


@pytest.mark.parametrize("version", ["0", "2", "99", '"1"', "null", "[1]"])
def test_another_schema_version_is_named(path: Path, version: str) -> None:
    alter(path, f"UPDATE manifest SET value = '{version}' WHERE key = 'schema_version'")
    with pytest.raises(StoreError, match="this program reads 1") as error:
        Store.open(path)
    assert version.strip('"') in str(error.value) or version == "null"


def test_an_older_version_is_named_before_what_it_lacks(path: Path) -> None:
    """A store of another version may have other tables: the version is the reason."""
    alter(
        path,
        "UPDATE manifest SET value = '0' WHERE key = 'schema_version'",
        "DROP TABLE task_results",
    )
    with pytest.raises(StoreError, match="schema version 0"):
        Store.open(path)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM manifest", "UPDATE manifest SET value = 'not json'",
        "UPDATE manifest SET value = NULL WHERE key = 'seed'", "DROP TABLE manifest",
        "ALTER TABLE prompts DROP COLUMN start", "ALTER TABLE prompts RENAME COLUMN rank TO place",
        "ALTER TABLE tokens ALTER COLUMN text TYPE BLOB USING encode(text)",
        "ALTER TABLE studied_neurons ALTER COLUMN layer TYPE VARCHAR",
    ],
)  # fmt: skip
def test_a_store_with_something_missing_or_of_another_type_is_refused(
    path: Path, statement: str
) -> None:
    alter(path, statement)
    with pytest.raises(StoreError, match=COMMAND):
        Store.open(path)


@pytest.mark.parametrize(
    "value", ["[" * 100_000, "9" * 5000, "{'a': 1}", "", " ", "\x1b", '"a', "nul", "[1,]"]
)
def test_a_fact_that_is_no_json_is_no_traceback(path: Path, value: str) -> None:
    with duckdb.connect(str(path)) as con:
        con.execute("UPDATE manifest SET value = ? WHERE key = 'seed'", (value,))
    with pytest.raises(StoreError, match="no readable manifest"):
        Store.open(path)


def test_facts_can_be_written_as_utf_8_and_are_numbers(path: Path) -> None:
    """JSON can say half a character, and Python's reader knows numbers that are none."""
    alter(
        path,
        """UPDATE manifest SET value = '{"\\ud800": ["a\\udfff", NaN, -Infinity, 1e999]}' """
        "WHERE key = 'seed'",
    )
    with Store.open(path) as store:
        assert store.manifest["seed"] == {"\ufffd": ["a\ufffd", None, None, None]}


def test_a_fact_without_a_name_is_refused(path: Path) -> None:
    alter(path, "INSERT INTO manifest VALUES (NULL, '1')")
    with pytest.raises(StoreError, match="no readable manifest"):
        Store.open(path)


def test_more_columns_and_tables_are_welcome(path: Path) -> None:
    """The contract lets later versions add some."""
    alter(
        path,
        "ALTER TABLE prompts ADD COLUMN comment VARCHAR",
        "CREATE TABLE notes (text VARCHAR)",
        "INSERT INTO manifest VALUES ('new_fact', '{}')",
    )
    with Store.open(path) as store:
        assert store.manifest["new_fact"] == {}


@pytest.mark.parametrize("table", ["prompts", "manifest", "tokens"])
def test_a_view_in_the_place_of_a_table_is_refused(path: Path, table: str, tmp_path: Path) -> None:
    """A view could read this machine's files. One in another schema is no stand-in either."""
    secret = tmp_path / "secret.csv"
    secret.write_text("a\nsecret\n")
    columns = ", ".join(f"NULL::{kind} AS {name}" for name, kind, _ in TABLES[table].columns)
    alter(
        path,
        f"CREATE SCHEMA other; CREATE TABLE other.{table} AS FROM main.{table}",
        f"DROP TABLE main.{table}",
        f"CREATE VIEW main.{table} AS SELECT {columns} FROM read_csv('{secret}')",
    )
    with pytest.raises(StoreError, match=rf"no {table}\."):
        Store.open(path)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_csv('{file}')", "SELECT * FROM '{file}'", "SELECT * FROM glob('{file}')",
        "SELECT * FROM read_text('{file}')", "COPY tokens TO '{file}'", "ATTACH '{file}' AS other",
        "INSTALL httpfs", "LOAD httpfs", "SET enable_external_access = true",
        "SET lock_configuration = false", "CREATE TABLE mine (i INTEGER)", "DELETE FROM tokens",
        "EXPORT DATABASE '{file}'", "SELECT * FROM my_view", "SELECT * FROM read_blob('{file}')",
        "SELECT * FROM read_parquet('{file}')", "SELECT * FROM read_json('{file}')",
        "SELECT * FROM sniff_csv('{file}')", "IMPORT DATABASE '{file}'", "RESET enable_external_access",
        "SELECT * FROM duckdb_secrets()", "SELECT getenv('HOME')", "COPY tokens FROM '{file}'",
    ],
)  # fmt: skip
def test_an_open_store_is_closed_to_the_outside(path: Path, tmp_path: Path, query: str) -> None:
    """Not even through a view that came with the store."""
    file = tmp_path / "secret.csv"
    file.write_text("a\nsecret\n")
    alter(
        path,
        f"CREATE VIEW my_view AS SELECT * FROM read_csv('{file}')",
    )
    with Store.open(path) as store, pytest.raises(duckdb.Error):
        store.sql(query.format(file=file))
    assert file.read_text() == "a\nsecret\n"
    # Control: without these settings the same view does read the file.
    with duckdb.connect(str(path), read_only=True) as con:
        assert con.execute("SELECT * FROM my_view").fetchall() == [("secret",)]


# --- the folder of runs ----------------------------------------------------------------------------


def test_runs_are_listed_newest_end_first(tmp_path: Path) -> None:
    ends = {"b-old": "2026-01-01T00:00:00+00:00", "a-new": "2026-03-01T00:00:00+00:00",
            "c-mid": "2026-02-01T00:00:00+00:00"}  # fmt: skip
    for name, end in ends.items():
        write_seeded_store(tmp_path, name, end=end)
    found = list_runs(tmp_path)
    assert [run.run_id for run in found.runs] == ["a-new", "c-mid", "b-old"]
    assert [run.end for run in found.runs] == sorted(ends.values(), reverse=True)
    assert found.unreadable == ()
    middle = found.find("c-mid")
    assert middle is not None
    assert (middle.path, middle.title) == (
        tmp_path / "c-mid.duckdb", "seeded model · seeded corpus",
    )  # fmt: skip
    assert found.find("d") is None


def test_what_cannot_be_read_is_listed_with_its_reason_and_what_is_unfinished_is_not(
    tmp_path: Path,
) -> None:
    good = write_seeded_store(tmp_path, "good")
    (tmp_path / "cut.duckdb").write_bytes(good.read_bytes()[:50_000])
    (tmp_path / "foreign.duckdb").write_text("hello")
    (tmp_path / "folder.duckdb").mkdir()
    old = write_seeded_store(tmp_path, "old")
    alter(old, "UPDATE manifest SET value = '0' WHERE key = 'schema_version'")
    (tmp_path / "going.duckdb.partial").write_bytes(good.read_bytes())
    (tmp_path / "notes.txt").write_text("hello")
    found = list_runs(tmp_path)
    assert [run.run_id for run in found.runs] == ["good"]
    reasons = dict(found.unreadable)
    assert list(reasons) == ["cut.duckdb", "folder.duckdb", "foreign.duckdb", "old.duckdb"]
    assert "schema version 0" in reasons["old.duckdb"]
    assert all(COMMAND in reason for reason in reasons.values())


def test_no_folder_and_an_empty_one_are_empty_lists(tmp_path: Path) -> None:
    for folder in (tmp_path / "missing", tmp_path):
        assert list_runs(folder).runs == list_runs(folder).unreadable == ()


def test_names_fall_back_to_what_was_given(tmp_path: Path) -> None:
    write_seeded_store(
        tmp_path, model_name=None, corpus_name=None, model="EleutherAI/pythia-160m",
        corpus="/data/my.corpus.jsonl.gz",
    )  # fmt: skip
    (run,) = list_runs(tmp_path).runs
    assert run.title == "pythia-160m · my.corpus"
    for source, name in (("a/b/", "b"), ("x.txt", "x"), (".txt", ".txt"), ("c.parquet", "c")):
        assert short_name(source) == name
