"""The figures of a component's dial, each drawn from one value that carries its own prompt."""

from __future__ import annotations

import html

import pandas as pd
import streamlit as st

from explorer.charts import next_tokens as next_chart
from explorer.charts.component_strip import component_strip_html
from explorer.charts.dial_curve import dial_figure, dial_rows
from explorer.charts.glossary import define
from explorer.charts.live_attention import START, attention_html, attention_label
from explorer.charts.style import number
from explorer.components import frame
from explorer.components.chips import token_chip, token_code
from explorer.components.figure import heading
from explorer.components.live_figure import live_figure
from explorer.components.theme import current_palette
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId, visible
from explorer.resources.channel_live import (
    N_NEXT,
    DialValue,
    Quantity,
    activation_curve,
    attention_curve,
    probability_curve,
)
from explorer.resources.live_values import to_field

_RING = "Ring: as it is. Dot: now."


def _axis(value: DialValue) -> str:
    if value.dial.how == "scale":
        return "factor of the component's activation"
    return "the component's activation"


def _was(quantity: Quantity, is_turned: bool) -> str:
    before, now = quantity.before[2], quantity.now[2]
    return f"{before} → {now}" if is_turned else before


def _number(name: str, words: str) -> str:
    return f"<span>{name} <b>{html.escape(words).replace('→', '<i>→</i>')}</b></span>"


def _numbers(value: DialValue, dst: HeadId, neuron: NeuronId) -> None:
    """Before and now in one line."""
    token = value.texts[value.watched_token]
    own = number(value.component_activation)
    now = value.now.strength if value.dial.how == "set" else None
    if value.dial.how == "scale":
        now = value.component_activation * value.now.strength
    turned = value.is_turned and not value.dial.everywhere and now is not None
    words = f"{own} → {number(now)}" if turned else own
    parts = [_number("its activation at the last token", words)]
    parts.append(
        _number(f"P({token_chip(token)})", _was(probability_curve(value), value.is_turned))
    )
    fired = activation_curve(value)
    if fired is not None:
        parts.append(_number(f"activation of {neuron.label}", _was(fired, value.is_turned)))
    looked = attention_curve(value)
    if looked is not None:
        parts.append(_number(f"attention of {dst.label} to {_place(value)}",
                             _was(looked, value.is_turned)))  # fmt: skip
    st.html(f'<p class="nt-dial">{"".join(parts)}</p>')


def _place(value: DialValue) -> str:
    """The token to which the receiver's attention changes most, as HTML."""
    place = value.looked_at or 0
    return START if place == 0 else token_chip(value.tokens[place - 1])


def _curve(
    store: Store,
    value: DialValue,
    quantity: Quantity,
    title: str,
    caption: str,
    key: str,
    term: str,
    more: str = "",
) -> None:
    rows = dial_rows(
        quantity.points, before=quantity.before, now=quantity.now, prompt=to_field(value.dial.text)
    )
    live_figure(
        title, dial_figure, rows,
        pd.DataFrame({_axis(value): quantity.points["strength"], title: quantity.points["value"]}),
        key=f"channels-{key}",
        help=f"{define(term, store.manifest)} {more}".strip(),
        caption=caption,
        alt_text=f"{title} against the strength of the dial.",
        axis=_axis(value),
        percent=quantity.is_share,
    )  # fmt: skip


def _curves(store: Store, value: DialValue, dst: HeadId, neuron: NeuronId) -> None:
    left, middle, right = st.columns(3, gap="medium")
    token = token_code(value.texts[value.watched_token])
    with left:
        _curve(store, value, probability_curve(value), "Next token", f"P({token}). {_RING}", "p",
               "P(token)")  # fmt: skip
    fired, looked = activation_curve(value), attention_curve(value)
    with middle:
        if fired is None:
            frame.empty(
                f"{neuron.label} comes before {value.dial.head.label}: the dial cannot reach it."
            )
        else:
            _curve(store, value, fired, "Neuron", f"Activation of {neuron.label}. {_RING}", "neuron",
                   "Activation")  # fmt: skip
    with right:
        if looked is None:
            frame.empty(
                f"{dst.label} does not come after {value.dial.head.label}: its attention cannot change. "
                "Choose a later receiver."
            )
            return
        place = value.looked_at or 0
        to = START if place == 0 else token_code(value.tokens[place - 1])
        caption = f"Attention of {dst.label} to {to}. {_RING}"
        _curve(store, value, looked, "Receiver", caption, "attention", "Attention",
               "Shown is the token to which it changes most over the dial.")  # fmt: skip


