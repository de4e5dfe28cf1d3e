"""The figures of one pair of neuron and head, as the Head page, a notebook and a file to send show
them.

Pure functions of a store; Streamlit and the model are not needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pandas as pd

from explorer.charts.confusion_dots import confusion_dots
from explorer.charts.figure import Figure
from explorer.charts.glossary import define
from explorer.charts.lollipops import served_neurons
from explorer.charts.prompt_strips import StripColumns
from explorer.charts.removal_strips import removal_strips
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from explorer.resources.head_removals import QUANTITIES, Quantity, Removals
from explorer.resources.head_tables import attention_limit, shown_neurons
from explorer.resources.head_words import Explained, PairScore

LOOKS_TITLE = "Where it looks"
REMOVAL_TITLE = "What happens when it is removed"
ONE_CLASS = "Test prompts held only one class; no score exists."
_KINDS_HELP = (
    "zero: the head's output is 0; mean: it is its mean over other neurons' prompts. last: at the last "
    "position; all: at all positions."
)


def served_figure(
    store: Store, served: pd.DataFrame, neuron: NeuronId, head: HeadId, split: str
) -> Figure:
    """The neurons that a head serves (`served_neurons_of`); the row of `neuron` is outlined."""
    shown = shown_neurons(served, neuron)
    more = len(served) - len(shown)
    return Figure(
        "Neurons it serves",
        partial(served_neurons, shown, neuron=str(neuron)),
        served.drop(columns=["neuron"]),
        help=" ".join(
            define(name, store.manifest) for name in ("Share active", "Studied", "Score")
        ),
        caption=f"Share of each neuron's {split} prompts in which this head is active. Shaded: 25–75 %; "
        "filled: studied. Number: score." + (f" {more} more in the table." if more else ""),
    )


def dots_figure(store: Store, told: Explained, score: PairScore, prompt: int | None) -> Figure:
    """Whether an explanation holds on new prompts; the chosen `prompt` is ringed."""
    n, missing = score.n_verdicts, score.n_missing
    caption = (
        f"{n} test prompt{'' if n == 1 else 's'}. Filled: the explanation predicted this prompt "
        "correctly. Crossed: it did not."
    )
    if missing:
        caption += f" {missing} more had no verdict."
    return Figure(
        "Does the explanation hold on new prompts?",
        partial(
            confusion_dots, told.verdicts, score=score.score, references=told.references,
            selected=prompt,
        ),
        told.test_data,
        help=define("Score", store.manifest) + " " + define("Nulls", store.manifest),
        caption=caption,
    )  # fmt: skip


# --- where it looks ---------------------------------------------------------------------------


def looks_columns(weights: dict[int, Sequence[float]]) -> StripColumns:
    """What tints and numbers of the strips of attention mean; no tint where none is stored."""
    limit = attention_limit(weights) if weights else 0.0
    return StripColumns(
        "attention", limit=limit, numbers=("adds",), start=bool(weights), removed=False
    )


def looks_caption(stored: bool, marked: bool, cell: str | None = None) -> str:
    """What the strips show; `marked`: whether they say if the explanation was right."""
    if not stored:
        return (
            "Attention is stored where a head is studied for the neuron (active in 25–75 % of train "
            "prompts); this pair is not, so the tokens have no tint. Right: contribution."
        )
    text = "Tint = attention from the peak token (boxed); start = the hidden start token. "
    text += "Right: contribution."
    if marked:
        text += " ✓ ✗ = the explanation was right or wrong about this prompt."
    if cell is not None:
        text += f" Shown: the prompts in the cell “{cell}” alone."
    return text


# --- its removal ------------------------------------------------------------------------------


def removal_help(store: Store) -> str:
    """What removing a head means, and the kinds of it."""
    return (
        define("Removing it", store.manifest) + " All kept prompts, train and test. " + _KINDS_HELP
    )


def removal_figure(
    store: Store, removed: Removals, kind: str, quantity: Quantity, prompt: int | None
) -> Figure:
    """What a kind of removal changes in each prompt; the chosen `prompt` is ringed."""
    of = f"the neuron's {quantity.name}" if quantity.name != "P(token)" else "P(token)"
    unit = ", in percentage points" if quantity.unit else ""
    return Figure(
        REMOVAL_TITLE,
        partial(
            removal_strips,
            removed.of(kind, quantity),
            quantity=quantity.name,
            digits=quantity.digits,
            selected=prompt,
        ),
        removed.data(kind),
        help=removal_help(store),
        caption=f"Change in {of} (removed minus clean{unit}), one mark per prompt.",
    )


def beside_removal(removed: Removals, kind: str, quantity: Quantity) -> str:
    """One line of HTML: what the same prompts lose without all their active heads, or without the
    neuron."""
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
