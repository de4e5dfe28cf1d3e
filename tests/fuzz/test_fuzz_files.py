"""Any bytes where a corpus or a store is expected: rows, or one line that says what is wrong."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.explorer.seeded import write_seeded_store
from tests.fuzz.amounts import inputs, tried
from tests.fuzz.child import Reader
from tests.fuzz.hostile import HOSTILE, controls
from tests.fuzz.spoil import blocks, checksum, resealed, spoiled

seeds = st.integers(0, 2**40)


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    found = Reader()
    yield found
    found.close()


def _texts() -> list[str]:
    plain = [text.encode("utf-8", "replace").decode() for text in HOSTILE]
    return [text[:200] for text in plain] + ["They went down to the river. " * 3] * 20


def _jsonl() -> bytes:
    return "".join(json.dumps({"text": text, "n": 1}) + "\n" for text in _texts()).encode()


def _parquet() -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.table({"n": pa.array(range(len(_texts()))), "text": pa.array(_texts())})
    pq.write_table(table, sink, row_group_size=16)
    return sink.getvalue().to_pybytes()


def _txt() -> bytes:
    return b"\xef\xbb\xbf" + "\n\n".join(_texts()).encode()


MAKERS: dict[str, Callable[[], bytes]] = {".txt": _txt, ".jsonl": _jsonl, ".parquet": _parquet}
WHOLE = {name: make() for name, make in MAKERS.items()}
WHOLE |= {f"{name}.gz": gzip.compress(raw, mtime=0) for name, raw in WHOLE.items()}


def _assert_promise(answer: dict[str, Any], *words: str) -> None:
    assert "traceback" not in answer, answer["traceback"]
    assert set(answer) <= {"ok", "refused"}, answer
    if "refused" in answer:
        line = answer["refused"]
        assert "\n" not in line and controls(line) == set()
        assert all(word in line for word in words)


@inputs("corpora")
@given(kind=st.sampled_from(sorted(WHOLE)), seed=seeds, is_other=st.booleans())
def test_any_bytes_as_a_corpus(
    reader: Reader, tmp_path_factory: pytest.TempPathFactory, kind: str, seed: int, is_other: bool
) -> None:
    """Half of them wrong inside the gzip, where the archive itself is whole."""
    tried["corpora"] += 1
    raw = WHOLE[kind]
    if kind.endswith(".gz") and is_other:
        raw = gzip.compress(spoiled(WHOLE[kind.removesuffix(".gz")], seed), mtime=0)
    else:
        raw = spoiled(raw, seed)
    path = tmp_path_factory.getbasetemp() / f"fuzzed{kind}"
    path.write_bytes(raw)
    _assert_promise(reader.ask("corpus", path), path.name)


@pytest.mark.parametrize("kind", sorted(WHOLE))
def test_the_whole_files_are_read(reader: Reader, tmp_path: Path, kind: str) -> None:
    """The control: unspoiled they hold every text."""
    path = tmp_path / f"whole{kind}"
    path.write_bytes(WHOLE[kind])
    answer = reader.ask("corpus", path)
    assert int(answer["ok"].split()[0]) >= len(_texts()) - 10


@pytest.fixture(scope="module")
def whole_store(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_seeded_store(tmp_path_factory.mktemp("whole")).read_bytes()


@inputs("stores", 0.3)
@given(seed=seeds)
def test_a_store_with_bytes_changed(
    reader: Reader, whole_store: bytes, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    tried["stores, bytes changed"] += 1
    path = tmp_path_factory.getbasetemp() / "fuzzed.duckdb"
    path.write_bytes(spoiled(whole_store, seed))
    _assert_promise(reader.ask("store", path), path.name)


@inputs("stores", 0.7)
@given(seed=seeds)
def test_a_store_made_to_harm(
    reader: Reader, whole_store: bytes, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    """Its blocks carry right checksums, so that DuckDB believes what is in them."""
    tried["stores, resealed"] += 1
    path = tmp_path_factory.getbasetemp() / "resealed.duckdb"
    raw = spoiled(whole_store, seed)
    raw = (raw + bytes(len(whole_store)))[: len(whole_store)]
    path.write_bytes(resealed(raw))
    _assert_promise(reader.ask("store", path), path.name)


def test_the_seal_is_duckdbs_own(reader: Reader, whole_store: bytes, tmp_path: Path) -> None:
    """The control: unchanged, every checksum is as DuckDB wrote it; one bit without it is refused."""
    assert resealed(whole_store) == whole_store
    offset, size = list(blocks(whole_store))[4]
    part = whole_store[offset + 8 : offset + size]
    assert int.from_bytes(whole_store[offset : offset + 8], "little") == checksum(part)
    path = tmp_path / "whole.duckdb"
    path.write_bytes(whole_store)
    assert "rows" in reader.ask("store", path)["ok"]


def test_a_reader_that_dies_is_seen_and_replaced(reader: Reader, tmp_path: Path) -> None:
    """The control: a crash is an answer of its own, a traceback is one too."""
    assert "traceback" in reader.ask("no such kind", tmp_path)
    with pytest.raises(AssertionError):
        _assert_promise({"traceback": "x"})
    with pytest.raises(AssertionError):
        _assert_promise({"died": -11})
    reader._started().kill()
    assert reader.ask("corpus", tmp_path)["died"] == -9
    assert "refused" in reader.ask("corpus", tmp_path / "none.txt")
