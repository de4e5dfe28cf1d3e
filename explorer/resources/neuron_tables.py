"""What the Neuron and Head pages show of one neuron: stored rows joined and put into words' places.

Pure functions of a store; Streamlit and the model are not needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from explorer.charts.prompt_strips import Strip
from explorer.charts.style import number, signed, signed_limit
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId

MAX_COLUMNS = 20
"""Heads shown beside the prompts: the studied ones, then by share active."""


@dataclass(frozen=True)
class NeuronTables:
    """One neuron's stored rows in one split."""

    neuron: NeuronId
    split: str
    token_id: int
    token: str
    """Text of the neuron's token."""
    kind: str
    """`next-token`, `requested` or `random`."""
    congruence: float
    prompts: pd.DataFrame
    """By rank, with `whole`, `removed`, `kept` (texts) and `peak` beside the stored columns."""
    activity: pd.DataFrame
    """Heads, studied first, then by share, with `label` (`L5 H3`)."""
    attributions: pd.DataFrame
    """By rank; `heads` flat over the model, `active` the flat indices of active heads."""
    n_heads: int
    texts: Sequence[str]
    """Text of every token id."""

    @property
    def n_prompts(self) -> int:
        return len(self.prompts)

    @cached_property
    def studied(self) -> list[str]:
        """Labels of the heads studied for the neuron."""
        return self.activity.loc[self.activity["studied"], "label"].tolist()

    def columns(self, chosen: HeadId | None, limit: int = MAX_COLUMNS) -> list[str]:
        """The heads to show, in order; a chosen one beyond the limit takes the last place."""
        labels = self.activity["label"].tolist()
        shown = labels[:limit]
        if chosen is not None and chosen.label in labels[limit:]:
            shown[-1] = chosen.label
        return shown

    @cached_property
    def cells(self) -> pd.DataFrame:
        """A row a prompt and reachable head: `rank prompt_id head contribution active`."""
        rows = []
        reachable = [
            (HeadId(int(layer), int(head)).label, int(layer) * self.n_heads + int(head))
            for layer, head in zip(self.activity["head_layer"], self.activity["head"], strict=True)
        ]
        for prompt in self.attributions.to_dict("records"):
            active, heads = set(_list(prompt["active"])), prompt["heads"]
            names = (int(prompt["rank"]), int(prompt["prompt_id"]))
            rows += [(*names, label, float(heads[f]), f in active) for label, f in reachable]
        return pd.DataFrame(rows, columns=["rank", "prompt_id", "head", "contribution", "active"])

    def active_prompts(self, head: HeadId) -> set[int]:
        """Ids of the prompts in which a head is active."""
        flat = head.flat(self.n_heads)
        ids, active = self.attributions["prompt_id"], self.attributions["active"]
        return {int(i) for i, heads in zip(ids, active, strict=True) if flat in _list(heads)}

    def contributions(self, head: HeadId) -> dict[int, float]:
        """A head's contribution to each prompt, by prompt id, in pre-activation units."""
        flat = head.flat(self.n_heads)
        ids, heads = self.attributions["prompt_id"], self.attributions["heads"]
        return {int(i): float(row[flat]) for i, row in zip(ids, heads, strict=True)}

    def contribution_when_active(self, head: HeadId) -> float | None:
        """Mean contribution over the prompts in which the head is active; None without any."""
        values, active = self.contributions(head), self.active_prompts(head)
        return sum(values[i] for i in active) / len(active) if active else None

    @cached_property
    def medians(self) -> dict[str, float]:
        """Medians over the prompts: `n_kept`, `n_whole` (tokens) and `probability`."""
        return {
            name: float(self.prompts[name].median())
            for name in ("n_kept", "n_whole", "probability")
        }

    @property
    def n_first_choice(self) -> int:
        """Prompts after which the neuron's token is the model's most probable one."""
        return int((self.prompts["token_rank"] == 1).sum())

    def activity_of(self, head: HeadId) -> dict[str, Any] | None:
        """A head's row of the activity; None where it cannot reach the neuron."""
        found = self.activity[self.activity["label"] == head.label]
        return None if found.empty else {str(k): v for k, v in found.iloc[0].items()}

    @property
    def top_head(self) -> HeadId | None:
        """The first head in order: studied, then by share active; None where none can reach."""
        return None if self.activity.empty else HeadId.parse(str(self.activity["label"].iloc[0]))

    def prompt(self, prompt_id: int | None) -> dict[str, Any] | None:
        """The chosen prompt's row, else the first; None where there are no prompts."""
        if self.prompts.empty:
            return None
        found = self.prompts.loc[self.prompts["prompt_id"] == prompt_id]
        row = self.prompts.iloc[0] if found.empty else found.iloc[0]
        return {str(name): value for name, value in row.items()}


def _list(value: Any) -> list[int]:
    return [] if value is None else [int(v) for v in value]


