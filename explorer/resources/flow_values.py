"""What Flow shows: one prompt's flow from the model, and the part of it above two thresholds.

Every figure of the page is drawn from one `FlowValue`, which carries its own prompt. Nothing here
imports torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from explorer.charts.flow_layout import TOKEN_KEY, FlowEdge, FlowNode
from explorer.charts.next_tokens import NextRow, percent
from explorer.charts.style import number, round_up_125, signed
from explorer.core.flow import FlowSelection, select_flow, threshold_for
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId, visible
from explorer.resources.live_values import token_of
from explorer.resources.models import give_way, model_source, next_row, slot_of

N_FIRST_NEURONS = 9
N_FIRST_EDGES = 24
"""How many neurons and how many lines from heads a first look shows at most."""
CONTRIBUTION_RULE = "head output through W_O · W_in ÷ layer-norm scale"
EFFECT_RULE = "activation × congruence ÷ final layer-norm divisor"


@dataclass(frozen=True)
class FlowUnit:
    """A neuron at the position studied, and its direct effect on the target in centred logits."""

    neuron: NeuronId
    own_token: str
    """Text of the token that its output weights point at."""
    pre_activation: float
    activation: float
    congruence: float
    """With the target."""
    effect: float


@dataclass(frozen=True)
class FlowValue:
    """One position of one prompt and one next token."""

    text: str
    """The prompt that these numbers belong to."""
    token_ids: tuple[int, ...]
    """The tokens used, BOS not among them."""
    tokens: tuple[str, ...]
    n_cut: int
    """Tokens cut from the left because the context is shorter than the prompt."""
    position: int
    target: NextRow
    logit: float
    """The target's logit less the mean over the vocabulary."""
    next_tokens: tuple[NextRow, ...]
    neurons: tuple[FlowUnit, ...]
    """The candidates: largest direct effects by size, largest first."""
    heads: np.ndarray
    """Neuron x layer x head, in pre-activation units; 0 where a head cannot reach."""
    sum_of_all_effects: float
    size_of_all_effects: float


def analyse(
    store: Store, text: str, ids: tuple[int, ...], pos: int | None, target: int | None
) -> FlowValue:
    """The flow at position `pos` of the whole prompt `ids`; `target` None is the most probable token.

    From one forward pass. The last few are remembered: a slider or a click asks for them again.
    """
    return _analysed(store, model_source(store), text, ids, pos, target)


@lru_cache(maxsize=32)
def _analysed(
    store: Store,
    source: str,
    text: str,
    ids: tuple[int, ...],
    pos: int | None,
    target: int | None,
) -> FlowValue:
    from explorer.core.flow_analysis import analyse_flow

    n_cut = max(0, len(ids) - (store.shape.n_ctx - 1))
    index = None if pos is None else pos - n_cut
    found: Any = slot_of(store, source).use(
        lambda model: analyse_flow(model, ids, index, target), give_way
    )
    texts = store.token_texts
    units = tuple(
        FlowUnit(one.neuron, texts[token_of(store, one.neuron)], one.pre_activation, one.activation,
                 one.congruence, one.effect)
        for one in found.neurons
    )  # fmt: skip
    return FlowValue(
        text=text,
        token_ids=found.token_ids,
        tokens=tuple(texts[i] for i in found.token_ids),
        n_cut=found.n_cut,
        position=found.position,
        target=next_row(found.target, texts),
        logit=found.logit,
        next_tokens=tuple(next_row(token, texts) for token in found.next_tokens),
        neurons=units,
        heads=found.heads,
        sum_of_all_effects=found.sum_of_all_effects,
        size_of_all_effects=found.size_of_all_effects,
    )


# --- thresholds -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Threshold:
    """A slider: from 0 to `limit` in steps, where it stands, and where a first look has it."""

    limit: float
    step: float
    value: float
    first: float
    digits: int


def _threshold(largest: float, sizes: np.ndarray, asked: float | None, n_first: int) -> Threshold:
    """A slider up to `largest`; where nothing is asked for, at most `n_first` of `sizes` remain."""
    limit = round_up_125(largest)
    power = math.floor(math.log10(limit)) - 2
    step = float(f"1e{power}")
    first = threshold_for(sizes, n_first, step)
    return Threshold(limit, step, first if asked is None else asked, first, max(0, -power))


