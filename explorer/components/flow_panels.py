"""The figure of Flow and what stands beside it, drawn from one value that carries its own prompt."""

from __future__ import annotations

import html
from functools import partial
from pathlib import Path

import pandas as pd
import streamlit as st

from explorer import selection
from explorer.charts.flow_graph import PICK
from explorer.charts.flow_graph import flow_graph as draw_flow
from explorer.charts.flow_layout import TOKEN_KEY
from explorer.charts.glossary import define
from explorer.charts.next_tokens import percent
from explorer.charts.style import number, signed
from explorer.charts.token_strip import strip_tokens
from explorer.components import frame
from explorer.components.chips import plain_markdown
from explorer.components.figure import figure
from explorer.components.flow_inputs import isolate
from explorer.components.link_check import own_token
from explorer.components.reports import selected
from explorer.components.theme import current_palette
from explorer.components.token_strip import token_strip
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from explorer.resources.flow_values import (
    CONTRIBUTION_RULE,
    EFFECT_RULE,
    FlowGraph,
    FlowValue,
)
from explorer.resources.live_values import to_field

_TURN = "flow-turn"
_STYLE_SHEET = Path(__file__).with_name("flow.css")


def apply_style() -> None:
    """Put the style sheet of Flow on the page."""
    st.html(f"<style>{_STYLE_SHEET.read_text(encoding='utf-8')}</style>")


def answer(value: FlowValue, graph: FlowGraph) -> str:
    """The sentence under the question, as HTML."""
    target = value.target
    shown = [value.neurons[row].effect for row in graph.selection.neurons]
    part = f"the {len(shown)} shown {signed(sum(shown))}" if shown else "none is shown"
    return (
        f"Probability <b>{percent(target.probability)}</b>, rank {target.rank:,}. Centred logit "
        f"<b>{signed(value.logit)}</b>: all neurons add {signed(value.sum_of_all_effects)} directly, "
        f"{part}."
    )


def strip(value: FlowValue) -> None:
    """The prompt's tokens; a click or a key chooses the position, Escape shows all paths again."""
    colours = current_palette()
    tokens = strip_tokens(value.tokens, [0.0] * len(value.tokens), limit=1.0, palette=colours)
    for token in tokens:  # nothing is measured at each of them: no tint, no number
        token |= {"value": "", "fill": colours.panel, "ink": colours.ink}
    token_strip(
        tokens,
        value.position,
        prompt=to_field(value.text),
        label="Tokens of the prompt. Choose the position after which to look.",
        key="flow-strip",
        on_pick=lambda index: selection.choose(pos=index + value.n_cut, target=None, node=None),
        on_restore=lambda: selection.choose(node=None),
    )
    if value.n_cut:
        st.caption(f"Only the last {len(value.tokens):,} tokens are used.")


def _share(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f} %"


def shares(graph: FlowGraph) -> str:
    """What share of the whole is shown, one sentence for each unit."""
    chosen = graph.selection
    words = (
        f"Shown: {_share(chosen.head_share)} of head contributions to these neurons; "
        f"{_share(chosen.neuron_share)} of all neurons' direct effect on the token."
    )
    if chosen.n_left_out:
        words += f" {chosen.n_left_out:,} smaller lines are left out."
    return words


def _caption(graph: FlowGraph) -> str:
    return (
        f"{shares(graph)} Orange raises; blue, dashed, lowers. Widest line: "
        f"{number(graph.largest_head)} to a neuron, {number(graph.largest_effect)} to the token."
    )


def _table(graph: FlowGraph) -> pd.DataFrame:
    names = {node.key: node.name for node in graph.nodes}
    rows = [(names[e.source], names[e.target], e.value, e.unit) for e in graph.edges]
    return pd.DataFrame(rows, columns=pd.Index(["from", "to", "adds", "unit"]))


def _picked(graph: FlowGraph, isolated: str | None, turn: int, key: str) -> None:
    """A click on a node of the graph that showed `isolated`; the same node again shows all paths.

    It may be reported twice, so it says what to show rather than what to switch.
    """
    picked = selected(key, PICK)
    if picked:
        st.session_state[_TURN] = turn + 1  # a fresh chart: the same node can be clicked again
        node = picked[0]["key"]
        isolate(graph, None if node == isolated else node)


def graph_figure(store: Store, value: FlowValue, graph: FlowGraph, isolated: str | None) -> None:
    """The graph, with the list of its nodes at the right of the heading."""
    turn = int(st.session_state.get(_TURN, 0))
    key = f"flow-{store.run_id}-{turn}"
    drawing = partial(
        draw_flow,
        graph.nodes,
        graph.edges,
        n_layers=graph.n_layers,
        largest={"pre-activation": graph.largest_head, "centred logits": graph.largest_effect},
        rules={"pre-activation": CONTRIBUTION_RULE, "centred logits": EFFECT_RULE},
        isolated=isolated,
    )
    with st.container(key="flow-drawing"):
        figure(
            "Heads → neurons → next token",
            drawing,
            _table(graph),
            key="flow-graph",
            help=f"{define('Contribution', store.manifest)} {define('Direct effect', store.manifest)} "
            "Shares are of summed sizes, so that what raises and what lowers do not cancel.",
            caption=plain_markdown(_caption(graph)),
            under=partial(card, store, graph, isolated),
            on_select=partial(_picked, graph, isolated, turn, key),
            selection_mode=PICK,
            chart_key=key,
        )


def _sum_words(graph: FlowGraph, key: str) -> str:
    node = next(n for n in graph.nodes if n.key == key)
    into = [e for e in graph.edges if e.target == key]
    words = node.words
    if into and key != TOKEN_KEY:
        subject = "one head shown adds" if len(into) == 1 else f"{len(into)} heads shown add"
        words += f". The {subject} {signed(sum(e.value for e in into))} to it"
    return words[:1].upper() + words[1:] + "."


def card(store: Store, graph: FlowGraph, isolated: str | None) -> None:
    """What is known of the node whose paths are shown, and the links to its pages."""
    with st.container(key="flow-card", horizontal=True, gap="medium", vertical_alignment="center"):
        if isolated is None:
            frame.empty("Click a node to see its paths alone.")
            return
        name = next(n.name for n in graph.nodes if n.key == isolated)
        words = html.escape(_sum_words(graph, isolated))
        st.html(f'<p class="nt-small"><b>{html.escape(name)}</b>: {words}</p>')
        with st.container(key="nt-card-links", horizontal=True, gap="medium", width="content"):
            _links(store, graph, isolated)


def _links(store: Store, graph: FlowGraph, isolated: str) -> None:
    node = selection.current().node
    if isinstance(node, HeadId):
        first = next(e.target for e in graph.edges if e.source == isolated)
        neuron = NeuronId.parse(first)
        token = own_token(store, neuron)
        frame.link("head", f"{node.label} →", head=node, neuron=neuron, token=token, prompt=None)
        return
    if isinstance(node, NeuronId):
        token = own_token(store, node)
        frame.link("neuron", f"{node.label} →", neuron=node, token=token, prompt=None, head=None)
        frame.link("live", "Try it live →", neuron=node, token=token, head=None)
