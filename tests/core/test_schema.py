"""The public contract of a store: every table, column and type, written out here a second time."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from explorer.core.schema import arrow_schema, write_store
from explorer.core.schema_tables import TABLES

CONTRACT = """
manifest                key value VARCHAR
tokens                  token_id INTEGER, text VARCHAR
token_neurons           token_id rank layer neuron INTEGER, congruence FLOAT
neuron_tokens           layer neuron rank token_id INTEGER, congruence FLOAT
studied_neurons         layer neuron token_id INTEGER, congruence FLOAT, kind VARCHAR
prompts                 prompt_id layer neuron INTEGER, split VARCHAR, rank doc_id INTEGER, \
                        token_ids INTEGER[], start INTEGER, activation truncated_activation FLOAT, \
                        kept_activations FLOAT[], probability FLOAT, token_rank INTEGER
truncation_curves       prompt_id INTEGER, starts INTEGER[], activations FLOAT[]
head_attributions       prompt_id INTEGER, heads mlps FLOAT[], \
                        embedding bias pre_activation ln_scale FLOAT
active_heads            prompt_id head_layer head INTEGER
head_activity           layer neuron head_layer head INTEGER, split VARCHAR, \
                        n_active n_prompts INTEGER, mean_attribution FLOAT, studied BOOLEAN
head_attention          prompt_id head_layer head INTEGER, weights FLOAT[]
ablations               prompt_id head_layer head INTEGER, kind VARCHAR, \
                        delta_pre_activation delta_activation delta_probability FLOAT
joint_ablations         prompt_id INTEGER, kind VARCHAR, n_heads INTEGER, \
                        delta_pre_activation delta_activation delta_probability FLOAT
neuron_ablations        prompt_id INTEGER, delta_probability FLOAT
explanations            layer neuron head_layer head INTEGER, \
                        explainer text rule request reply VARCHAR
classifications         layer neuron head_layer head INTEGER, explainer VARCHAR, \
                        prompt_id INTEGER, active predicted BOOLEAN, reply VARCHAR
head_scores             layer neuron head_layer head INTEGER, explainer VARCHAR, \
                        tp fp tn fn n_missing INTEGER, score ci_low ci_high FLOAT
score_nulls             layer neuron head_layer head INTEGER, explainer null_kind VARCHAR, \
                        score p_value FLOAT
failures                stage subject reason VARCHAR
head_components         layer head INTEGER, matrix VARCHAR, component INTEGER, singular_value FLOAT
component_tokens        layer head INTEGER, matrix side VARCHAR, \
                        component rank token_id INTEGER, value FLOAT
component_neurons       layer head component neuron_layer neuron INTEGER, value FLOAT
component_attributions  prompt_id head_layer head INTEGER, components FLOAT[]
composition             mode VARCHAR, src_layer src_head dst_layer dst_head INTEGER, score FLOAT
component_composition   mode VARCHAR, src_layer src_head src_component dst_layer dst_head INTEGER, \
                        score z FLOAT
task_results            task template condition VARCHAR, n position n_prompts n_right INTEGER, \
                        chance FLOAT
