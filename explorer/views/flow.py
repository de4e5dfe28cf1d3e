"""Flow: one prompt as a graph, from heads through neurons to the next token."""

from __future__ import annotations

from typing import Any

import streamlit as st

from explorer import selection
from explorer.charts.glossary import define
from explorer.components import flow_inputs, flow_panels, frame, model_wait
from explorer.components.chips import token_chip
from explorer.components.link_check import own_token
from explorer.components.live_inputs import edit_first, prompt_input
from explorer.components.live_panels import apply_style
from explorer.components.live_state import follow_edit
from explorer.core.store import Store
from explorer.core.types import NeuronId
from explorer.resources import models
from explorer.resources.flow_values import FlowGraph, FlowValue, analyse, flow_graph, thresholds
from explorer.resources.live_values import LiveRequest, StoredPrompt, first_prompt, stored_prompt
from explorer.resources.neuron_tables import default_neuron
from explorer.selection import Selection

_NAMES = ("neuron", "prompt", "text", "pos", "target", "node", "min_head", "min_neuron")
_TITLE = "How does this prompt reach its next token?"


def _defaults(store: Store, chosen: Selection) -> dict[str, Any]:
    """A first visit opens on a stored prompt of the chosen neuron, else of the chosen token's."""
    neuron = chosen.neuron or default_neuron(store, chosen.token)
    if neuron is None:
        return {}
    fixes: dict[str, Any] = {"neuron": neuron}
    if chosen.token is None or chosen.neuron is None:
        fixes["token"] = own_token(store, neuron)
    if chosen.text is None and chosen.prompt is None:
        found = first_prompt(store, neuron, chosen.token)
        fixes["prompt"] = None if found is None else found.prompt_id
    return fixes


def _checked(store: Store, chosen: Selection) -> Selection:
    """Forget, and say, what of the page's own fields does not exist in this run."""
    shape = store.shape
    lost: dict[str, str] = {}
    if chosen.target is not None and chosen.target >= shape.d_vocab:
        lost["target"] = f"This model has no token {chosen.target}: it has {shape.d_vocab:,}."
    node = chosen.node
    size = shape.d_mlp if isinstance(node, NeuronId) else shape.n_heads
    if node is not None and (node.layer >= shape.n_layers or node.index >= size):
        lost["node"] = f"This model has no {node.label}."
    for text in lost.values():
        frame.note(text)
    return selection.choose(**dict.fromkeys(lost)) if lost else chosen


def _request(chosen: Selection, stored: StoredPrompt | None) -> LiveRequest:
    """What the selection asks for: the typed text, else the stored prompt's own tokens."""
    own = stored if chosen.text is None else None
    return LiveRequest(
        text=chosen.text or "" if own is None else own.text,
        token_ids=None if own is None else own.token_ids,
        neuron=chosen.neuron or NeuronId(0, 0),
        token_id=0,
        pos=chosen.pos,
    )


def _inputs(store: Store, request: LiveRequest, stored: StoredPrompt | None) -> Any:
    """Prompt, stored prompts, and the place of the target token, which is known only later."""
    wide, middle, side = st.columns([55, 26, 19], gap="small")
    with wide:
        text = None if stored is None else stored.text
        prompt_input("A", "Prompt: edit it, the graph follows", request.text, edit_first(text))
    with middle:
        shown = stored if request.token_ids is not None else None
        flow_inputs.stored_prompt_input(store, request.neuron, shown)
    return side


def _graph(store: Store, value: FlowValue, chosen: Selection) -> FlowGraph:
    """The sliders, and what is drawn at where they stand."""
    heads, neurons = thresholds(value, chosen.min_head, chosen.min_neuron)
    graph = flow_graph(value, heads.value, neurons.value)
    wide, side = st.columns([81, 19], gap="large", vertical_alignment="bottom")
    with wide:
        texts = {name: define(name, store.manifest) for name in ("Contribution", "Direct effect")}
        flow_inputs.threshold_inputs(heads, neurons, texts)
    with side:
        flow_inputs.node_input(graph, None if chosen.node is None else str(chosen.node))
    return graph


def _isolated(graph: FlowGraph, chosen: Selection) -> str | None:
    """The key of the node whose paths are shown alone; said where the link's node is not drawn."""
    if chosen.node is None:
        return None
    if str(chosen.node) in {node.key for node in graph.nodes}:
        return str(chosen.node)
    frame.note(f"{chosen.node.label} is below the thresholds here: all paths are shown.")
    return None


def _body(store: Store, value: FlowValue, chosen: Selection, title: Any) -> None:
    flow_panels.strip(value)
    graph = _graph(store, value, chosen)
    question = f"How does this prompt reach {token_chip(value.target.text)}?"
    with title:
        frame.question(question, flow_panels.answer(value, graph))
    isolated = _isolated(graph, chosen)
    flow_panels.graph_figure(store, value, graph, isolated)


def _instead(status: models.ModelStatus, request: LiveRequest) -> None:
    """What stands where there is no graph."""
    if not request.text or status.state == "ready":
        frame.empty("Type a word.")
        return
    if model_wait.is_coming(status):
        frame.empty("The graph of this prompt comes with the model.")
        st.skeleton(height=420)


@st.fragment
def _flow(store: Store) -> None:
    chosen = _checked(store, selection.current())
    neuron = chosen.neuron or NeuronId(0, 0)
    stored = None if chosen.prompt is None else stored_prompt(store, neuron, chosen.prompt)
    request = _request(chosen, stored)
    status = models.model_status(store)
    wide, narrow = st.columns([8, 3], vertical_alignment="top")
    title = wide.empty()
    narrow.html(f'<p class="nt-status" role="status">{model_wait.status_line(status)}</p>')
    side = _inputs(store, request, stored)
    model_wait.trouble(store, status, "Flow")
    ids = models.encode(store, request) if status.state == "ready" and request.text else ()
    if not ids:
        with title:
            frame.question(_TITLE)
        _instead(status, request)
        return
    pos = follow_edit(request, ids)
    value = analyse(store, request.text, ids, pos, chosen.target)
    with side:
        flow_inputs.target_input(store, value, chosen.token)
    _body(store, value, chosen, title)


def render() -> None:
    store, _ = frame.page("flow", _NAMES, defaults=_defaults)
    apply_style()
    flow_panels.apply_style()
    _flow(store)
    if model_wait.is_coming(models.model_status(store)):
        model_wait.await_model(store)
