"""A neuron's prompts as rows: strips with activations or with one head's attention, and a table."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pandas as pd

from explorer.charts.prompt_strips import Strip
from explorer.charts.style import number, signed
from explorer.core.types import HeadId
from explorer.resources.neuron_tables import NeuronTables


def _kept_tokens(tables: NeuronTables, prompt: dict[Any, Any]) -> tuple[str, ...]:
    return tuple(tables.texts[int(i)] for i in prompt["token_ids"][int(prompt["start"]) :])


def strips_of(tables: NeuronTables, limit: int | None = None) -> list[Strip]:
    """The prompts as strips: tint is the activation in the truncated run; right of it the whole
    prompt's activation, P(token) and the token's rank."""
    shown = tables.prompts if limit is None else tables.prompts.head(limit)
    return [
        Strip(
            prompt_id=int(p["prompt_id"]),
            rank=int(p["rank"]),
            removed=p["removed"],
            tokens=_kept_tokens(tables, p),
            values=tuple(float(v) for v in p["kept_activations"]),
            numbers=(
                number(float(p["activation"])),
                f"{100 * float(p['probability']):.1f} %",
                f"{int(p['token_rank']):,}",
            ),
        )
        for p in shown.to_dict("records")
    ]


def attention_strips(
    tables: NeuronTables,
    head: HeadId,
    weights: dict[int, Sequence[float]],
    active: bool,
    right: Mapping[int, bool] | None = None,
    only: Collection[int] | None = None,
) -> list[Strip]:
    """The prompts in which a head is active, or is not: tint is its attention from the peak token,
    right of it the head's contribution. Without stored weights the tokens stay plain. `right` says
    of some prompts whether the explanation was right; `only` names the prompts to show."""
    chosen = tables.active_prompts(head)
    contributions = tables.contributions(head)
    strips = []
    for p in tables.prompts.to_dict("records"):
        prompt_id = int(p["prompt_id"])
        if (prompt_id in chosen) != active or (only is not None and prompt_id not in only):
            continue
        row = weights.get(prompt_id)
        strips.append(
            Strip(
                prompt_id=prompt_id,
                rank=int(p["rank"]),
                removed=p["removed"],
                tokens=_kept_tokens(tables, p),
                values=None if row is None else tuple(float(w) for w in row[1:]),
                start_share=None if row is None else float(row[0]),
                numbers=(signed(contributions[prompt_id]),),
                right=None if right is None else right.get(prompt_id),
            )
        )
    return strips


def prompt_table_data(tables: NeuronTables) -> pd.DataFrame:
    """The prompts as a person takes them away: texts, activations, P(token), rank."""
    p = tables.prompts
    return pd.DataFrame(
        {
            "prompt": p["rank"],
            "prompt_id": p["prompt_id"],
            "split": p["split"],
            "document": p["doc_id"],
            "removed text": p["removed"],
            "kept text": p["kept"],
            "peak token": p["peak"],
            "tokens in prompt": p["n_whole"],
            "tokens kept": p["n_kept"],
            "activation, whole prompt": p["activation"],
            "activation, kept text": p["truncated_activation"],
            "probability of the neuron's token": p["probability"],
            "rank of the neuron's token": p["token_rank"],
        }
    )
