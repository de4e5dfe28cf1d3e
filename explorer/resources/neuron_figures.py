"""The figures of one neuron, as the Neuron page, a notebook and a file to send show them.

Pure functions of a store; Streamlit and the model are not needed.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from explorer.charts.congruent_tokens import congruent_tokens
from explorer.charts.figure import Figure
from explorer.charts.glossary import define, percent
from explorer.charts.prompt_heatmap import prompt_heatmap
from explorer.charts.prompt_strips import StripColumns, strips_html
from explorer.charts.share_bars import share_bars
from explorer.charts.truncation import truncation_chart
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from explorer.resources.neuron_tables import (
    NeuronTables,
    congruent_tokens_of,
    prompt_limit,
    truncation_of,
)
from explorer.resources.prompt_rows import strips_of

STRIPS_TITLE = "Prompts that activate it most"
STRIPS_CAPTION = "Tint = activation at that token. Grey = removed by truncation. Box = peak token."


def prompt_strips(tables: NeuronTables, limit: int | None = None, **how: Any) -> str:
    """The prompts as strips of HTML, escaped; `how` goes to `strips_html`."""
    columns = StripColumns(
        "activation", limit=tables.peak_activation or 0.0, numbers=("act.", "P", "rank")
    )
    label = "Prompts that activate the neuron most"
    return strips_html(strips_of(tables, limit), columns, label=label, **how)


def heads_figure(
    store: Store, tables: NeuronTables, columns: list[str], rank: int, chosen: HeadId | None,
    n_shown: int,
) -> Figure:  # fmt: skip
    """What each head adds, prompt by prompt: the heads in `columns`, the first `n_shown` prompts, the
    prompt of `rank` and the `chosen` head outlined."""
    cells = tables.cells.query("head in @columns and rank <= @n_shown").reset_index(drop=True)
    more = len(tables.activity) - len(columns)
    return Figure(
        "What each head adds, prompt by prompt",
        partial(
            prompt_heatmap,
            cells,
            heads=columns,
            studied=tables.studied,
            limit=prompt_limit(store, tables.neuron, columns),
            rule=define("Active", store.manifest).removeprefix("In this prompt, ").rstrip("."),
            rank=rank,
            head=None if chosen is None else chosen.label,
        ),
        tables.cells.rename(
            columns={"rank": "prompt", "contribution": "contribution (pre-activation)"}
        ),
        help=define("Contribution", store.manifest)
        + " Dot, active: "
        + define("Active", store.manifest),
        caption="Dot = active. Studied heads first, in bold, then by share active"
        + (f"; {more} left out." if more > 0 else "."),
    )


def shares_figure(
    store: Store, tables: NeuronTables, columns: list[str], chosen: HeadId | None
) -> Figure:
    """In what share of the prompts each of the heads in `columns` is active."""
    head = None if chosen is None else chosen.label
    return Figure(
        "In what share of prompts",
        partial(share_bars, tables.shares, heads=columns, head=head),
        tables.shares,
        help=define("Share active", store.manifest) + " " + define("Studied", store.manifest),
        caption="Share of prompts in which the head is active. Filled: studied (25–75 % of train).",
    )


def truncation_figure(store: Store, prompt: dict[str, Any]) -> Figure:
    """The activation of one prompt (a row of `NeuronTables.prompts`) as it is cut."""
    curve = truncation_of(store, prompt)
    ratio = float(store.manifest.get("keep_ratio") or 0.8)
    return Figure(
        f"Truncation of prompt {int(prompt['rank'])}",
        partial(
            truncation_chart,
            curve,
            kept=int(prompt["n_kept"]),
            whole_activation=float(prompt["activation"]),
            keep_ratio=ratio,
        ),
        curve.rename(columns={"tokens_kept": "tokens kept"}),
        help=define("Tokens kept", store.manifest),
        caption="Activation at the peak token as words are removed from the left; ring: the shortest "
        f"ending that keeps {percent(ratio)}.",
    )


def tokens_figure(store: Store, neuron: NeuronId, own: int | None) -> Figure:
    """The tokens that a neuron writes to; `own` is the id of its own token."""
    tokens = congruent_tokens_of(store, neuron)
    return Figure(
        "Tokens it writes to",
        partial(congruent_tokens, tokens, own=own),
        tokens,
        help=define("Congruence", store.manifest),
        caption=f"Congruence with each token, highest {len(tokens)}.",
    )
