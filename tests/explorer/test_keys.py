"""Keys step through what the pages list, and stop at its ends."""

from __future__ import annotations

import re

import pytest
from streamlit.testing.v1 import AppTest

from explorer.components.help_overlay import help_html
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId

NEURON = NeuronId(5, 7)
_PAGE = """
import streamlit as st
from explorer.components import frame, keys
store, chosen = frame.page("map", ("neuron", "head", "prompt"))
what = st.session_state.pop("press", None)
if what:
    keys.step(store, *what)
"""


def _pressed(what: str, by: int, **query: str) -> AppTest:
    at = AppTest.from_string(_PAGE, default_timeout=60)
    for name, value in query.items():
        at.query_params[name] = value
    at.session_state["press"] = (what, by)
    at.run()
    assert not at.exception
    return at


def _neurons(store: Store) -> list[str]:
    rows = store.studied_neurons()
    return [
        str(NeuronId(int(a), int(b))) for a, b in zip(rows["layer"], rows["neuron"], strict=True)
    ]


def test_neurons_follow_in_order_and_forget_the_others_prompt(seeded: Store) -> None:
    order = _neurons(seeded)
    at = _pressed("neuron", 1, neuron=order[0], head="L1H2", prompt="0")
    assert at.query_params["neuron"] == order[1]
    assert "head" not in at.query_params
    assert "prompt" not in at.query_params
    assert _pressed("neuron", -1, neuron=order[1]).query_params["neuron"] == order[0]


def test_at_an_end_nothing_changes(seeded: Store) -> None:
    order = _neurons(seeded)
    assert _pressed("neuron", -1, neuron=order[0]).query_params["neuron"] == order[0]
    assert _pressed("neuron", 1, neuron=order[-1]).query_params["neuron"] == order[-1]


def test_from_a_neuron_that_is_not_studied_the_first_is_chosen(seeded: Store) -> None:
    assert _pressed("neuron", 1, neuron="L0N1").query_params["neuron"] == _neurons(seeded)[0]


@pytest.mark.parametrize("split", ["train", "test"])
def test_prompts_stay_in_their_split(seeded: Store, split: str) -> None:
    ids = [str(i) for i in seeded.prompts(NEURON, split)["prompt_id"]]
    at = _pressed("prompt", 1, neuron=str(NEURON), prompt=ids[1])
    assert at.query_params["prompt"] == ids[2]
    last = _pressed("prompt", 1, neuron=str(NEURON), prompt=ids[-1])
    assert last.query_params["prompt"] == ids[-1]


def test_without_a_prompt_the_second_follows_the_first_that_is_shown(seeded: Store) -> None:
    ids = [str(i) for i in seeded.prompts(NEURON, "train")["prompt_id"]]
    assert _pressed("prompt", 1, neuron=str(NEURON)).query_params["prompt"] == ids[1]


def test_heads_follow_in_the_order_of_the_pages(seeded: Store) -> None:
    rows = seeded.head_activity(NEURON, "train")
    heads = [str(HeadId(int(a), int(b)))
             for a, b in zip(rows["head_layer"], rows["head"], strict=True)]  # fmt: skip
    at = _pressed("head", 1, neuron=str(NEURON), head=heads[3])
    assert at.query_params["head"] == heads[4]
    assert _pressed("head", -1, neuron=str(NEURON), head=heads[3]).query_params["head"] == heads[2]


def test_the_help_lists_every_key_that_is_heard() -> None:
    listed = set(re.findall(r"<kbd>(.+?)</kbd>", help_html()))
    assert {"J", "K", "N", "P", "H", "G", "/", "?"} <= listed
