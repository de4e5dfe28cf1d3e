"""Which neuron, head and split: pickers of the stored pages."""

from __future__ import annotations

from functools import lru_cache

import streamlit as st

from explorer import selection
from explorer.components.link_check import own_token
from explorer.components.shown_key import shown_key
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from explorer.resources.head_tables import neuron_name

_NEURON, _HEAD = "nt-neuron-picker", "nt-head-picker"


@lru_cache(maxsize=8)
def studied_names(store: Store) -> dict[NeuronId, str]:
    """The studied neurons by layer and index, each with its token."""
    rows, texts = store.studied_neurons(), store.token_texts
    return {
        NeuronId(int(layer), int(index)): neuron_name(
            NeuronId(int(layer), int(index)), texts[token]
        )
        for layer, index, token in zip(
            rows["layer"], rows["neuron"], rows["token_id"].astype(int), strict=True
        )
    }


def choose_neuron(store: Store, neuron: NeuronId) -> None:
    """Select a neuron and its token; prompt and head were another neuron's."""
    selection.choose(neuron=neuron, token=own_token(store, neuron), prompt=None, head=None)


def neuron_picker(store: Store, neuron: NeuronId) -> None:
    """A list of the studied neurons, with buttons (keys J and K) to the next and the previous."""
    names = studied_names(store)
    options = list(names) if neuron in names else [neuron, *names]
    place = options.index(neuron)
    key = shown_key(_NEURON, neuron)

    def picked() -> None:
        choose_neuron(store, st.session_state[key])

    with st.container(key="nt-stepper", horizontal=True, gap="xsmall", width="content",
                      vertical_alignment="center"):  # fmt: skip
        st.button("‹", key="neuron-before", shortcut="K", help="Previous studied neuron",
                  disabled=place == 0, on_click=choose_neuron,
                  args=(store, options[max(0, place - 1)]))  # fmt: skip
        st.selectbox(
            "Neuron", options, key=key, on_change=picked, label_visibility="collapsed",
            format_func=lambda n: names.get(n, f"{n.label} (not studied)"), width=230,
        )  # fmt: skip
        st.button("›", key="neuron-after", shortcut="J", help="Next studied neuron",
                  disabled=place == len(options) - 1, on_click=choose_neuron,
                  args=(store, options[min(len(options) - 1, place + 1)]))  # fmt: skip


def _choose_head(key: str) -> None:
    selection.choose(head=st.session_state[key])


def _choose_split(key: str) -> None:
    selection.choose(split=st.session_state[key], prompt=None)


def head_picker(heads: list[HeadId], head: HeadId, marks: dict[HeadId, str]) -> None:
    """A list of the heads that can reach a neuron, with what `marks` says of each."""
    options = heads if head in heads else [head, *heads]
    key = shown_key(_HEAD, head)
    st.selectbox(
        "Head",
        options,
        key=key,
        on_change=_choose_head,
        args=(key,),
        label_visibility="collapsed",
        format_func=lambda h: f"{h.label} {marks.get(h, '')}".strip(),
        width=210,
    )


def split_switch(split: str, name: str) -> None:
    """Train or test prompts."""
    key = shown_key(name, split)
    st.segmented_control(
        "Prompts",
        ["train", "test"],
        key=key,
        format_func=str.capitalize,
        on_change=_choose_split,
        args=(key,),
        required=True,
        label_visibility="collapsed",
    )
