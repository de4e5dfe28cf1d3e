"""What happens when a head is removed: changes in each prompt, by kind of removal and quantity."""

from __future__ import annotations

from functools import partial

import pandas as pd
import streamlit as st

from explorer import selection
from explorer.charts.glossary import define
from explorer.charts.removal_strips import PICK, removal_strips
from explorer.components import frame
from explorer.components.figure import figure, heading
from explorer.core.store import Store
from explorer.resources.head_removals import QUANTITIES, Quantity, Removals

_TITLE = "What happens when it is removed"
_KIND, _QUANTITY = "head-kind", "head-quantity"
_KINDS_HELP = (
    "zero: the head's output is 0; mean: it is its mean over other neurons' prompts. last: at the last "
    "position; all: at all positions."
)


def _choose_kind() -> None:
    selection.choose(kind=st.session_state[_KIND])


def _switches(kinds: list[str], kind: str) -> None:
    st.session_state[_KIND] = kind
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        st.segmented_control(
            "Kind of removal",
            kinds,
            key=_KIND,
            on_change=_choose_kind,
            required=True,
            label_visibility="collapsed",
        )
        st.selectbox(
            "Quantity", list(QUANTITIES), key=_QUANTITY, label_visibility="collapsed", width=150
        )


def _pick(rows: pd.DataFrame, chart_key: str) -> None:
    picked = st.session_state[chart_key]["selection"].get(PICK)
    if picked:
        prompt = int(picked[0]["prompt_id"])
        splits = dict(zip(rows["prompt_id"], rows["split"], strict=True))
        selection.choose(prompt=prompt, split=str(splits[prompt]))


def _beside(removed: Removals, kind: str, quantity: Quantity) -> str:
    """One line: what the same prompts lose without all their active heads, or without the neuron."""
    parts = []
    own = removed.median_when_active(kind, quantity)
    joint = removed.joint_median(kind, quantity)
    neuron = removed.neuron_median(kind)
    if own is not None:
        parts.append(f"this head {quantity.shown(own)}")
    if joint is not None:
        value, n_heads = joint
        parts.append(
            f"all active heads together ({n_heads:.1f} on average) <b>{quantity.shown(value)}</b>"
        )
    if neuron is not None:
        change = QUANTITIES["P(token)"].shown(neuron)
        parts.append(f"the neuron itself <b>{change}</b> of P(token)")
    if not parts:
        return "The head is active in none of these prompts."
    return f"Removed where it is active, medians: {'; '.join(parts)}."


def removal(
    store: Store, removed: Removals | None, missing: str, kind: str, prompt: int | None, pair: str
) -> None:
    """The strips; `missing` says (HTML, escaped) why there are none, `pair` names what is shown."""
    help_ = (
        define("Removing it", store.manifest) + " All kept prompts, train and test. " + _KINDS_HELP
    )
    if removed is None:
        heading(_TITLE, pd.DataFrame(), key="head-removal", help=help_)
        frame.empty(missing)
        return
    quantity = QUANTITIES[st.session_state.get(_QUANTITY, next(iter(QUANTITIES)))]
    rows = removed.of(kind, quantity)
    chart_key = f"head-strips-removed-{pair}-{kind}-{quantity.name}"
    of = f"the neuron's {quantity.name}" if quantity.name != "P(token)" else "P(token)"
    unit = ", in percentage points" if quantity.unit else ""
    figure(
        _TITLE,
        partial(
            removal_strips, rows, quantity=quantity.name, digits=quantity.digits, selected=prompt
        ),
        removed.data(kind),
        key="head-removal",
        help=help_,
        caption=f"Change in {of} (removed minus clean{unit}), one mark per prompt.",
        on_select=partial(_pick, rows, chart_key),
        selection_mode=PICK,
        chart_key=chart_key,
        under=partial(_switches, removed.kinds, kind),
    )
    st.html(f'<p class="nt-small">{_beside(removed, kind, quantity)}</p>')
