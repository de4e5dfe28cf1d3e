"""What an OV component is for: the neurons it feeds, and its part in the run's prompts (ours)."""

from __future__ import annotations

from functools import partial

import streamlit as st

from explorer import selection
from explorer.charts import component_bars
from explorer.charts.glossary import define
from explorer.charts.style import signed
from explorer.components import frame
from explorer.components.chips import token_code
from explorer.components.figure import figure
from explorer.components.link_check import own_token
from explorer.components.reports import selected
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from explorer.resources.channel_parts import (
    ComponentPrompts,
    component_prompts,
    fed_neurons,
    first_fed,
)


def _pick_neuron(store: Store, key: str) -> None:
    picked = selected(key, component_bars.PICK)
    if picked:
        neuron = NeuronId.parse(picked[0]["neuron"])
        selection.choose(
            neuron=neuron, token=own_token(store, neuron), prompt=None, text=None, head=None
        )


def fed_figure(store: Store, src: HeadId, comp: int, neuron: NeuronId | None) -> None:
    """The studied neurons that a component feeds most."""
    found = fed_neurons(store, src, comp)
    if found.rows.empty:
        frame.empty(f"{src.label} comes after all studied neurons: it feeds none of them.")
        return
    rows = found.first(neuron)
    key = f"channels-neurons-{store.run_id}-{src}-{comp}-{neuron}"
    figure(
        "Neurons it feeds",
        partial(component_bars.neuron_rows, rows, neuron=None if neuron is None else str(neuron)),
        found.rows,
        key="channels-neurons",
        help="v · w_in: what one unit of the component's activation adds to the neuron's "
        "pre-activation, before the division by the layer norm's scale. The link from component to "
        "neuron is ours.",
        caption=f"v · w_in of the {len(rows)} largest of {len(found.rows)} studied neurons. Orange: "
        "positive activation raises the neuron; blue: lowers it.",
        on_select=partial(_pick_neuron, store, key),
        selection_mode=component_bars.PICK,
        chart_key=key,
    )


def _pick_prompt(key: str) -> None:
    picked = selected(key, component_bars.PICK)
    if picked:
        selection.choose(prompt=int(picked[0]["prompt_id"]), text=None)


def _prompts(store: Store, src: HeadId, comp: int, found: ComponentPrompts, own: bool) -> None:
    name = found.neuron.label
    prompt = selection.current().prompt
    key = f"channels-prompts-{store.run_id}-{src}-{comp}-{found.neuron}-{prompt}"
    token = own_token(store, found.neuron)
    chip = "" if token is None else f" {token_code(token)}"
    caption = (
        f"What component {comp} adds to {name}{chip} in its {len(found.rows)} {found.split} prompts; "
        f"line: the whole {src.label}. Mean {signed(found.mean_part)} of "
        f"{signed(found.mean_contribution)}. Click a prompt to turn the dial on it."
    )
    if not own:
        caption = f"{src.label} is not studied for the chosen neuron. {caption}"
    figure(
        "On the run's prompts",
        partial(component_bars.prompt_rows, found.rows, prompt=prompt),
        found.rows.rename(columns={"label": "prompt ends in"}),
        key="channels-prompts",
        help=f"{define('Contribution', store.manifest)} The parts of a head's components sum to its "
        "contribution. Hover for the component's activation at the last token: how far the head "
        "writes along its output direction, in units of the residual stream.",
        caption=caption,
        on_select=partial(_pick_prompt, key),
        selection_mode=component_bars.PICK,
        chart_key=key,
    )


def prompts_figure(store: Store, src: HeadId, comp: int, neuron: NeuronId | None) -> None:
    """A component's part in the prompts of the chosen neuron; where its head is not studied for that
    one, of the neuron to which it adds most."""
    own = None if neuron is None else component_prompts(store, src, comp, neuron, "train")
    other = None if own is not None else first_fed(store, src, comp)
    found = own or (None if other is None else component_prompts(store, src, comp, other, "train"))
    if found is None:
        frame.empty(
            f"{src.label} is studied for no neuron (active in 25–75 % of its train prompts), so its "
            "components' parts in prompts are not stored. The dial below shows them on any prompt."
        )
        return
    _prompts(store, src, comp, found, own is not None)
    with st.container(key="nt-card-links", horizontal=True, gap="small"):
        token, prompt = own_token(store, found.neuron), selection.current().prompt
        if prompt not in set(found.rows["prompt_id"]):
            prompt = None
        frame.link("neuron", f"{found.neuron.label} →", neuron=found.neuron, token=token,
                   prompt=prompt, head=src)  # fmt: skip
        frame.link("head", f"{src.label} on {found.neuron.label} →", neuron=found.neuron,
                   token=token, head=src, prompt=prompt)  # fmt: skip