"""


def contract() -> dict[str, list[tuple[str, str]]]:
    tables = {}
    for line in CONTRACT.strip().splitlines():
        table, _, rest = line.partition(" ")
        groups = [group.split() for group in rest.split(",")]
        tables[table] = [(name, kind) for *names, kind in groups for name in names]
    return tables


def rows_of(table: str, n: int) -> pa.Table:
    """Distinct rows of the right types, written in descending order."""
    values = {
        pa.int32(): lambda i: i, pa.float32(): lambda i: i / 2, pa.string(): lambda i: f"{i:03d}",
        pa.bool_(): lambda i: i % 2 == 0, pa.list_(pa.int32()): lambda i: [i] * i,
        pa.list_(pa.float32()): lambda i: [i / 2] * i,
    }  # fmt: skip
    schema = arrow_schema(table)
    return pa.table(
        {field.name: [values[field.type](i) for i in reversed(range(n))] for field in schema},
        schema=schema,
    )


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> duckdb.DuckDBPyConnection:
    path = tmp_path_factory.mktemp("schema") / "empty.duckdb"
    assert set(write_store(path, {}).values()) == {0}
    return duckdb.connect(str(path), read_only=True)


def test_every_table_and_column_of_the_contract_is_there(
    empty_store: duckdb.DuckDBPyConnection,
) -> None:
    expected = contract()
    assert len(expected) == 26
    found: dict[str, list[tuple[str, str]]] = {}
    columns = "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE NOT internal"
    for table, name, kind in empty_store.execute(f"{columns} ORDER BY column_index").fetchall():
        found.setdefault(table, []).append((name, kind))
    for table, wanted in expected.items():
        # More columns may be added; these keep their names and types.
        assert set(wanted) <= set(found[table]), table
    assert set(TABLES) == set(found)
    # Control: a column that the contract does not name is seen to be missing.
    assert ("token", "VARCHAR") not in found["tokens"]


def test_every_table_and_column_has_a_comment(empty_store: duckdb.DuckDBPyConnection) -> None:
    """Its unit and meaning, in words: never empty, never just the name again."""
    for kind in ("tables", "columns"):
        names = "table_name" if kind == "tables" else "table_name || '.' || column_name"
        found = empty_store.execute(
            f"SELECT {names}, comment FROM duckdb_{kind}() WHERE NOT internal"
        ).fetchall()
        assert len(found) >= (26 if kind == "tables" else 130)
        for name, comment in found:
            assert comment and comment == comment.strip(), name
            assert comment.lower() not in (name.split(".")[-1], name), name


def test_rows_come_back_as_they_were_written_and_in_order(tmp_path: Path) -> None:
    tables = {table: rows_of(table, 5) for table in contract()}
    path = tmp_path / "full.duckdb"
    assert write_store(path, tables) == dict.fromkeys(TABLES, 5)
    with duckdb.connect(str(path), read_only=True) as con:
        for table, rows in tables.items():
            found = con.execute(f'SELECT * FROM "{table}"').fetchall()
            written = [tuple(row.values()) for row in rows.to_pylist()]
            assert sorted(found, key=str) == sorted(written, key=str)
            assert found == list(reversed(written)), table


def test_nulls_stay_nulls(tmp_path: Path) -> None:
    row = {"task": None, "template": "", "condition": "clean", "n": None, "position": 0}
    rows = [{**row, "n_prompts": 1, "n_right": 0, "chance": None}]
    tables = {"task_results": pa.Table.from_pylist(rows, schema=arrow_schema("task_results"))}
    write_store(tmp_path / "nulls.duckdb", tables)
    with duckdb.connect(str(tmp_path / "nulls.duckdb"), read_only=True) as con:
        found = con.execute("SELECT task, template, n, chance FROM task_results").fetchall()
    assert found == [(None, "", None, None)]


def test_a_store_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "once.duckdb"
    write_store(path, {"tokens": rows_of("tokens", 2)})
    before = path.read_bytes()
    with pytest.raises(ValueError, match="exists"):
        write_store(path, {"tokens": rows_of("tokens", 3)})
    assert path.read_bytes() == before


def test_tables_outside_the_contract_and_wrong_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tables of the schema"):
        write_store(tmp_path / "a.duckdb", {"tokenz": rows_of("tokens", 1)})
    assert not (tmp_path / "a.duckdb").exists()
    renamed = rows_of("tokens", 1).rename_columns(["id", "text"])
    with pytest.raises(ValueError, match="names"):
        write_store(tmp_path / "b.duckdb", {"tokens": renamed})


def test_numbers_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """A token id of 2**40 is a mistake, not another token."""
    wide = pa.table({"token_id": pa.array([2**40], pa.int64()), "text": pa.array(["x"])})
    with pytest.raises(pa.ArrowInvalid, match="not in range"):
        write_store(tmp_path / "wide.duckdb", {"tokens": wide})
    fits = pa.table({"token_id": pa.array([2**30], pa.int64()), "text": pa.array(["x"])})
    assert write_store(tmp_path / "fits.duckdb", {"tokens": fits})["tokens"] == 1


def test_texts_are_rows_and_never_commands(tmp_path: Path) -> None:
    hostile = ["'; DROP TABLE prompts; --", '"', "\\", "a\x00b", "<script>", "\u202e", "", "😀"]
    rows = pa.table({"token_id": pa.array(range(len(hostile)), pa.int32()), "text": hostile})
    write_store(tmp_path / "hostile.duckdb", {"tokens": rows})
    with duckdb.connect(str(tmp_path / "hostile.duckdb"), read_only=True) as con:
        found = con.execute("SELECT text FROM tokens ORDER BY token_id").fetchall()
        assert [text for (text,) in found] == hostile
        assert con.execute("SELECT count(*) FROM prompts").fetchall() == [(0,)]
