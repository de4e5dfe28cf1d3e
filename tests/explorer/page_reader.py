"""Reading a drawn page in a test: its HTML pieces, its charts' data, its prompt strips."""

from __future__ import annotations

import html
import io
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from streamlit.testing.v1 import AppTest

from explorer.core.store import Store
from explorer.core.types import NeuronId


def open_page(view: str, **query: str) -> AppTest:
    """Run one view alone, its URL parameters given."""
    app = AppTest.from_string(f"from explorer.views.{view} import render\nrender()")
    app.default_timeout = 60
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert [error.message for error in app.exception] == []
    return app


def html_of(app: AppTest) -> str:
    """All HTML pieces of the page in order."""
    return "\n".join(piece.proto.body for piece in app.get("html"))


def text_of(app: AppTest) -> str:
    """The words of all HTML pieces, tags left out."""
    return html.unescape(re.sub(r"<[^>]+>", "", html_of(app)))


def strips_of_page(app: AppTest) -> list[str]:
    """The HTML of each block of prompt strips."""
    found = [
        c.proto for c in app.get("bidi_component") if c.proto.component_name == "prompt_strips"
    ]
    return [json.loads(proto.json)["html"] for proto in found]


def chart(app: AppTest, start: str) -> tuple[dict[str, Any], list[pd.DataFrame]]:
    """The specification of the chart whose description begins with `start`, and its data sets."""
    protos = [c.proto for c in app.get("vega_lite_chart")]
    (proto,) = [p for p in protos if json.loads(p.spec)["description"].startswith(start)]
    frames = [read_arrow(part.data.data) for part in proto.datasets]
    return json.loads(proto.spec), frames


def read_arrow(raw: bytes) -> pd.DataFrame:
    return pa.ipc.open_stream(io.BytesIO(raw)).read_pandas()


def widest(frames: list[pd.DataFrame], *columns: str) -> pd.DataFrame:
    """The largest data set that has all of these columns."""
    return max((f for f in frames if {*columns} <= {*f.columns}), key=len)


def chart_rows(drawn: Any) -> list[list[dict[str, Any]]]:
    """The rows of each data set in a chart that was drawn without Streamlit."""
    return list(drawn.to_dict()["datasets"].values())


def layer_marks(drawn: Any) -> list[str]:
    """The mark of each layer of a chart, in drawing order."""
    return [layer["mark"]["type"] for layer in drawn.to_dict()["layer"]]


def neurons_with(store: Store, text: str) -> list[NeuronId]:
    """Studied neurons one of whose train prompts keeps a token with this text."""
    kept = store.sql(
        "SELECT DISTINCT layer, neuron FROM prompts WHERE split = 'train' AND "
        "list_contains(token_ids[start + 1:], ?) ORDER BY ALL",
        (store.token_id(text),),
    )
    return [NeuronId(int(a), int(b)) for a, b in kept.to_numpy()]


def store_copy(folder: Path, name: str, tables: dict[str, pa.Table]) -> Path:
    """Write tables as a store of a folder of its own."""
    from explorer.core.schema import write_store

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.duckdb"
    write_store(path, tables)
    return path
