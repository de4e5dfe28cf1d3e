"""Live's part of a link: removed heads, second prompt and kind, read back as they were written."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from explorer.core.store import Store
from explorer.core.types import ABLATION_KINDS, HeadId, NeuronId
from explorer.resources.live_values import first_prompt
from explorer.selection import Selection, parse
from tests.explorer.live_page import open_live, strip_of
from tests.explorer.page_reader import text_of
from tests.explorer.test_live_view import live_store  # noqa: F401 a fixture

_heads = st.lists(
    st.builds(HeadId, st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=12, unique=True
)


@given(_heads, st.sampled_from(ABLATION_KINDS), st.text(st.characters(codec="utf-8"), max_size=40),
       st.integers(0, 999))  # fmt: skip
def test_what_live_writes_is_read_back(
    heads: list[HeadId], kind: str, text2: str, pos2: int
) -> None:
    written = Selection(off=tuple(heads), kind=kind, text2=text2, pos2=pos2)
    assert parse(written.to_query()) == (written, ())


def test_the_form_of_removed_heads() -> None:
    assert Selection(off=(HeadId(7, 5), HeadId(5, 1))).to_query() == {"off": "L7H5,L5H1"}
    assert Selection(off=()).to_query() == {}
    # A head named twice is off once.
    assert parse({"off": "L7H5,l7h5,L1H0"})[0].off == (HeadId(7, 5), HeadId(1, 0))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("off", ""), ("off", "L7N5"), ("off", "L7H5,"), ("off", "L7H5;DROP TABLE prompts"),
        ("off", "L1H1," * 900), ("off", "<script>"), ("kind", "one"), ("kind", ""),
        ("pos2", "-1"), ("pos2", "³"),
    ],
)  # fmt: skip
def test_a_hostile_value_is_left_out_and_said(name: str, value: str) -> None:
    selection, notes = parse({name: value, "text2": "They"})
    assert getattr(selection, name) is None
    assert selection.text2 == "They"
    assert len(notes) == 1 and name in notes[0]


def test_a_neuron_without_prompts_is_shown_on_another_ones(
    live_store: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Store.open(live_store / "live.duckdb") as store:
        rows = store.studied_neurons()[["layer", "neuron"]].to_numpy().tolist()
        studied = {NeuronId(*row) for row in rows}
        alone = next(n for i in range(999) if (n := NeuronId(5, i)) not in studied)
        other = first_prompt(store, alone, None)
        own = first_prompt(store, NeuronId(*rows[-1]), None)
    assert other is not None and own is not None and own.neuron == NeuronId(*rows[-1])
    said = f"No prompts are stored for {alone.label}. This is one of {other.neuron.label}"
    app = open_live(live_store, monkeypatch, neuron=str(alone))
    assert said in text_of(app)
    assert strip_of(app)["prompt"] == other.text
    typed = open_live(live_store, monkeypatch, neuron=str(alone), text="They")
    assert "No prompts are stored" not in text_of(typed)
    stored = open_live(live_store, monkeypatch, neuron=str(own.neuron))
    assert "No prompts are stored" not in text_of(stored)
