"""What a person sets on Channels: tab, mode, heads, matrix, component. All of it is in the URL.

What a widget shows is changed by clicks on figures too, so a widget's key says what it shows: an old
report of the browser then concerns a widget that is gone.
"""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from explorer import selection
from explorer.charts.style import number
from explorer.core.composition_modes import MODES, Mode
from explorer.core.store import Store
from explorer.core.store_channels import MATRICES
from explorer.core.types import HeadId
from explorer.resources.channel_tables import READS_THROUGH, best_component, receiver

TAB_NAMES = {"heads": "Heads", "components": "Components", "laundry": "Laundry List"}
MODES_HELP = (
    "Through what the later head reads: queries (where it looks from), keys (what it looks for) or "
    "values (what it moves)."
)


def tab_input(tabs: Sequence[str], tab: str) -> None:
    """The parts of the page."""
    key = f"channels-tab-{tab}"

    def picked() -> None:
        selection.choose(tab=st.session_state[key])

    st.session_state[key] = tab
    st.segmented_control("Part", tabs, key=key, required=True, on_change=picked,
                         format_func=lambda name: TAB_NAMES[name],
                         label_visibility="collapsed")  # fmt: skip


def mode_input(mode: Mode, labelled: bool = True) -> None:
    """Q, K or V; without its label where it stands in a figure's heading."""
    key = f"channels-mode-{mode}"

    def picked() -> None:
        selection.choose(mode=st.session_state[key])

    st.session_state[key] = mode
    st.segmented_control("Read through", MODES, key=key, required=True, on_change=picked,
                         format_func=lambda name: f"{name} · {READS_THROUGH[name]}",
                         help=MODES_HELP if labelled else None,
                         label_visibility="visible" if labelled else "collapsed")  # fmt: skip


def choose_source(store: Store, mode: Mode, dst: HeadId, head: HeadId, comp: int | None) -> None:
    """Show a head's components: `comp`, else the one that the receiver reads most. A dial that was
    turned on another component goes back."""
    component = best_component(receiver(store, mode, dst), head) if comp is None else comp
    selection.choose(src=head, comp=component, matrix="OV", strength=None)


def choose_component(component: int) -> None:
    """Show another component of the same head."""
    selection.choose(comp=component, strength=None)


def _heads(store: Store, first_layer: int = 0) -> list[HeadId]:
    shape = store.shape
    first = first_layer * shape.n_heads
    return [
        HeadId.from_flat(i, shape.n_heads) for i in range(first, shape.n_layers * shape.n_heads)
    ]


def receiver_input(store: Store, dst: HeadId) -> None:
    """The head that reads; those of the first layer have nobody before them."""
    key = f"channels-dst-{dst}"

    def picked() -> None:
        selection.choose(dst=st.session_state[key])

    st.session_state[key] = dst
    st.selectbox("Receiver", _heads(store, 1), key=key, on_change=picked,
                 format_func=lambda head: head.label, width=110)  # fmt: skip


def source_input(store: Store, mode: Mode, src: HeadId, dst: HeadId) -> None:
    """The head whose components are shown."""
    key = f"channels-src-{src}"

    def picked() -> None:
        choose_source(store, mode, dst, st.session_state[key], None)

    st.session_state[key] = src
    st.selectbox("Components of", _heads(store), key=key, on_change=picked,
                 format_func=lambda head: head.label, width=120)  # fmt: skip


def matrix_input(matrix: str) -> None:
    """OV or QK."""
    key = f"channels-matrix-{matrix}"

    def picked() -> None:
        selection.choose(matrix=st.session_state[key], comp=0, strength=None)

    st.session_state[key] = matrix
    st.segmented_control(
        "Matrix", MATRICES, key=key, required=True, on_change=picked,
        help="OV: what the head moves, from where it looks to where it writes. QK: what makes it look.",
    )  # fmt: skip


def component_input(values: list[float], component: int) -> None:
    """The component, with its singular value."""
    key = f"channels-comp-{component}"

    def picked() -> None:
        choose_component(int(st.session_state[key]))

    st.session_state[key] = component
    st.selectbox(
        "Component", range(len(values)), key=key, on_change=picked, width=150,
        format_func=lambda i: f"{i}  (σ {number(values[i])})",
        help="From 0, by descending singular value σ. A click on a bar or a dot does the same.",
    )  # fmt: skip
