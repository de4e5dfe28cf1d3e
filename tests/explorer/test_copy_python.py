"""Copy as Python: the lines run, give the page's numbers, and no text of a link becomes code."""

from __future__ import annotations

import ast
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer.charts.python_text import PythonView, python_text
from explorer.components.copy_python import view_of
from explorer.core.schema import arrow_schema, write_store
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from explorer.resources import flow_values, models
from explorer.resources.channel_parts import token_sides
from explorer.resources.head_removals import QUANTITIES, removals
from explorer.resources.head_words import prompt_texts
from explorer.resources.live_removal import without_heads
from explorer.resources.live_sides import Removal
from explorer.resources.live_values import LiveRequest, stored_prompt, token_of
from explorer.resources.map_tables import map_tables
from explorer.resources.neuron_tables import neuron_tables, truncation_of
from explorer.resources.removal_tables import removals_of
from explorer.resources.token_tables import token_tables
from explorer.selection import Selection
from tests.explorer.page_reader import open_page
from tests.explorer.seeded import tables

DEMO = Path(__file__).resolve().parents[2] / "assets" / "demo" / "model"
NEURON = NeuronId(5, 7)
STORED = ("tokens", "neuron", "head", "map", "channels", "findings", "about", "unknown")


def _run(store: Store, page: str, chosen: Selection) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(python_text(view_of(store, page, chosen)), names)
    return names


@pytest.fixture()
def pair(seeded: Store) -> tuple[NeuronId, HeadId]:
    row = seeded.pairs().query("studied").iloc[0]
    return NeuronId(int(row["layer"]), int(row["neuron"])), HeadId(
        int(row["head_layer"]), int(row["head"])
    )


@pytest.mark.parametrize("page", STORED)
def test_the_lines_of_every_stored_page_run(
    seeded: Store, pair: tuple[NeuronId, HeadId], page: str, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = Selection(token=" come", neuron=pair[0], head=pair[1])
    _run(seeded, page, chosen)
    assert capsys.readouterr().out.strip(), "the lines print what they found"


def test_tokens_gives_the_table_and_its_heads(seeded: Store) -> None:
    token_id = seeded.token_id(" come")
    assert token_id is not None
    names, shown = _run(seeded, "tokens", Selection(token=" come")), token_tables(seeded, token_id)
    assert names["neurons"]["congruence"].tolist() == shown.neurons["congruence"].tolist()
    keys = ["layer", "neuron", "head_layer", "head"]
    mine = names["heads"].set_index(keys)["score"].sort_index()
    theirs = shown.heads.set_index(keys)["score"].sort_index()
    np.testing.assert_allclose(mine.to_numpy(float), theirs.to_numpy(float))


def test_neuron_gives_prompts_and_curve(seeded: Store) -> None:
    shown = neuron_tables(seeded, NEURON, "test")
    assert shown is not None
    prompt = shown.prompts.to_dict("records")[2]
    chosen = Selection(neuron=NEURON, split="test", prompt=int(prompt["prompt_id"]))
    names = _run(seeded, "neuron", chosen)
    assert names["prompts"]["activation"].tolist() == shown.prompts["activation"].tolist()
    assert (
        names["heads"]["share"].tolist() == seeded.head_activity(NEURON, "test")["share"].tolist()
    )
    curve = truncation_of(seeded, prompt)  # pyright: ignore[reportArgumentType]
    assert names["curve"]["activation"].tolist() == curve["activation"].tolist()


def test_head_gives_contributions_and_removals(
    seeded: Store, pair: tuple[NeuronId, HeadId]
) -> None:
    neuron, head = pair
    names = _run(
        seeded, "head", Selection(neuron=neuron, head=head, split="train", kind="mean-last")
    )
    shown = neuron_tables(seeded, neuron, "train")
    removed = removals(seeded, neuron, head, prompt_texts(seeded, neuron))
    assert shown is not None and removed is not None
    assert names["contributions"] == list(shown.contributions(head).values())
    mine = names["removed"].query("active")["delta_activation"].median()
    assert mine == pytest.approx(removed.median_when_active("mean-last", QUANTITIES["activation"]))
    assert mine != pytest.approx(removed.median_when_active("zero-last", QUANTITIES["activation"]))


def test_map_gives_every_measure(seeded: Store) -> None:
    pairs = _run(seeded, "map", Selection())["pairs"]
    shown = map_tables(seeded, "train", "effect", "layer", "layer").pairs
    for measure in ("score", "effect"):
        assert pairs[measure].notna().sum() == shown[measure].notna().sum() > 0
        assert pairs[measure].sum() == pytest.approx(shown[measure].astype(float).sum())


def test_findings_gives_the_correlation_with_its_interval(seeded: Store) -> None:
    names = _run(seeded, "findings", Selection(kind="zero-last"))
    assert names["correlation"] == removals_of(seeded, "zero-last").agreement(active=False).pearson


@pytest.mark.parametrize("matrix", ["OV", "QK"])
def test_channels_gives_scores_and_the_components_tokens(seeded: Store, matrix: str) -> None:
    rows = seeded.composition("K")
    src, dst = (
        HeadId(int(rows[f"{end}_layer"][0]), int(rows[f"{end}_head"][0])) for end in ("src", "dst")
    )
    chosen = Selection(mode="K", src=src, dst=dst, matrix=matrix, comp=1)
    names = _run(seeded, "channels", chosen)
    assert names["composition"]["score"].tolist() == rows["score"].tolist() != []
    sides = token_sides(seeded, src, matrix, 1)
    shown = [value for side in sides.values() for value in side["value"]]
    assert sorted(names["tokens"]["value"]) == sorted(shown) != []
    assert len(names["reads"]) == len(seeded.component_composition("K", dst))
    assert ("neurons" in names) == (matrix == "OV")


# --- the model ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def live_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A seeded store of the bundled model: its sizes, tokens and checksum; the model is loaded."""
    from explorer.core.model import load_model

    model = load_model(DEMO)
    shape = model.shape
    sizes = {name: getattr(shape, name) for name in shape.__dataclass_fields__}
    found = tables(model=str(DEMO), weights_sha256=model.weights_sha256, model_name="demo", **sizes)
    schema = arrow_schema("tokens")
    columns = [list(range(shape.d_vocab)), model.token_texts]
    arrays = [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)]
    found["tokens"] = pa.Table.from_arrays(arrays, schema=schema)
    path = tmp_path_factory.mktemp("python-runs") / "live.duckdb"
    write_store(path, found)
    with Store.open(path) as store:
        while models.model_status(store).state in ("waiting", "loading"):
            time.sleep(0.1)
        yield store


