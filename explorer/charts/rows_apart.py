"""A chart's specification without its rows: each table beside it, once, as the bytes of an Arrow stream.

Altair writes the rows into the specification, value by value, names them by a digest of that text, and
the page's server then reads them back into a table. For charts of some hundred marks that takes longer
than the drawing.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from typing import Any, cast

import altair as alt
import numpy as np
import pandas as pd
import pyarrow as pa
from altair.utils import sanitize_pandas_dataframe

_NAME = "rows-apart"
_AS_THEY_ARE = ("str", "string", "bool", "int64", "int32")
"""Kinds of columns of which Arrow makes what Altair means, a missing value none."""


@dataclass
class _Tables(threading.local):
    """Tables of the specification that this thread writes; None while it writes none."""

    found: dict[str, bytes] | None = field(default=None)
    names: dict[int, tuple[pd.DataFrame, str]] = field(default_factory=dict)
    """By identity, with the table itself: layers ask for theirs again and again."""


_tables = _Tables()


def _plain(rows: pd.DataFrame) -> pd.DataFrame:
    """What Altair would write as JSON: no infinities, no categories, times as text."""
    changed: dict[str, Any] = {}
    for place, (name, dtype) in enumerate(rows.dtypes.items()):
        column = rows.iloc[:, place]
        if isinstance(dtype, np.dtype) and dtype.kind == "f":
            if np.isinf(column.to_numpy()).any():
                changed[str(name)] = column.replace([np.inf, -np.inf], np.nan)
        elif str(dtype) not in _AS_THEY_ARE:
            changed[str(name)] = sanitize_pandas_dataframe(column.to_frame())[name]
    return rows.assign(**changed) if changed else rows


def _arrow_stream(rows: pd.DataFrame) -> bytes:
    table = pa.Table.from_pandas(_plain(rows), preserve_index=False)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def _transform(data: Any) -> Any:
    """Put a table beside the specification that is being written; otherwise Altair's own way."""
    if _tables.found is None or not isinstance(data, pd.DataFrame):
        return alt.default_data_transformer(data)
    if id(data) not in _tables.names:
        stream = _arrow_stream(data)
        # Named by content: a browser swaps the rows of one name, and draws another name anew.
        name = f"data-{hashlib.blake2b(stream, digest_size=16).hexdigest()}"
        _tables.found[name] = stream
        _tables.names[id(data)] = (data, name)
    return {"name": _tables.names[id(data)][1]}


alt.data_transformers.register(_NAME, _transform)


def specification(chart: alt.TopLevelMixin) -> dict[str, Any]:
    """The chart as Vega-Lite, unchecked, its `datasets` Arrow streams by name."""
    if alt.data_transformers.active != _NAME:
        alt.data_transformers.enable(_NAME)
    _tables.found, _tables.names = {}, {}
    try:
        # A chart of any kind has `to_dict`; their common base does not say so.
        spec: dict[str, Any] = cast(Any, chart).to_dict(validate=False)
        return spec | {"datasets": {**spec.get("datasets", {}), **_tables.found}}
    finally:
        _tables.found, _tables.names = None, {}
