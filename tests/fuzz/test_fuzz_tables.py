"""Stores whose every value is one that a run may write, but whose tables do not fit together: rows gone,
doubled, moved to others. No page has a traceback; it shows what there is."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
import streamlit
from hypothesis import given
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from explorer.core.schema_tables import TABLES
from tests.explorer.seeded import write_seeded_store
from tests.fuzz.amounts import inputs, tried

PAGES = {
    "tokens": {"token": "␣come"}, "neuron": {"neuron": "L5N7"}, "map": {}, "findings": {}, "about": {},
    "head": {"neuron": "L5N7"}, "live": {"neuron": "L5N7"}, "flow": {"neuron": "L5N7"},
    "channels": {"tab": "components", "src": "L1H0", "dst": "L5H0"},
}  # fmt: skip
WAYS = (
    'DELETE FROM "{t}"', 'DELETE FROM "{t}" WHERE rowid % 2 = 0', 'DELETE FROM "{t}" WHERE rowid <> 0',
    'INSERT INTO "{t}" SELECT * FROM "{t}" LIMIT 5',
    'UPDATE "{t}" SET "{c}" = (SELECT "{c}" FROM "{t}" LIMIT 1)',
    'UPDATE "{t}" SET "{c}" = (SELECT max("{c}") FROM "{t}")',
    'UPDATE "{t}" SET "{c}" = CASE WHEN typeof("{c}") = \'FLOAT\' THEN \'-1e38\' ELSE "{c}"::VARCHAR END',
    'UPDATE "{t}" SET "{c}" = NULL',
    "UPDATE explanations SET rule = '[]'", "UPDATE explanations SET rule = '{{\"clauses\": [1]}}'",
    "UPDATE explanations SET rule = repeat('[', 9999)", "UPDATE task_results SET n_prompts = 0",
    "DELETE FROM manifest WHERE key NOT IN ('schema_version', 'model', 'corpus', 'keep_ratio', "
    "'active_rule', 'max_prompt_tokens', 'n_layers', 'n_heads', 'd_model', 'd_head', 'd_mlp', 'd_vocab', "
    "'n_ctx', 'parallel_blocks', 'rotary')",
)  # fmt: skip
COLUMNS = [
    (table, name) for table, spec in TABLES.items() if table != "manifest" for name, *_ in spec.columns
]  # fmt: skip


@inputs("tables")
@given(
    changes=st.lists(
        st.tuples(st.sampled_from(WAYS), st.sampled_from(COLUMNS)), min_size=1, max_size=3
    ),
    page=st.sampled_from(sorted(PAGES)),
)
def test_tables_that_do_not_fit_together(
    tmp_path_factory: pytest.TempPathFactory,
    changes: list[tuple[str, tuple[str, str]]],
    page: str,
) -> None:
    tried["stores, tables changed"] += 1
    folder: Path = tmp_path_factory.getbasetemp() / "changed"  # one to watch, whatever is in it
    streamlit.cache_resource.clear()
    folder.mkdir(exist_ok=True)
    path = write_seeded_store(tmp_path_factory.mktemp("being-changed"), model="not/there/at/all")
    with duckdb.connect(str(path)) as con:
        for way, (table, column) in changes:
            try:
                con.execute(way.format(t=table, c=column))
            except duckdb.Error:  # a list is no number
                continue
    path.replace(folder / path.name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXPLORER_STORE", str(folder))
        patch.delenv("EXPLORER_MODEL", raising=False)
        app = AppTest.from_string(f"from explorer.views.{page} import render\nrender()")
        app.default_timeout = 120
        for name, value in PAGES[page].items():
            app.query_params[name] = value
        app.run()
    assert [error.message for error in app.exception] == []
