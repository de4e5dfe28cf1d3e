"""What explanations say of a typed prompt: rules are applied, words are not, each held against the truth."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from explorer.charts.live_explained import ExplainedRow, explained_html, right_words, verdict_words
from explorer.charts.next_tokens import NextRow
from explorer.core.schema import arrow_schema
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from explorer.resources.live_explanations import explained
from explorer.resources.live_values import LiveValue
from tests.explorer.page_reader import store_copy
from tests.explorer.seeded import tables

NEURON = NeuronId(5, 7)
RULE = {
    "version": 1,
    "clauses": [{"predicts": "active", "within": 3, "n_active": 4, "n_inactive": 0, "log_odds": 2.0,
                 "phrases": [{"words": ["river"], "n_active": 4, "n_inactive": 0}]}],
    "default": "inactive", "rest_active": 0, "rest_inactive": 4, "n_active": 4, "n_inactive": 4,
    "held_out": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store whose neuron has a rule, an unreadable rule and words of a language model."""
    found = tables()
    rows = [
        (5, 7, 2, 3, "contrast", "Active when river is near the end.", json.dumps(RULE), "", ""),
        (5, 7, 2, 4, "contrast", "Broken.", "{", "", ""),
        (5, 7, 2, 3, "openai", "When <b>water</b> is near.", None, "", ""),
    ]
    schema = arrow_schema("explanations")
    columns = [
        pa.array(list(c), f.type) for c, f in zip(zip(*rows, strict=True), schema, strict=True)
    ]
    found["explanations"] = pa.Table.from_arrays(columns, schema=schema)
    folder: Path = tmp_path_factory.mktemp("told")
    with Store.open(store_copy(folder, "told", found)) as store:
        yield store


def _value(words: str, position: int, active: set[HeadId]) -> LiveValue:
    tokens = tuple(f" {word}" for word in words.split())
    return LiveValue(
        text=words, token_ids=tuple(range(len(tokens))), tokens=tokens, n_cut=0, neuron=NEURON,
        token=" come", position=position, activations=(0.0,) * len(tokens), heads=np.zeros((6, 8)),
        n_reaching_layers=6, mlps=np.zeros(6), embedding=0.0, bias=0.0, pre_activation=0.0,
        activation=0.0, active=frozenset(active), next_tokens=(), target=NextRow(" come", 0.1, 3),
        ln_scale=1.0,
    )  # fmt: skip


def test_a_rule_is_applied_up_to_the_chosen_position(told: Store) -> None:
    words = "by the river they sat down and slept"
    near, far = _value(words, 3, {HeadId(2, 3)}), _value(words, 7, set())
    says = {(one.head, one.explainer): one for one in explained(told, near)}
    rule = says[(HeadId(2, 3), "contrast")]
    assert (rule.says, rule.active) == (True, True)
    assert "river" in rule.because
    later = {(one.head, one.explainer): one for one in explained(told, far)}
    assert later[(HeadId(2, 3), "contrast")].says is False


def test_what_cannot_be_applied_is_said(told: Store) -> None:
    says = {(one.head, one.explainer): one for one in explained(told, _value("a b", 1, set()))}
    words = says[(HeadId(2, 3), "openai")]
    assert words.says is None and "without the model that judged" in words.because
    broken = says[(HeadId(2, 4), "contrast")]
    assert broken.says is None and "cannot be read" in broken.because
    assert explained(told, LiveValue(**{**words_fields(), "neuron": NeuronId(4, 3)})) == ()


def words_fields() -> dict[str, object]:
    return dict(_value("a b", 1, set()).__dict__)


def _row(says: bool | None, active: bool) -> ExplainedRow:
    return ExplainedRow("L2 H3", "contrast", "<i>text</i>", says, "because <b>", active, 0.5)


def test_verdicts_in_words() -> None:
    assert [verdict_words(_row(says, is_so)) for says, is_so in
            ((True, True), (True, False), (False, False), (False, True), (None, True))] == [
        "says active ✓ (it is)", "says active ✗ (it is not)", "says inactive ✓ (it is not active)",
        "says inactive ✗ (it is active)", "not applied",
    ]  # fmt: skip
    rows = [_row(True, True), _row(True, False), _row(None, True)]
    assert right_words(rows) == "Right for 1 of 2 heads."
    assert right_words(rows[2:]).startswith("None of them")
    drawn = explained_html(rows)
    assert "<i>text" not in drawn and "because <b>" not in drawn
    assert "&lt;i&gt;text" in drawn
