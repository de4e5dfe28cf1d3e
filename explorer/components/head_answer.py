"""The Head page's answer and numbers: does this head switch this neuron on?"""

from __future__ import annotations

from functools import partial

from explorer.charts.glossary import define
from explorer.charts.style import number, signed
from explorer.components.chips import token_chip
from explorer.components.link_check import spans
from explorer.components.metrics import Metric
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from explorer.core.verdict import Verdict
from explorer.resources.head_removals import QUANTITIES, Removals
from explorer.resources.head_words import PairScore
from explorer.resources.neuron_tables import NeuronTables


def _loses(share: float) -> str:
    """A share of the pre-activation that a removal takes, in words; negative: it gives."""
    shown = f"{abs(100 * share):.0f} %"
    return f"gains {shown}" if share < 0 and shown != "0 %" else f"loses {shown}"


def _tested(found: Verdict, token: str) -> str:
    """The answer that the removal gives, with what it rests on."""
    lead = {"yes": "Yes", "no": "No", "hardly": "Hardly"}[found.answer]
    if found.everywhere:
        lead = "Hardly more where it is active"
    elsewhere = ""
    if found.lost_inactive is not None:
        joined = "but also" if found.everywhere else "and"
        unit = "other" if found.n_inactive == 1 else "others"
        elsewhere = f", {joined} {_loses(found.lost_inactive)} in the {found.n_inactive} {unit}"
    n = found.n_active
    where = f"in the {n} prompt{'' if n == 1 else 's'} where it is active"
    return (
        f"<b>{lead}</b>: without it, the {token_chip(token)} neuron {_loses(found.lost_active)} of its "
        f"pre-activation {where}{elsewhere} (medians, train and test)."
    )


def _untested(tables: NeuronTables, head: HeadId) -> str:
    """How often it adds to the neuron, and that no removal has tested whether it matters."""
    row = tables.activity_of(head)
    if row is None or not row["n_prompts"]:
        return f"No {tables.split} prompt is kept for this neuron."
    mean = tables.contribution_when_active(head)
    n, split = int(row["n_prompts"]), tables.split
    if mean is None:
        return f"It is active in none of the {n} {split} prompts; not tested."
    verb = "adds to" if mean >= 0 else "takes from"
    return (
        f"It {verb} the {token_chip(tables.token)} neuron directly, {signed(mean)} on average in the "
        f"{int(row['n_active'])} of {n} {split} prompts where it is active; not tested: the model was "
        "not re-run without it."
    )


def answer(
    store: Store,
    tables: NeuronTables | None,
    removed: Removals | None,
    neuron: NeuronId,
    head: HeadId,
) -> str:
    """The sentence under the page's question, HTML with texts escaped."""
    n_layers = store.shape.n_reaching_layers(neuron.layer)
    if head.layer >= n_layers:
        layers = spans(list(range(n_layers))) or "none"
        return f"It cannot: only heads of layers {layers} write to the input of {neuron.label}."
    if tables is None:
        return f"No prompts are stored for {neuron.label}: it is not studied in this run."
    found = None if removed is None else removed.verdict
    return _untested(tables, head) if found is None else _tested(found, tables.token)


def _score_metric(score: PairScore | None, meaning: str) -> Metric:
    if score is None:
        return Metric("Score", "–", "no explanation", meaning)
    if score.score is None:
        return Metric("Score", "–", "one class only", meaning)
    right = f"{score.tp + score.tn} of {score.n_verdicts} right"
    return Metric("Score", number(score.score), right, meaning)


def pair_numbers(
    store: Store,
    tables: NeuronTables,
    head: HeadId,
    score: PairScore | None,
    removed: Removals | None,
    kind: str,
) -> list[Metric]:
    """Score, contribution when active, and what the removal of this `kind` does."""
    define_ = partial(define, manifest=store.manifest)
    mean = tables.contribution_when_active(head)
    quantity = QUANTITIES["activation"]
    change = None if removed is None else removed.median_when_active(kind, quantity)
    of = "not tested" if removed is None else "activation, median"
    return [
        _score_metric(score, define_("Score")),
        Metric(
            "Contribution when active",
            "–" if mean is None else signed(mean),
            "" if mean is None else "mean",
            define_("Contribution") + " " + define_("Active"),
        ),
        Metric(
            "Removing it",
            "–" if change is None else quantity.shown(change),
            of,
            define_("Removing it") + " " + define_("Switches on"),
        ),
    ]