def thresholds(
    value: FlowValue, min_head: float | None, min_neuron: float | None
) -> tuple[Threshold, Threshold]:
    """The sliders for head contributions and for direct effects; None is a sensible first look.

    The ends are those of all candidates: one slider never moves the other's end.
    """
    effects = np.abs(np.array([unit.effect for unit in value.neurons]))
    sizes = np.abs(value.heads)
    of_neurons = _threshold(effects.max(initial=0.0), effects, min_neuron, N_FIRST_NEURONS)
    shown = sizes[effects >= of_neurons.value]
    of_heads = _threshold(sizes.max(initial=0.0), shown[shown > 0], min_head, N_FIRST_EDGES)
    return of_heads, of_neurons


# --- the graph --------------------------------------------------------------------------------


@dataclass(frozen=True)
class FlowGraph:
    """The nodes and lines above the thresholds, and the shares of the whole that they are."""

    nodes: tuple[FlowNode, ...]
    edges: tuple[FlowEdge, ...]
    selection: FlowSelection
    n_layers: int
    """Of the model."""
    largest_head: float
    """Size of the largest head contribution of all candidates: the widest line of that unit."""
    largest_effect: float


def flow_graph(value: FlowValue, min_head: float, min_neuron: float) -> FlowGraph:
    """What is drawn of a flow; widths are measured against all candidates, whatever is shown."""
    effects = np.array([unit.effect for unit in value.neurons])
    chosen = select_flow(value.heads, effects, value.size_of_all_effects, min_head, min_neuron)
    n_heads = value.heads.shape[2]
    lines = [
        FlowEdge(
            str(HeadId.from_flat(flat, n_heads)),
            str(value.neurons[row].neuron),
            float(value.heads[row].ravel()[flat]),
        )
        for row, flat in chosen.edges
    ]
    into_token = [
        FlowEdge(str(value.neurons[row].neuron), TOKEN_KEY, value.neurons[row].effect)
        for row in chosen.neurons
    ]
    nodes = (
        *_head_nodes(lines),
        *(_neuron_node(value.neurons[row]) for row in chosen.neurons),
        _token_node(value),
    )
    return FlowGraph(
        nodes=nodes,
        edges=(*lines, *into_token),
        selection=chosen,
        n_layers=value.heads.shape[1],
        largest_head=float(np.abs(value.heads).max(initial=0.0)),
        largest_effect=float(np.abs(effects).max(initial=0.0)),
    )


def _head_nodes(lines: list[FlowEdge]) -> tuple[FlowNode, ...]:
    mine: dict[str, list[FlowEdge]] = {}
    for line in lines:
        mine.setdefault(line.source, []).append(line)
    nodes = []
    for key, own in mine.items():
        head = HeadId.parse(key)
        first = own[0]  # lines come largest first
        others = f", and to {len(own) - 1} more" if len(own) > 1 else ""
        words = f"adds {signed(first.value)} to {NeuronId.parse(first.target).label}{others}"
        weight = sum(abs(line.value) for line in own)
        nodes.append(FlowNode(key, "head", head.layer, head.label, "", words, weight))
    return tuple(nodes)


def _neuron_node(unit: FlowUnit) -> FlowNode:
    words = (
        f"pre-activation {number(unit.pre_activation)}, activation {number(unit.activation)}, "
        f"congruence {number(unit.congruence, 1)}; adds {signed(unit.effect)} to the token"
    )
    name = f"{unit.neuron.label} {visible(unit.own_token) or '∅'}"
    return FlowNode(str(unit.neuron), "neuron", unit.neuron.layer, name, signed(unit.effect), words,
                    abs(unit.effect))  # fmt: skip


def _token_node(value: FlowValue) -> FlowNode:
    target = value.target
    words = f"rank {target.rank:,}, centred logit {signed(value.logit)}"
    return FlowNode(
        TOKEN_KEY, "token", 0, visible(target.text) or "∅", percent(target.probability), words, 0.0
    )