def _with_texts(prompts: pd.DataFrame, texts: Sequence[str]) -> pd.DataFrame:
    """Prompts with the text removed and kept, and of the peak token."""
    ids = [[int(i) for i in row] for row in prompts["token_ids"]]
    starts = [int(s) for s in prompts["start"]]
    return prompts.assign(
        removed=["".join(texts[i] for i in row[:s]) for row, s in zip(ids, starts, strict=True)],
        kept=["".join(texts[i] for i in row[s:]) for row, s in zip(ids, starts, strict=True)],
        peak=[texts[row[-1]] if row else "" for row in ids],
        n_whole=[len(row) for row in ids],
        n_kept=[len(row) - s for row, s in zip(ids, starts, strict=True)],
    )


def default_neuron(store: Store, token: str | None) -> NeuronId | None:
    """A token's studied neuron of highest congruence, else the next-token neuron of highest
    congruence among those with a studied head, so that a first visit has something to follow."""
    rows = store.studied_neurons()
    if rows.empty:
        return None
    token_id = None if token is None else store.token_id(token)
    pairs = store.pairs()
    followed = pairs.loc[pairs["studied"], ["layer", "neuron"]].drop_duplicates()
    candidates = (
        rows[rows["token_id"] == token_id],
        rows[rows["kind"] != "random"].merge(followed, on=["layer", "neuron"]),
        rows,
    )
    mine = next(frame for frame in candidates if not frame.empty)
    best = mine.sort_values("congruence", ascending=False, kind="stable").iloc[0]
    return NeuronId(int(best["layer"]), int(best["neuron"]))


def top_head(store: Store, neuron: NeuronId) -> HeadId | None:
    """The head a neuron's page leads to: studied first, then by share active; None without any."""
    first = store.head_activity(neuron, "train").head(1)
    if first.empty:
        return None
    return HeadId(int(first["head_layer"].iloc[0]), int(first["head"].iloc[0]))


def studied_row(store: Store, neuron: NeuronId) -> dict[str, Any] | None:
    """A neuron's row of the studied neurons, None where it is not studied."""
    studied = store.studied_neurons()
    found = studied[(studied["layer"] == neuron.layer) & (studied["neuron"] == neuron.index)]
    return None if found.empty else {str(k): v for k, v in found.iloc[0].items()}


def neuron_tables(store: Store, neuron: NeuronId, split: str) -> NeuronTables | None:
    """All that the pages need of a studied neuron; None where it is not studied."""
    row = studied_row(store, neuron)
    if row is None:
        return None
    texts = store.token_texts
    # The order of heads is that of the train split, so that columns stay when the split changes.
    train = store.head_activity(neuron, "train")
    activity = train if split == "train" else _in_order(store.head_activity(neuron, split), train)
    pairs = zip(activity["head_layer"], activity["head"], strict=True)
    return NeuronTables(
        neuron=neuron,
        split=split,
        token_id=int(row["token_id"]),
        token=texts[int(row["token_id"])],
        kind=str(row["kind"]),
        congruence=float(row["congruence"]),
        prompts=_with_texts(store.prompts(neuron, split), texts),
        activity=activity.assign(label=[HeadId(int(a), int(b)).label for a, b in pairs]),
        attributions=store.attributions(neuron, split),
        n_heads=store.shape.n_heads,
        texts=texts,
    )


def _in_order(activity: pd.DataFrame, order: pd.DataFrame) -> pd.DataFrame:
    keys = ["head_layer", "head"]
    return order[keys].merge(activity, on=keys, how="left")


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
    tables: NeuronTables, head: HeadId, weights: dict[int, Sequence[float]], active: bool
) -> list[Strip]:
    """The prompts in which a head is active, or is not: tint is its attention from the peak token,
    right of it the head's contribution. Without stored weights the tokens stay plain."""
    chosen = tables.active_prompts(head)
    contributions = tables.contributions(head)
    strips = []
    for p in tables.prompts.to_dict("records"):
        prompt_id = int(p["prompt_id"])
        if (prompt_id in chosen) != active:
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


def prompt_limit(store: Store, neuron: NeuronId, columns: Sequence[str]) -> float:
    """Half the width of the signed scale for the heads shown, the same for both splits."""
    n_heads = store.shape.n_heads
    flats = [HeadId.parse(label).flat(n_heads) for label in columns]
    values: list[float] = []
    for split in ("train", "test"):
        for heads in store.attributions(neuron, split)["heads"]:
            values += [float(heads[flat]) for flat in flats]
    return signed_limit(values)


def truncation_of(store: Store, prompt: dict[str, Any]) -> pd.DataFrame:
    """A prompt's curve: `tokens_kept activation`, most tokens first."""
    curve = store.truncation_curve(int(prompt["prompt_id"]))
    kept = int(prompt["n_whole"]) - curve["start"].astype(int)
    return pd.DataFrame({"tokens_kept": kept, "activation": curve["activation"].astype(float)})


def congruent_tokens_of(store: Store, neuron: NeuronId, limit: int = 10) -> pd.DataFrame:
    """A neuron's best tokens: `rank token_id text congruence`."""
    rows = store.neuron_tokens(neuron, limit)
    texts = [store.token_texts[int(token_id)] for token_id in rows["token_id"]]
    return rows.assign(text=texts, congruence=rows["congruence"].astype(float))