@pytest.mark.parametrize("kind", ["zero-last", "mean-all"])
def test_live_gives_the_prompt_and_what_is_left_without_heads(
    live_store: Store, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.delenv(models.MODEL_VARIABLE, raising=False)
    off = (HeadId(1, 2), HeadId(3, 0))
    text = "She went down to the river and did not"
    chosen = Selection(neuron=NEURON, text=text, pos=4, off=off, kind=kind, text2="They had not")
    names = _run(live_store, "live", chosen)
    request = LiveRequest(text, None, NEURON, token_of(live_store, NEURON), 4)
    shown, _ = models.analyse(live_store, request, models.encode(live_store, request), 4)
    np.testing.assert_array_equal(names["found"].heads, shown.heads)
    assert names["found"].pre_activation == shown.pre_activation
    side = without_heads(live_store, shown, Removal(off, kind))
    assert names["without"].pre_activation == pytest.approx(side.now.pre_activation, abs=1e-6)
    assert names["without"].target.probability == pytest.approx(side.now.target.probability)
    assert names["without"].pre_activation != pytest.approx(shown.pre_activation)
    assert names["second"].pre_activation != pytest.approx(shown.pre_activation)


def test_flow_gives_the_neurons_and_the_shares_shown(live_store: Store) -> None:
    prompt = stored_prompt(live_store, NEURON, None)
    assert prompt is not None
    chosen = Selection(neuron=NEURON, prompt=prompt.prompt_id, min_head=0.5, min_neuron=0.1)
    names = _run(live_store, "flow", chosen)
    shown = flow_values.analyse(live_store, prompt.text, prompt.token_ids, None, None)
    assert [one.effect for one in names["found"].neurons] == [one.effect for one in shown.neurons]
    graph = flow_values.flow_graph(shown, 0.5, 0.1)
    assert names["shown"] == graph.selection


# --- hostile links ------------------------------------------------------------------------------

_text = st.text(max_size=40) | st.sampled_from(
    [
        "'); import os; os._exit(1) #",
        '"""',
        "\\",
        "\n    raise SystemExit\n",
        "{__import__('os')}",
        "\u2028x",
    ]
)


def _shape(code: str) -> str:
    """The code with every constant left out."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant):
            node.value = 0
    return ast.dump(tree)


@settings(deadline=None)
@given(
    _text, st.sampled_from(["tokens", "neuron", "head", "map", "live", "flow", "findings", "about"])
)
def test_no_text_becomes_code(text: str, page: str) -> None:
    plain = PythonView(
        page, "s", ("t",), "m", token="a", token_id=1, neuron=NEURON, head=HeadId(1, 2), prompt=None,
        explainer="e", text="t", text2="u", off=(HeadId(0, 1),), kind="zero-last",
    )  # fmt: skip
    evil = replace(plain, store=text, others=(text,), model=text, token=text, explainer=text, text=text,
                   text2=text or "u", split=text)  # fmt: skip
    assert _shape(python_text(evil)) == _shape(python_text(plain))
    found = [node.value for node in ast.walk(ast.parse(python_text(evil)))
             if isinstance(node, ast.Constant)]  # fmt: skip
    assert text in found


def test_the_button_asks_for_the_lines_of_what_is_selected(seeded: Store) -> None:
    at = open_page("neuron", neuron="L5N7", split="test")
    at.session_state["python-wanted"] = "1"
    at.run()
    (data,) = [c.proto.json for c in at.get("bidi_component")
               if c.proto.component_name == "nt-copy-python"]  # fmt: skip
    assert "NeuronId(5, 7)" in data
    assert "split = 'test'" in data
