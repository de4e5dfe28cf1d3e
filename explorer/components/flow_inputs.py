"""What a person sets on Flow: stored prompt, target token, thresholds, the node whose paths to show.

All of it is written to the selection, and so to the URL. What a widget shows is set by the page and
changes with the prompt, while other parts of the page ask the server again and again: such a request
may still carry what the browser showed before. So a widget's key says what it shows (an old report then
concerns a widget that is gone, and says nothing new), and every change may be made twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import streamlit as st

from explorer import selection
from explorer.charts.flow_layout import TOKEN_KEY
from explorer.charts.next_tokens import percent
from explorer.charts.token_text import ending, passage
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId, visible
from explorer.resources.flow_values import FlowGraph, FlowValue, Threshold
from explorer.resources.live_values import StoredPrompt

_ENDING = 44
"""Characters of a stored prompt that its entry shows."""
_WHOLE = "all paths"


@lru_cache(maxsize=64)
def _stored_prompts(store: Store, neuron: NeuronId) -> dict[int, str]:
    """A studied neuron's prompts, train before test: its end as a person reads it, by prompt id."""
    texts, names = store.token_texts, {}
    for split in ("train", "test"):
        rows = store.prompts(neuron, split)
        for prompt, ids, start in zip(
            rows["prompt_id"], rows["token_ids"], rows["start"], strict=True
        ):
            text = "".join(texts[i] for i in ids[int(start) :])
            names[int(prompt)] = ending(passage(text), _ENDING)
    return names


def stored_prompt_input(store: Store, neuron: NeuronId, shown: StoredPrompt | None) -> None:
    """The stored prompts of a neuron, to begin with; `shown` is the one on screen, None a typed text."""
    names = _stored_prompts(store, neuron)
    prompt = None if shown is None else shown.prompt_id
    if shown is not None and shown.prompt_id not in names:  # another neuron's
        words = f"{shown.neuron.label}: {ending(passage(shown.text), _ENDING)}"
        names = {shown.prompt_id: words, **names}

    key = f"flow-prompt-{neuron}-{prompt}"

    def picked() -> None:
        if st.session_state[key] != prompt:
            selection.choose(prompt=st.session_state[key], text=None, pos=None, node=None)

    options = [*names]
    st.session_state[key] = prompt
    st.selectbox(
        f"Stored prompts of {neuron.label}", options, key=key, on_change=picked,
        index=None if prompt is None else 0,
        format_func=lambda key: names.get(key, f"prompt {key}"), disabled=not options,
        placeholder="typed" if options else "none stored",
        help="Prompts of the run that excite this neuron, shortened as the run kept them.",
    )  # fmt: skip


def target_input(store: Store, value: FlowValue, own: str | None) -> None:
    """The next tokens that the flow may end in: the likeliest, the target, the token of the trail."""
    names = {
        row.token_id: f"{visible(row.text) or '∅'}  {percent(row.probability)}"
        for row in (*value.next_tokens, value.target)
    }
    mine = None if own is None else store.token_id(own)
    if mine is not None and mine not in names:
        names[mine] = visible(own or "") or "∅"

    first, target = value.next_tokens[0].token_id, value.target.token_id
    key = f"flow-target-{first}-{target}"

    def picked() -> None:
        chosen = st.session_state[key]
        if chosen != target:
            selection.choose(target=None if chosen == first else chosen, node=None)

    st.session_state[key] = target
    st.selectbox(
        "Next token", [*names], key=key, on_change=picked,
        format_func=lambda key: names.get(key, str(key)),
        help="The flow ends in this token: the likeliest ones, and the token chosen on other pages.",
    )  # fmt: skip


def _slider(label: str, field: str, at: Threshold, help: str) -> None:
    key = f"flow-{field}-{at.limit:g}-{at.first:g}"
    shown = min(at.limit, at.value)

    def moved() -> None:
        if st.session_state[key] != shown:
            selection.choose(**{field: float(st.session_state[key])})

    st.session_state[key] = shown
    st.slider(label, 0.0, at.limit, step=at.step, format=f"%.{at.digits}f", key=key, help=help,
              on_change=moved)  # fmt: skip


def threshold_inputs(heads: Threshold, neurons: Threshold, define: Mapping[str, str]) -> None:
    """Two sliders, one a unit: the least contribution of a head, the least effect of a neuron."""
    one, other = st.columns(2, gap="large")
    with one:
        _slider("Heads: least contribution, pre-activation", "min_head", heads,
                define["Contribution"])  # fmt: skip
    with other:
        _slider("Neurons: least direct effect, centred logits", "min_neuron", neurons,
                define["Direct effect"])  # fmt: skip


def isolate(graph: FlowGraph, key: str | None) -> None:
    """Show the paths of one node of the graph alone; of none, or of the token, all paths."""
    kind = next((n.kind for n in graph.nodes if n.key == key), "token")
    readers = {"head": HeadId.parse, "neuron": NeuronId.parse}
    selection.choose(node=readers[kind](str(key)) if kind in readers else None)


def node_input(graph: FlowGraph, isolated: str | None) -> None:
    """The nodes of the graph as a list: what a click on one does, for the keyboard."""
    names = {n.key: n.name for n in graph.nodes if n.key != TOKEN_KEY}
    key, shown = f"flow-node-{isolated}", isolated if isolated in names else _WHOLE

    def picked() -> None:
        chosen = st.session_state[key]
        if chosen != shown:
            isolate(graph, None if chosen == _WHOLE else chosen)

    st.session_state[key] = shown
    st.selectbox(
        "Paths through", [_WHOLE, *names], key=key, on_change=picked,
        format_func=lambda node: names.get(node, _WHOLE),
        help="A click on a node does the same; a second click shows all paths again.",
    )  # fmt: skip
