"""The tab Heads of Channels: which heads write where which later heads read."""

from __future__ import annotations

import html
from functools import partial

import pandas as pd
import streamlit as st

from explorer import selection
from explorer.charts.composition_heatmap import PICK, composition_heatmap
from explorer.charts.glossary import define
from explorer.charts.style import number
from explorer.components import frame
from explorer.components.channel_inputs import mode_input
from explorer.components.chips import token_chip
from explorer.components.figure import figure
from explorer.components.reports import selected
from explorer.core.composition_modes import Mode
from explorer.core.store import Store
from explorer.core.types import HeadId
from explorer.resources.channel_parts import token_sides
from explorer.resources.channel_tables import (
    READS_THROUGH,
    ChannelMap,
    best_component,
    pair_scores,
    receiver,
)

UNROTATED = "Queries and keys are compared without their rotation, as if at distance 0."
_N_WORDS = 6


def answer(found: ChannelMap) -> str:
    """The strongest pair against the typical one, as HTML."""
    first = found.pairs.iloc[0]
    return (
        f"Through {READS_THROUGH[found.mode]}, <b>{first['dst']}</b> reads most of what "
        f"<b>{first['src']}</b> writes: composition <b>{number(float(first['score']), 3)}</b>, "
        f"{number(float(first['ratio']), 1)} times the random level. "
        f"Most pairs lie near that level: their median is {number(found.median, 3)}."
    )


def _pick(key: str) -> None:
    picked = selected(key, PICK)
    if picked:
        selection.choose(
            src=HeadId.parse(picked[0]["src_id"]), dst=HeadId.parse(picked[0]["dst_id"]),
            comp=None, strength=None,
        )  # fmt: skip


def _table(found: ChannelMap) -> pd.DataFrame:
    rows = found.pairs
    return pd.DataFrame(
        {
            "sender": rows["src"],
            "receiver": rows["dst"],
            f"composition ({found.mode})": rows["score"],
            "times the random level": rows["ratio"],
            "rank": rows["rank"],
        }
    )


def _heatmap(store: Store, found: ChannelMap, src: HeadId, dst: HeadId) -> None:
    key = f"channels-map-{store.run_id}-{found.mode}-{src}-{dst}"
    caption = (
        f"Composition score of {len(found.pairs):,} pairs, from weights alone. Pale: the random level "
        f"1/√d_model = {number(found.level, 3)}, or less. Dots: the sender does not come earlier."
    )
    if store.shape.rotary and found.mode != "V":
        caption += f" {UNROTATED}"
    figure(
        f"Senders and receivers, through {READS_THROUGH[found.mode]}",
        partial(
            composition_heatmap, found.pairs, sources=found.sources, destinations=found.destinations,
            level=found.level, limit=found.limit, mode=found.mode, src=src.label, dst=dst.label,
        ),
        _table(found),
        key="channels-map",
        help=define("Composition", store.manifest) + " The random level is what it would be if the "
        "sender wrote in random directions (root mean square); a trained model's directions need not "
        "be random to lie near it. One colour scale for queries, keys and values.",
        caption=f"{caption} {found.note}".strip(),
        controls=partial(mode_input, found.mode, labelled=False),
        on_select=partial(_pick, key),
        selection_mode=PICK,
        chart_key=key,
    )  # fmt: skip


def _scores(rows: pd.DataFrame, mode: Mode) -> None:
    """The pair in all three modes."""
    body = "".join(
        f"<tr{' class=nt-own' if row['mode'] == mode else ''}>"
        f"<td>{row['mode']} · {READS_THROUGH[row['mode']]}</td>"
        f'<td class="nt-num">{number(row["score"], 3)}</td>'
        f'<td class="nt-num">{number(row["ratio"], 1)} ×</td>'
        f'<td class="nt-num">{row["rank"]:,} of {row["n"]:,}</td></tr>'
        for row in rows.to_dict("records")
    )
    st.html(
        '<table class="nt-table nt-pair"><thead><tr><th scope="col">through</th>'
        '<th scope="col" class="nt-num">composition</th><th scope="col" class="nt-num">random level</th>'
        f'<th scope="col" class="nt-num">rank</th></tr></thead><tbody>{body}</tbody></table>'
    )


def _channel(store: Store, mode: Mode, src: HeadId, dst: HeadId) -> int | None:
    """The component of the sender that the receiver reads most, in words; its number, None where none
    is among the stored ones."""
    found = receiver(store, mode, dst)
    own = pd.DataFrame() if found is None else found.rows.loc[found.rows["src"] == str(src)]
    if found is None or own.empty:
        frame.empty(
            f"None of {src.label}'s components is among the 50 that {dst.label} reads most through "
            f"{READS_THROUGH[mode]}."
        )
        return None
    row = own.to_dict("records")[0]
    component = int(row["component"])
    n_out = own["stands_out"].tolist().count(True)
    stands = "stands out" if row["stands_out"] else "does not stand out"
    more = f" {n_out} of its components stand out." if n_out > 1 else ""
    st.html(
        f'<p class="nt-text nt-card-words">Its component <b>{component}</b> is read most: '
        f"{row['shown_score']}, z {row['shown_z']}; it {stands}.{more}</p>"
    )
    writes = token_sides(store, src, "OV", component)["write"]["token_id"].tolist()
    reads = token_sides(store, src, "OV", component)["read"]["token_id"].tolist()
    for words, ids in (("reads", reads), ("writes", writes)):
        chips = " ".join(token_chip(store.token_texts[int(i)]) for i in ids[:_N_WORDS])
        st.html(f'<p class="nt-small nt-words"><b>{words}</b> {chips}</p>')
    return component


def _card(store: Store, mode: Mode, src: HeadId, dst: HeadId) -> None:
    st.html(f'<h2 class="nt-heading nt-gap">{src.label} → {dst.label}</h2>')
    rows = pair_scores(store, src, dst)
    if rows.empty:
        frame.empty(
            f"{src.label} does not come in an earlier layer than {dst.label}: it cannot write what that "
            "head reads. Click a cell to choose a pair."
        )
        return
    _scores(rows, mode)
    component = _channel(store, mode, src, dst)
    with st.container(key="nt-card-links", horizontal=True, gap="small"):
        best = best_component(receiver(store, mode, dst), src) if component is None else component

        def open_components() -> None:
            selection.choose(tab="components", comp=best, matrix="OV", strength=None)

        # A button: a link to the page itself would leave the address as it was.
        st.button("Its components →", key="channels-components-of", on_click=open_components)
        for head in (src, dst):
            frame.link("head", f"{head.label} →", head=head, prompt=None)
    frame.empty(html.escape(
        "Composition is the paper's score (Merullo, Eickhoff and Pavlick 2024), z by median and MAD "
        "ours. It says what could flow on the direct path, not what does on a prompt."
    ))  # fmt: skip


def heads_tab(store: Store, found: ChannelMap, src: HeadId, dst: HeadId) -> None:
    """The map of one mode, and the card of the chosen pair."""
    left, right = st.columns([68, 32], gap="large")
    with left:
        _heatmap(store, found, src, dst)
    with right:
        _card(store, found.mode, src, dst)
