"""Which components of a head carry its contribution to a neuron: bars that sum to it (ours)."""

from __future__ import annotations

from functools import partial

import streamlit as st

from explorer.charts.component_bars import PICK, part_bars
from explorer.charts.glossary import define
from explorer.charts.style import number, signed
from explorer.components import frame
from explorer.components.figure import figure
from explorer.components.reports import selected
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from explorer.resources.channel_parts import HeadParts, head_parts

_TITLE = "Which components carry it"
_CHOSEN = "head-component"


def _pick(key: str, pair: str) -> None:
    picked = selected(key, PICK)
    if picked:
        st.session_state[_CHOSEN] = (pair, int(picked[0]["component"]))


def _caption(found: HeadParts, split: str) -> str:
    of = (
        f"prompt {found.prompt}"
        if found.prompt is not None
        else f"mean of {found.n_prompts} {split} prompts"
    )
    n = found.n_for_most
    carry = "one component makes" if n == 1 else f"{n} components make"
    return (
        f"The bars sum to the head's contribution, {signed(found.total)} ({of}); {carry} up 80 % of "
        "their sizes."
    )


def _shown(found: HeadParts, pair: str) -> int:
    """The component that was clicked for this pair, else the largest."""
    of, clicked = st.session_state.get(_CHOSEN, ("", 0))
    return clicked if of == pair and clicked < len(found.rows) else found.largest


def head_components(
    store: Store, head: HeadId, neuron: NeuronId, split: str, prompt: int | None
) -> None:
    """The head's components for a neuron, over a split or in the chosen prompt, with a link to what one
    of them is. Draws nothing where the run has no parts of this pair."""
    found = head_parts(store, head, neuron, split, prompt)
    if found is None:
        return
    pair = f"head-components-{store.run_id}-{head}-{neuron}"
    component = _shown(found, pair)
    key = f"{pair}-{split}-{found.prompt}-{component}"
    figure(
        _TITLE,
        partial(part_bars, found.rows, total=found.total, component=component),
        found.rows.rename(
            columns={"part": "adds (pre-activation)", "value": "v · w_in (before the scale)"}
        ),
        key="head-components",
        help=f"The head's OV matrix as a sum of rank-one components, by descending singular value (the "
        f"paper's). What each adds to the neuron is ours. {define('Contribution', store.manifest)}",
        caption=_caption(found, split),
        on_select=partial(_pick, key, pair),
        selection_mode=PICK,
        chart_key=key,
    )
    row = found.rows.to_dict("records")[component]
    frame.empty(
        f"Component <b>{component}</b> adds <b>{signed(row['part'])}</b>; its output direction meets what "
        f"the neuron reads at v · w_in = {number(row['value'])}."
    )
    with st.container(key="nt-card-links", horizontal=True, gap="small"):
        frame.link("channels", f"Component {component} on Channels →", tab="components", src=head,
                   comp=component, matrix="OV", dst=None, mode=None, prompt=found.prompt,
                   text=None, edit=None, strength=None)  # fmt: skip