def _next(store: Store, value: DialValue) -> None:
    target = value.row_of(value.watched_token)
    best = value.next_rows()
    shown = [*best, *([] if any(row.rank == target.rank for row in best) else [target])]
    table = pd.DataFrame(
        {
            "token": [visible(row.text) for row in shown],
            "probability": [row.probability for row in shown],
            "rank": [row.rank for row in shown],
            "before": [float(value.before.probabilities[row.token_id or 0]) for row in shown],
        }
    )
    live_figure(
        "What comes next", next_chart.next_token_figure,
        next_chart.next_token_rows(best, target, to_field(value.dial.text)),
        table,
        key="channels-next",
        help=define("P(token)", store.manifest),
        caption="Probability. Bar: now. Line: before." if value.is_turned
        else "Probability after the last token.",
        alt_text="The most probable next tokens and their probabilities.",
        n_rows=N_NEXT + 1,
        compared=value.is_turned,
    )  # fmt: skip


def _attention_rows(value: DialValue, dst: HeadId) -> str:
    states = [("before", value.before)] if value.is_turned else []
    rows = []
    for name, state in (*states, ("now", value.now)):
        assert state.attention is not None, "a receiver's attention was asked for"
        strip = attention_html(
            value.tokens, state.attention.tolist(), position=len(value.tokens) - 1,
            palette=current_palette(),
            label=attention_label(f"{dst.label}, {name}", value.tokens, state.attention.tolist()),
        )  # fmt: skip
        rows.append(f'<span class="nt-small">{name}</span>{strip}')
    return f'<div class="nt-attend">{"".join(rows)}</div>'


def _attention(store: Store, value: DialValue, dst: HeadId) -> None:
    if value.now.attention is None or value.before.attention is None:
        return
    heading(
        f"Where {dst.label} looks",
        pd.DataFrame(
            {"token": [START, *map(visible, value.tokens)], "before": value.before.attention,
             "now": value.now.attention}
        ),
        key="channels-looks",
        help=define("Attention", store.manifest),
        caption="Attention from the last token (boxed), before and now.",
    )  # fmt: skip
    st.html(_attention_rows(value, dst))


def _along(value: DialValue) -> None:
    head, component = value.dial.head, value.dial.component
    heading(
        "The component along the prompt",
        pd.DataFrame({"token": [*map(visible, value.tokens)], "activation": value.along}),
        key="channels-along",
        help="The component's activation: how far the head writes along its output direction, in units "
        "of the residual stream; clean. A property of the whole prompt up to each token.",
        caption=f"Activation of {head.label}, component {component}, at each token, before the dial. "
        "Orange: positive.",
    )
    most = max((abs(float(v)), i) for i, v in enumerate(value.along))[1]
    label = (
        f"Activation of component {component} of {head.label} along the prompt; largest at token "
        f"{most + 1}."
    )
    strip = component_strip_html(
        value.tokens, value.along.tolist(), palette=current_palette(), label=label
    )
    st.html(strip)


def draw(store: Store, value: DialValue, dst: HeadId, neuron: NeuronId) -> None:
    """All figures of the dial. `dst` and `neuron` are those chosen, also where the dial cannot reach
    them."""
    if value.n_cut:
        st.caption(f"Only the last {len(value.tokens):,} tokens are used.")
    _numbers(value, dst, neuron)
    _curves(store, value, dst, neuron)
    left, right = st.columns([40, 60], gap="large")
    with left:
        _next(store, value)
    with right:
        _along(value)
        _attention(store, value, dst)
