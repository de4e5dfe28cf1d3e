"""The Neuron page's answer and numbers: what makes this neuron fire?"""

from __future__ import annotations

from functools import partial

from explorer.charts.glossary import define
from explorer.charts.style import number
from explorer.components.chips import token_chip
from explorer.components.metrics import Metric
from explorer.core.store import Store
from explorer.resources.neuron_tables import NeuronTables


def answer(tables: NeuronTables) -> str:
    """What the prompts and heads say of the neuron, from the numbers alone."""
    chip, n = token_chip(tables.token), tables.n_prompts
    lead = "A random neuron, drawn as a baseline. " if tables.kind == "random" else ""
    if n == 0:
        return f"{lead}No {tables.split} text activates it."
    median = f"{100 * tables.medians['probability']:.1f} %"
    text = (
        f"{lead}Where it peaks, {chip} is the model's first choice in {tables.n_first_choice} of {n} "
        f"{tables.split} prompts (median probability {median}). "
    )
    top = tables.top_head
    row = None if top is None else tables.activity_of(top)
    if top is None or row is None:
        return text + "No head can reach it."
    if not tables.studied:
        return text + "No head is active in 25–75 % of its train prompts, so none is studied."
    return text + f"Head <b>{top.label}</b> is active in {int(row['n_active'])} of {n}."


def neuron_numbers(store: Store, tables: NeuronTables) -> list[Metric]:
    """The numbers beside the question."""
    define_ = partial(define, manifest=store.manifest)
    kept = (
        (f"{tables.medians['n_kept']:g}", f"of {tables.medians['n_whole']:g}, median")
        if tables.n_prompts
        else ("–", "")
    )
    return [
        Metric("Congruence", number(tables.congruence, 1), "", define_("Congruence")),
        Metric("Peak activation", number(tables.peak_activation), "", define_("Activation")),
        Metric("Tokens kept", *kept, define_("Tokens kept")),
        Metric("Studied heads", str(len(tables.studied)), "", define_("Studied")),
    ]
