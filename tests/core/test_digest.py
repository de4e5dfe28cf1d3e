"""A table's checksum: the same however the rows come, another for any value that differs."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer.core.digest import digest_of
from explorer.core.schema import arrow_schema, write_manifest, write_store
from explorer.core.schema_tables import TABLES
from explorer.core.seals import (
    MANIFEST_SEAL,
    manifest_seal_in_store,
    seal_in_store,
    seal_of_facts,
    seal_of_rows,
    seals,
)

COLUMNS = [("i", "INTEGER"), ("x", "FLOAT"), ("b", "BOOLEAN"), ("t", "VARCHAR"),
           ("ids", "INTEGER[]"), ("xs", "FLOAT[]")]  # fmt: skip
SCHEMA = pa.schema([
    ("i", pa.int32()), ("x", pa.float32()), ("b", pa.bool_()), ("t", pa.string()),
    ("ids", pa.list_(pa.int32())), ("xs", pa.list_(pa.float32())),
])  # fmt: skip
ints = st.integers(-(2**31), 2**31 - 1)
floats = st.floats(width=32)
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=4)
rows = st.lists(
    st.tuples(
        st.none() | ints, st.none() | floats, st.none() | st.booleans(), st.none() | texts,
        st.none() | st.lists(ints, max_size=3), st.none() | st.lists(floats, max_size=3),
    ),
    max_size=12,
)  # fmt: skip


def as_table(values: list[tuple[object, ...]]) -> pa.Table:
    columns = zip(*values, strict=True) if values else [()] * len(COLUMNS)
    return pa.table(
        [pa.array(list(c), f.type) for c, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
    )


def digest(table: pa.Table, size: int | None = None) -> str:
    return digest_of(COLUMNS, table.to_batches(max_chunksize=size)).hexdigest()


@settings(max_examples=60, deadline=None)
@given(rows, st.integers(1, 5))
def test_chunks_and_a_database_change_nothing(values: list[tuple[object, ...]], size: int) -> None:
    table = as_table(values)
    assert digest(table, size) == digest(table)
    padded = pa.concat_tables([as_table([(1, 2.0, True, "x", [3], [4.0])] * 3), table])
    assert digest(padded.slice(3)) == digest(table)  # an offset into the buffers beneath
    with duckdb.connect() as con:
        con.register("incoming", table)
        con.execute("CREATE TABLE t AS FROM incoming")
        assert digest(con.sql("FROM t").to_arrow_table().cast(SCHEMA)) == digest(table)


BASE = [(1, 1.5, True, "ab", [1, 2], [0.5]), (2, -1.5, False, "c", [], [1.0, 2.0])]


@pytest.mark.parametrize(
    "changed",
    [
        [(3, 1.5, True, "ab", [1, 2], [0.5]), BASE[1]],
        [(None, 1.5, True, "ab", [1, 2], [0.5]), BASE[1]],
        [(1, 1.5000001, True, "ab", [1, 2], [0.5]), BASE[1]],
        [(1, 1.5, False, "ab", [1, 2], [0.5]), BASE[1]],
        [(1, 1.5, True, "a", [1, 2], [0.5]), (2, -1.5, False, "bc", [], [1.0, 2.0])],
        [(1, 1.5, True, "ab", [1], [0.5]), (2, -1.5, False, "c", [2], [1.0, 2.0])],
        [(1, 1.5, True, "ab", [1, 2], [0.5, 1.0]), (2, -1.5, False, "c", [], [2.0])],
        [(1, 1.5, True, "ab", [1, 2], [0.5]), (2, -1.5, False, "c", None, [1.0, 2.0])],
        [(1, 1.5, True, "", [1, 2], [0.5]), (2, -1.5, False, "abc", [], [1.0, 2.0])],
        [BASE[1], BASE[0]],
        BASE[:1],
        [*BASE, BASE[0]],
    ],
)
def test_any_difference_shows(changed: list[tuple[object, ...]]) -> None:
    assert digest(as_table(changed)) != digest(as_table(BASE))
    assert digest(as_table(list(BASE))) == digest(as_table(BASE))


def test_a_null_is_no_zero_and_equal_floats_are_equal() -> None:
    def of(*values: float | None) -> str:
        batch = pa.record_batch({"x": pa.array(values, pa.float32())})
        return digest_of([("x", "FLOAT")], [batch]).hexdigest()

    assert of(0.0, None) != of(None, 0.0) != of(0.0, 0.0)
    assert of(-0.0) == of(0.0)  # a database may keep one for both
    other_nan = np.array([0x7FC00001], np.uint32).view(np.float32)[0]
    assert of(float("nan")) == of(other_nan)
    assert of(float("nan")) != of(None)


def test_the_checksum_is_the_one_of_every_version() -> None:
    """Stores outlive versions: this value must never change."""
    assert digest(as_table(BASE)) == (
        "946da2b474fa37507d579daac533340994f1e4dffde54a9e9d904e5e4a04e404"
    )


def test_columns_must_be_the_tables_own() -> None:
    with pytest.raises(ValueError, match="expected"):
        digest_of([("y", "FLOAT")], as_table(BASE).to_batches())


def test_what_is_sealed_when_written_is_found_in_the_store(tmp_path: Path) -> None:
    """Rows in any order, other integer widths, empty tables: the store has the same checksums."""
    heads = pa.table({
        "prompt_id": pa.array([1, 0], pa.int64()), "heads": [[-0.0, 0.1], [0.2, 0.3]],
        "mlps": [[1.0], [2.0]], "embedding": [0.5, 0.25], "bias": [0.0, -0.0],
        "pre_activation": [1.6, 2.75], "ln_scale": [1.0, 1.0],
    })  # fmt: skip
    facts = {"schema_version": 1, "text": "ä\u2423\x1b", "list": [1, None]}
    path = tmp_path / "x.duckdb"
    write_store(path, {"head_attributions": heads})
    write_manifest(path, {**facts, MANIFEST_SEAL: seal_of_facts(facts)})
    found = seals({"head_attributions": heads})
    with duckdb.connect(str(path), read_only=True) as con:
        for table in found["table_sha256"]:
            stored = seal_in_store(con.cursor(), table)
            assert stored.hexdigest() == found["table_sha256"][table], table
            assert stored.n_rows == found["table_rows"][table]
        assert manifest_seal_in_store(con.cursor()) == seal_of_facts(facts)
    assert set(found["table_rows"]) == set(TABLES) - {"manifest"}
    swapped = heads.set_column(3, "embedding", pa.array([0.25, 0.5]))
    assert (
        seal_of_rows("head_attributions", swapped).hexdigest()
        != (found["table_sha256"]["head_attributions"])
    )
    assert arrow_schema("head_attributions").names == heads.column_names
    assert seal_of_facts({**facts, "text": "b"}) != seal_of_facts(facts)


@settings(max_examples=40, deadline=None)
@given(st.permutations([(p, layer, head) for p in (0, 1) for layer in (0, 1) for head in (0, 1)]))
def test_rows_of_any_order_have_the_checksum_that_they_have_in_the_store(
    order: list[tuple[int, int, int]],
) -> None:
    def seal(rows: list[tuple[int, int, int]]) -> str:
        names = ("prompt_id", "head_layer", "head")
        columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
        return seal_of_rows("active_heads", pa.table(columns)).hexdigest()

    assert seal(order) == seal(sorted(order))
    assert seal(order[1:]) != seal(order)
    assert seal_of_rows("active_heads", None).n_rows == 0
