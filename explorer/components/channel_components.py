"""The tab Components of Channels: whose components a head reads, and what one component is."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from explorer import selection
from explorer.charts import component_bars, component_dots
from explorer.charts.glossary import define
from explorer.charts.style import number
from explorer.components import frame
from explorer.components.channel_heads import UNROTATED
from explorer.components.channel_inputs import (
    choose_component,
    component_input,
    matrix_input,
    mode_input,
    receiver_input,
    source_input,
)
from explorer.components.channel_use import fed_figure, prompts_figure
from explorer.components.figure import figure
from explorer.components.reports import selected
from explorer.core.composition_modes import Mode
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from explorer.resources.channel_parts import token_sides
from explorer.resources.channel_tables import READS_THROUGH, Matrix, Receiver, receiver

_SIDES = {
    ("OV", "read"): ("What it reads", "u · token embedding: what is attended to"),
    ("OV", "write"): ("What it writes", "v · unembedding: what it makes likelier"),
    ("QK", "read"): ("Queries that match", "u · token embedding: where the head looks from"),
    ("QK", "write"): ("Keys that match", "v · token embedding: where it looks to"),
}
SIGN_RULE = (
    "Signs are arbitrary: both directions may turn round together. Here the entry of the output "
    "direction with the largest size is positive (ours)."
)

WHOSE = (
    "The paper’s (Merullo, Eickhoff and Pavlick 2024): composition, singular components, that few of "
    "them stand out. Ours: z by median and MAD, the sign rule, component → neuron, parts of a "
    "contribution, this form of the dial."
)


def answer(found: Receiver | None, mode: Mode, dst: HeadId) -> str:
    """How far the components of the strongest sender stand out, as HTML."""
    if found is None:
        return f"No head comes before {dst.label}: it reads what no head has written."
    first = found.rows.to_dict("records")[0]
    times = number(float(first["score"]) / found.level, 1)
    text = (
        f"Through {READS_THROUGH[mode]}, <b>{dst.label}</b> reads component {first['component']} of "
        f"<b>{HeadId.parse(first['src']).label}</b> most: <b>{first['shown_score']}</b>, {times} times "
        "the random level"
    )
    if found.median is None:
        return text + "."
    more = "" if found.is_complete else " or more"
    return (
        f"{text}, z {first['shown_z']}. Of {found.n_all:,} earlier components {found.n_out}{more} stand "
        f"out (size of z above 4); the median is {number(found.median, 3)}."
    )


def _pick_sender(key: str) -> None:
    picked = selected(key, component_dots.PICK)
    if picked:
        selection.choose(
            src=HeadId.parse(picked[0]["src"]), comp=int(picked[0]["component"]), matrix="OV",
            strength=None,
        )  # fmt: skip


def _senders(store: Store, found: Receiver, src: HeadId, comp: int, matrix: Matrix) -> None:
    chosen = (src, comp) if matrix == "OV" else None
    rows = found.shown(chosen)
    key = f"channels-senders-{store.run_id}-{found.mode}-{found.head}-{src}-{comp}-{matrix}"
    caption = (
        f"Composition of components of earlier heads with {found.head.label}: the {len(rows)} highest "
        f"of {found.n_all:,}. Filled: size of z above 4."
    )
    if store.shape.rotary and found.mode != "V":
        caption += f" {UNROTATED}"
    figure(
        f"Who writes what {found.head.label}'s {READS_THROUGH[found.mode]} read",
        partial(
            component_dots.component_dots, rows, level=found.level, z_line=found.z_line,
            receiver=found.head.label, src=str(src), component=None if chosen is None else comp,
        ),
        found.rows.drop(columns=["label", "shown_score", "shown_z"]),
        key="channels-senders",
        help=f"{define('Composition', store.manifest)} A component's score has its unit output "
        f"direction in the sender's place (the paper's). z (ours): {define('z', store.manifest)} "
        "Random level: the score of a random direction, 1/√d_model.",
        caption=caption,
        on_select=partial(_pick_sender, key),
        selection_mode=component_dots.PICK,
        chart_key=key,
    )  # fmt: skip


def _pick_component(key: str) -> None:
    picked = selected(key, component_bars.PICK)
    if picked:
        choose_component(int(picked[0]["component"]))


def _singular(store: Store, values: pd.DataFrame, src: HeadId, matrix: Matrix, comp: int) -> None:
    key = f"channels-singular-{store.run_id}-{src}-{matrix}-{comp}"
    caption = f"{src.label}, {matrix}: {len(values)} components by descending singular value."
    if store.shape.rotary and matrix == "QK":
        caption += f" {UNROTATED}"
    figure(
        f"Components of {src.label}",
        partial(
            component_bars.singular_bars, values, of=f"{src.label} {matrix}", component=comp
        ),
        values.rename(columns={"singular_value": "singular value"}),
        key="channels-singular",
        help=f"{define('Singular value', store.manifest)} OV = W_V W_O and QK = W_Q W_Kᵀ are sums of "
        f"rank-one components (the paper's). {SIGN_RULE}",
        caption=caption,
        on_select=partial(_pick_component, key),
        selection_mode=component_bars.PICK,
        chart_key=key,
    )  # fmt: skip


def _tokens(
    store: Store, src: HeadId, matrix: Matrix, comp: int, places: Sequence[DeltaGenerator]
) -> None:
    """What the component reads and writes, side by side."""
    sides = token_sides(store, src, matrix, comp)
    for side, place in zip(("read", "write"), places, strict=True):
        title, meaning = _SIDES[matrix, side]
        with place:
            figure(
                title,
                partial(component_bars.token_rows, sides[side], title=title),
                sides[side].rename(columns={"label": "token"}),
                key=f"channels-tokens-{side}",
                help="The 20 tokens along which this side of the component points most, at the end "
                f"where its activation is positive. {SIGN_RULE}",
                caption=meaning,
            )


def components_tab(
    store: Store,
    mode: Mode,
    src: HeadId,
    dst: HeadId,
    matrix: Matrix,
    comp: int,
    neuron: NeuronId | None,
) -> None:
    """Senders of the receiver at the left, the chosen head's components at the right, and below what
    the chosen component is."""
    values = store.singular_values(src, matrix)
    with st.container(
        key="nt-controls", horizontal=True, gap="medium", vertical_alignment="bottom"
    ):
        mode_input(mode)
        receiver_input(store, dst)
        source_input(store, mode, src, dst)
        matrix_input(matrix)
        component_input(values["singular_value"].astype(float).tolist(), comp)
    left, right = st.columns([50, 50], gap="large")
    found = receiver(store, mode, dst)
    with left:
        if found is None:
            frame.empty(f"No head comes before {dst.label}.")
        else:
            _senders(store, found, src, comp, matrix)
        frame.empty(WHOSE)
    with right:
        _singular(store, values, src, matrix, comp)
        if matrix == "OV":
            fed_figure(store, src, comp, neuron)
        else:
            frame.empty(
                "QK components write nothing: they decide where the head looks. Choose OV to see the "
                "neurons that a component feeds, its part in prompts, and its dial."
            )
    reads, writes, prompts = st.columns([23, 23, 54], gap="medium")
    _tokens(store, src, matrix, comp, (reads, writes))
    if matrix == "OV":
        with prompts:
            prompts_figure(store, src, comp, neuron)
