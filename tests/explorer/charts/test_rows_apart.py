"""Rows beside the specification are those that Altair itself would write into it."""

from __future__ import annotations

import json
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from explorer.charts import rows_apart
from explorer.charts.rows_apart import specification

ROWS = pd.DataFrame(
    {
        "float": [1.5, np.nan, np.inf],
        "nothing": [np.nan] * 3,
        "whole": [1, 2, 3],
        "yes": [True, False, True],
        "text": ["a", None, "<b>"],
        "kind": pd.Categorical(["u", "v", "u"]),
        "lists": pd.Series([["x"], ["y", "z"], None], dtype=object),
        "time": pd.to_datetime(["2020-01-02"] * 3),
        "maybe": pd.array([1, None, 2], dtype="Int64"),
        "small": np.array([0.5, 1, 2], dtype="float32"),
    }
)


def _chart(rows: pd.DataFrame) -> alt.Chart:
    return alt.Chart(rows).mark_point().encode(x="float:Q", y="whole:Q")


def _rows_of(spec: dict[str, Any]) -> list[dict[str, Any]]:
    found = spec["datasets"][spec["data"]["name"]]
    if isinstance(found, bytes):
        return pa.ipc.open_stream(found).read_all().to_pylist()
    return json.loads(json.dumps(found))


def test_rows_are_those_of_altair() -> None:
    spec = specification(_chart(ROWS))
    own = _chart(ROWS).to_dict()
    assert isinstance(spec["datasets"][spec["data"]["name"]], bytes)
    assert _rows_of(spec) == _rows_of(own)
    names = ("data", "datasets", "config", "$schema")
    assert [
        {name: part for name, part in found.items() if name not in names} for found in (spec, own)
    ] == [{name: part for name, part in own.items() if name not in names}] * 2


def test_a_table_is_named_by_what_it_holds_and_sent_once() -> None:
    layered = specification(_chart(ROWS) + _chart(ROWS.copy()))
    assert len(layered["datasets"]) == 1
    other = ROWS.assign(whole=[1, 2, 4])  # control: one value differs
    assert len(specification(_chart(ROWS) + _chart(other))["datasets"]) == 2


def test_layers_of_one_table_have_it_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    make = rows_apart._arrow_stream
    monkeypatch.setattr(rows_apart, "_arrow_stream", lambda rows: (made.append(1), make(rows))[1])
    other = ROWS.assign(whole=[1, 2, 4])
    layered = alt.layer(_chart(ROWS), _chart(other), _chart(ROWS), _chart(other))
    assert len(specification(layered)["datasets"]) == 2
    assert len(made) == 2
    specification(_chart(ROWS))  # control: another specification makes its own
    assert len(made) == 3


def test_charts_written_elsewhere_keep_altairs_way() -> None:
    specification(_chart(ROWS))
    assert isinstance(_rows_of(_chart(ROWS).to_dict()), list)
    assert all(isinstance(rows, list) for rows in _chart(ROWS).to_dict()["datasets"].values())
