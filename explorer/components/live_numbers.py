"""The panel of numbers on Live: before and after the heads that are off, for one prompt or two."""

from __future__ import annotations

import html
from collections.abc import Sequence

import streamlit as st

from explorer import selection
from explorer.charts.glossary import define
from explorer.charts.live_difference import points
from explorer.charts.next_tokens import percent
from explorer.charts.style import number, signed
from explorer.components.chips import token_chip
from explorer.components.live_state import can_undo, restore_all, toggle, undo
from explorer.core.store import Store
from explorer.core.types import ABLATION_KINDS, HeadId
from explorer.resources.live_sides import Side
from explorer.resources.live_values import LiveValue

_KIND = "live-kind"
_KIND_WORDS = {
    "zero-last": "zero, at this token",
    "zero-all": "zero, at all tokens",
    "mean-last": "mean, at this token",
    "mean-all": "mean, at all tokens",
}
_KIND_HELP = (
    "What a head that is off adds instead of its own output. Zero: nothing. Mean: its mean over the "
    "prompts of the run's other neurons. At the chosen token alone, or at all tokens."
)
_NOTHING = 0.005
"""An activation below this has no percentage of itself."""


def tip(definition: str) -> str:
    """A small question mark that shows a definition, as HTML."""
    words = html.escape(definition, quote=True)
    return (
        '<span class="nt-tip" tabindex="0" role="note" '
        f'aria-label="{words}" data-tip="{words}">?</span>'
    )


def _name(store: Store, name: str, shown: str | None = None) -> str:
    return f"{shown or name} {tip(define(name, store.manifest))}"


def _value(before: str, now: str, of: str, changed: bool) -> str:
    """A value as HTML, all parts text: `3.50 → 1.96 heads off`."""
    old = f'<em>{html.escape(before)}</em><i aria-hidden="true">→</i>' if changed else ""
    small = f"<span>{html.escape(of)}</span>" if of else ""
    return f"{old}{html.escape(now)}{small}"


def _values(side: Side) -> tuple[str, str, str]:
    """Pre-activation, activation and P(token) of a prompt."""
    before, now, off = side.before, side.now, bool(side.removal)
    change = ""
    if off and before.activation > _NOTHING:
        change = f"{signed(100 * (now.activation / before.activation - 1), 0)} %"
    p_old, p_now = before.target.probability, now.target.probability
    of = points(p_now - p_old) if off else f"rank {now.target.rank:,}"
    return (
        _value(number(before.pre_activation), number(now.pre_activation),
               "heads off" if off else "", off),
        _value(number(before.activation), number(now.activation), change, off),
        _value(percent(p_old), percent(p_now), of, off),
    )  # fmt: skip


def _pre_activation(value: LiveValue) -> float:
    return value.pre_activation


def _activation(value: LiveValue) -> float:
    return value.activation


def _probability(value: LiveValue) -> float:
    return value.target.probability


def _differences(a: Side, b: Side) -> tuple[str, str, str]:
    """B − A of the same three, before and now."""
    off = bool(a.removal)
    pre, post, chance = (
        [read(y) - read(x) for x, y in ((a.before, b.before), (a.now, b.now))]
        for read in (_pre_activation, _activation, _probability)
    )
    return (
        _value(signed(pre[0]), signed(pre[1]), "", off),
        _value(signed(post[0]), signed(post[1]), "", off),
        _value(points(chance[0]), points(chance[1]), "", off),
    )


def _names(store: Store, side: Side) -> tuple[str, str, str]:
    chance = f"P({token_chip(side.before.target.text)}) next"
    return (
        _name(store, "Pre-activation"),
        _name(store, "Activation"),
        _name(store, "P(token)", chance),
    )


def _one(store: Store, side: Side) -> str:
    cells = zip(_names(store, side), _values(side), strict=True)
    pieces = [
        f'<div><p class="nt-small">{name}</p><p class="nt-live-value">{value}</p></div>'
        for name, value in cells
    ]
    return f'<div class="nt-live-numbers">{"".join(pieces)}</div>'


def _two(store: Store, a: Side, b: Side) -> str:
    heads = "".join(f"<th>{name}</th>" for name in _names(store, a))
    rows = (("A", _values(a)), ("B", _values(b)), ("B − A", _differences(a, b)))
    body = "".join(
        f"<tr><th>{name}</th>{''.join(f'<td>{value}</td>' for value in values)}</tr>"
        for name, values in rows
    )
    return f'<table class="nt-live-two"><tr><th></th>{heads}</tr>{body}</table>'


def _set_kind() -> None:
    kind = st.session_state[_KIND]
    selection.choose(kind=None if kind == ABLATION_KINDS[0] else kind)


def kind_input(kind: str) -> None:
    """What stands in for a head that is off."""
    st.session_state[_KIND] = kind
    st.selectbox("What stands in for a head that is off", ABLATION_KINDS, key=_KIND,
                 on_change=_set_kind, format_func=_KIND_WORDS.__getitem__,
                 label_visibility="collapsed", width=172, help=_KIND_HELP)  # fmt: skip


def _switches(off: Sequence[HeadId], kind: str) -> None:
    with st.container(key="live-off", horizontal=True, gap="xsmall", vertical_alignment="center",
                      horizontal_alignment="right"):  # fmt: skip
        if off:
            st.html('<p class="nt-small">Heads off</p>', width="content")
        for head in off:
            st.button(f"{head.label} ×", key=f"live-off-{head}", on_click=toggle, args=(head,))
        if off:
            st.button("Restore all", key="live-restore", on_click=restore_all)
            kind_input(kind)
        else:
            st.button("Undo", key="live-undo-button", on_click=undo)


def numbers(
    store: Store, sides: Sequence[Side], off: Sequence[HeadId], kind: str, clickable: bool
) -> None:
    """Pre-activation, activation and what the model makes of the neuron's token; heads off at the
    right, each with a button that switches it on."""
    with st.container(key="live-panel", horizontal=True, vertical_alignment="center",
                      horizontal_alignment="distribute"):  # fmt: skip
        st.html(_one(store, sides[0]) if len(sides) == 1 else _two(store, *sides), width="content")
        if clickable and (off or can_undo()):
            _switches(off, kind)
