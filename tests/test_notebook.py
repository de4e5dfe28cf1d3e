"""The README's page on notebooks does what it says, on a published run and without Streamlit."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import altair as alt
import duckdb
import pytest

from explorer.charts.style import DARK, LIGHT
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from explorer.resources.notebook import (
    findings_figures,
    head_figures,
    map_figure,
    neuron_figures,
)
from tests.explorer.page_reader import store_copy
from tests.explorer.seeded import N_PROMPTS, tables, write_seeded_store

ROOT = Path(__file__).resolve().parents[1]
MAX_LINES = 40
_TELL = """
import json, sys
print(json.dumps({
    "loaded": [name for name in ("streamlit", "torch") if name in sys.modules],
    "charts": {name: chart.to_dict() for name, chart in (charts | {"map": by_score}).items()},
    "pair": [str(neuron), str(head)], "words": words["text"].tolist(), "removed": len(removed),
    "likely": int(likely["n"].sum()),
}))
"""


def _page() -> str:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.split(r"^## ", readme.split("\n## In a notebook\n")[1], maxsplit=1, flags=re.M)[0]


def _code() -> str:
    (block,) = re.findall(r"```python\n(.*?)```", _page(), re.S)
    return block


@pytest.fixture(scope="module")
def run_folder(
    gpt2_folder: Path, small_corpus: Path, tmp_path_factory: pytest.TempPathFactory,
    publish: Callable[..., duckdb.DuckDBPyConnection],
) -> Path:  # fmt: skip
    """A folder with `runs/`, where the job has published a small run."""
    folder = tmp_path_factory.mktemp("notebook")
    options = [
        "--layers",
        "last:1",
        "--neurons-per-layer",
        3,
        "--prompts",
        6,
        "--out",
        folder / "runs",
    ]
    publish("--model", gpt2_folder, "--corpus", small_corpus, *options).close()
    return folder


def test_the_page_is_one_block_of_code_and_short() -> None:
    assert len(_page().strip().splitlines()) + 1 <= MAX_LINES
    assert _code().count("\n") > 10


def test_the_page_runs_in_a_fresh_interpreter(run_folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _code() + _TELL], cwd=run_folder, capture_output=True, text=True,
        timeout=300, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert told["loaded"] == []
    (path,) = (run_folder / "runs").glob("*.duckdb")
    with Store.open(path) as store:
        neuron, head = NeuronId.parse(told["pair"][0]), HeadId.parse(told["pair"][1])
        assert told["words"] == store.explanations(neuron, head)["text"].tolist() != []
        n_kinds = store.ablations(neuron, head).groupby(["kind", "active"]).ngroups
        assert told["removed"] == n_kinds > 0
        chances = [p for split in ("train", "test") for p in _chances(store, split)]
        assert told["likely"] == sum(p > 0.01 for p in chances)
    assert {"tokens", "heads", "shares", "truncation", "served", "dots", "removal", "map"} == set(
        told["charts"]
    )
    assert told["charts"]["map"]["config"]["background"] == DARK.page
    assert told["charts"]["heads"]["config"]["background"] == LIGHT.page
    saved = {path.stem: path.read_text() for path in run_folder.glob("*.svg")}
    assert {"depths", "chances", "scatter", "curves"} <= set(saved)
    assert all("<svg" in svg and len(svg) > 2000 for svg in saved.values())


def _chances(store: Store, split: str) -> list[float]:
    neurons = store.studied_neurons()[["layer", "neuron"]].to_numpy()
    return [
        float(p)
        for layer, index in neurons
        for p in store.prompts(NeuronId(int(layer), int(index)), split)["probability"]
    ]


def _rows(chart: alt.TopLevelMixin, *columns: str) -> list[dict[str, Any]]:
    """The largest table of a chart that has these columns."""
    found = [rows for rows in chart.to_dict()["datasets"].values() if {*columns} <= {*rows[0]}]
    return max(found, key=len)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory):
    with Store.open(write_seeded_store(tmp_path_factory.mktemp("seeded"))) as opened:
        yield opened


def test_a_chart_holds_the_stored_numbers(store: Store) -> None:
    neuron = NeuronId(5, 7)
    cells = _rows(neuron_figures(store, neuron, "test")["heads"], "rank", "head", "contribution")
    stored = store.attributions(neuron, "test").set_index("rank")
    assert {cell["rank"] for cell in cells} == set(range(1, N_PROMPTS + 1))
    for cell in cells:
        flat = HeadId.parse(cell["head"]).flat(store.shape.n_heads)
        assert cell["contribution"] == pytest.approx(float(stored.loc[cell["rank"], "heads"][flat]))
    train = _rows(neuron_figures(store, neuron)["heads"], "rank", "head", "contribution")
    assert [c["contribution"] for c in train] != [c["contribution"] for c in cells]


def test_the_kind_of_removal_and_the_palette_are_those_asked_for(store: Store) -> None:
    row = store.sql(
        "SELECT * FROM ablations JOIN prompts USING (prompt_id) ORDER BY prompt_id"
    ).iloc[0]
    neuron = NeuronId(int(row["layer"]), int(row["neuron"]))
    head = HeadId(int(row["head_layer"]), int(row["head"]))
    stored = store.ablations(neuron, head)
    for kind in ("zero-last", "mean-all"):
        chart = head_figures(store, neuron, head, kind=kind, palette=DARK)["removal"]
        drawn = sorted(row["value"] for row in _rows(chart, "prompt_id", "value"))
        mine = stored.loc[stored["kind"] == kind, "delta_activation"]
        assert drawn == pytest.approx(sorted(mine.astype(float)))
        assert chart.to_dict()["config"]["background"] == DARK.page


@pytest.mark.parametrize("measure", ["share", "contribution", "score", "effect"])
def test_every_chart_is_valid(store: Store, measure: str) -> None:
    spec = map_figure(store, measure).to_dict()  # validates
    assert spec["title"]["text"]
    for chart in findings_figures(store, "mean-last").values():
        assert chart.to_dict()["title"]["text"]


def test_what_a_run_does_not_hold_is_left_out(tmp_path: Path) -> None:
    left_out = ("ablations", "joint_ablations", "neuron_ablations")
    kept = {n: t for n, t in tables(explainer="none").items() if n not in left_out}
    with Store.open(store_copy(tmp_path, "bare", kept)) as bare:
        neuron = NeuronId(5, 7)
        first = bare.head_activity(neuron)[["head_layer", "head"]].to_numpy()[0]
        head = HeadId(int(first[0]), int(first[1]))
        assert set(head_figures(bare, neuron, head)) == {"served"}
        assert set(findings_figures(bare)) == {"chances", "depths"}
        assert set(neuron_figures(bare, NeuronId(0, 0))) == {"tokens"}
