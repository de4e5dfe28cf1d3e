"""Live on a seeded store of the bundled model: opening the page, reading what it drew."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from streamlit.testing.v1 import AppTest

from explorer.core.schema import arrow_schema, write_store
from explorer.core.store import Store
from explorer.resources import models
from tests.explorer.page_reader import open_page, read_arrow
from tests.explorer.seeded import tables

DEMO = Path(__file__).resolve().parents[2] / "assets" / "demo" / "model"


def write_live_store(folder: Path, model: str = str(DEMO)) -> Path:
    """A seeded store of the bundled model in `folder`: its sizes, tokens and checksum. `model` is
    where the run says that it lies."""
    from explorer.core.model import load_model

    demo = load_model(DEMO)
    shape = demo.shape
    sizes = {name: getattr(shape, name) for name in shape.__dataclass_fields__}
    found = tables(model=model, weights_sha256=demo.weights_sha256, model_name="demo", **sizes)
    schema = arrow_schema("tokens")
    columns = [list(range(shape.d_vocab)), demo.token_texts]
    arrays = [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)]
    found["tokens"] = pa.Table.from_arrays(arrays, schema=schema)
    write_store(folder / "live.duckdb", found)
    return folder


def open_live(folder: Path, monkeypatch: pytest.MonkeyPatch, **query: str) -> AppTest:
    """The page once the model is ready."""
    monkeypatch.setenv("EXPLORER_STORE", str(folder))
    end = time.monotonic() + 120
    with Store.open(folder / "live.duckdb") as store:
        while models.model_status(store).state != "ready":
            assert time.monotonic() < end, models.model_status(store)
            time.sleep(0.1)
    return open_page("live", **query)


def rows_of(app: AppTest, place: int) -> pd.DataFrame:
    """What a chart was given to draw, by its place on the page."""
    return read_arrow(app.get("vega_lite_chart")[place].proto.datasets[0].data.data)


def strip_of(app: AppTest) -> dict[str, Any]:
    """What the token strip was given."""
    (strip,) = [
        json.loads(c.proto.json)
        for c in app.get("bidi_component")
        if c.proto.component_name == "token_strip"
    ]
    return strip
