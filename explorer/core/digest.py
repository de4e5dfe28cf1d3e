"""One checksum for the rows of a table, the same wherever they come from.

It is over the values themselves, column by column in little-endian bytes, so that it depends neither on
how Arrow cuts a table into chunks, nor on a file's compression, nor on a library's version. The order
of the rows counts. Rows may come in batches of any size: only hashes are kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
from pyarrow import compute


def _raw(values: np.ndarray) -> memoryview:
    """The values as little-endian bytes; equal floats have equal bytes.

    A database may keep one zero for two: -0 becomes 0, and every NaN the same NaN.
    """
    if values.dtype.kind == "f":
        values = values + values.dtype.type(0)
        values[np.isnan(values)] = np.nan
    return values.astype(values.dtype.newbyteorder("<"), copy=False).data.cast("B")


def _raw_texts(texts: pa.Array) -> memoryview:
    """The UTF-8 bytes of an array without NULLs, one text after the other."""
    texts = texts.cast(pa.large_binary())
    _, offsets, data = texts.buffers()
    if not len(texts) or data is None:
        return memoryview(b"")
    bounds = np.frombuffer(offsets, np.int64)
    return memoryview(data)[bounds[texts.offset] : bounds[texts.offset + len(texts)]]


class _ColumnDigest:
    """Hashes of where values are NULL, of lengths, and of the values; a list has its elements' too."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._n_rows = 0
        self._nulls, self._lengths, self._values = (hashlib.sha256() for _ in range(3))
        self._elements = _ColumnDigest(kind[:-2]) if kind.endswith("[]") else None

    def update(self, values: pa.Array) -> None:
        if values.null_count:
            places = np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))
            self._nulls.update(_raw(places.astype(np.int64) + self._n_rows))
        self._n_rows += len(values)
        if self._elements is not None:
            self._add_lengths(compute.call_function("list_value_length", [values]))
            self._elements.update(values.drop_null().flatten())
        elif self._kind == "VARCHAR":
            self._add_lengths(compute.call_function("binary_length", [values]))
            self._values.update(_raw_texts(values.drop_null()))
        else:
            self._values.update(_raw(values.drop_null().to_numpy(zero_copy_only=False)))

    def _add_lengths(self, lengths: pa.Array) -> None:
        self._lengths.update(_raw(lengths.fill_null(0).to_numpy(zero_copy_only=False)))

    def hexdigest(self) -> str:
        parts = [self._kind, str(self._n_rows)]
        parts += [found.hexdigest() for found in (self._nulls, self._lengths, self._values)]
        parts += [self._elements.hexdigest()] if self._elements is not None else []
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


class TableDigest:
    """The checksum of a table's rows. Columns are `(name, kind)`, kinds as DuckDB names them: INTEGER,
    FLOAT, BOOLEAN, VARCHAR and lists of these; batches hold the same columns in the same order."""

    def __init__(self, columns: Sequence[tuple[str, str]]) -> None:
        self._columns = [(name, _ColumnDigest(kind)) for name, kind in columns]
        self.n_rows = 0

    def update(self, batch: pa.RecordBatch) -> None:
        if batch.schema.names != [name for name, _ in self._columns]:
            raise ValueError(f"expected {[n for n, _ in self._columns]}, got {batch.schema.names}")
        self.n_rows += batch.num_rows
        for (_, digest), values in zip(self._columns, batch.columns, strict=True):
            digest.update(values)

    def hexdigest(self) -> str:
        """SHA-256 over the columns' names and hashes, 64 hexadecimal digits."""
        text = "\n".join(f"{name} {digest.hexdigest()}" for name, digest in self._columns)
        return hashlib.sha256(text.encode()).hexdigest()


def digest_of(columns: Sequence[tuple[str, str]], batches: Iterable[pa.RecordBatch]) -> TableDigest:
    """The checksum of all batches, and how many rows they had."""
    found = TableDigest(columns)
    for batch in batches:
        found.update(batch)
    return found
