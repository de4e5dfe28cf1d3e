"""What the Neuron and Head pages show of one neuron: stored rows joined and put into words' places.

Pure functions of a store; Streamlit and the model are not needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from statistics import median
from typing import Any

import pandas as pd

from explorer.charts.style import signed_limit
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

    @cached_property
    def shares(self) -> pd.DataFrame:
        """In what share of the prompts each head is active: `head share n_active n_prompts studied`."""
        columns = ("share", "n_active", "n_prompts", "studied")
        return pd.DataFrame(
            {"head": self.activity["label"]} | {name: self.activity[name] for name in columns}
        )

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
        names = ("n_kept", "n_whole", "probability")
        return {name: median(self.prompts[name].astype(float).tolist()) for name in names}

    @property
    def peak_activation(self) -> float | None:
        """The highest activation of the kept prompts, whole; None without any."""
        return max(self.prompts["activation"].astype(float).tolist(), default=None)

    @property
    def n_first_choice(self) -> int:
        """Prompts after which the neuron's token is the model's most probable one."""
        return self.prompts["token_rank"].tolist().count(1)

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
    """A token's studied neuron of highest congruence; else, of the neurons with a studied head, the
    one whose token the model itself finds likeliest after its prompts: something to follow."""
    rows = store.studied_neurons()
    if rows.empty:
        return None
    token_id = None if token is None else store.token_id(token)
    pairs = store.pairs()
    followed = pairs.loc[pairs["studied"], ["layer", "neuron"]].drop_duplicates()
    candidates = (
        rows.query("token_id == @wanted", local_dict={"wanted": token_id}),
        rows.query("kind != 'random'").merge(followed, on=["layer", "neuron"]),
        rows,
    )
    place = next(i for i, frame in enumerate(candidates) if not frame.empty)
    likely = candidates[place].merge(store.mean_probabilities(), on=["layer", "neuron"], how="left")
    order = ["probability", "congruence"] if place == 1 else ["congruence"]
    best = likely.sort_values(by=order, ascending=False, kind="stable").to_dict("records")[0]
    return NeuronId(int(best["layer"]), int(best["neuron"]))


def top_head(store: Store, neuron: NeuronId) -> HeadId | None:
    """The head a neuron's page leads to: studied first, then by share active; None without any."""
    first = store.head_activity(neuron, "train").head(1)
    if first.empty:
        return None
    return HeadId(int(first["head_layer"].iloc[0]), int(first["head"].iloc[0]))


@lru_cache(maxsize=256)
def studied_row(store: Store, neuron: NeuronId) -> dict[str, Any] | None:
    """A neuron's row of the studied neurons, None where it is not studied."""
    studied = store.studied_neurons()
    found = studied[(studied["layer"] == neuron.layer) & (studied["neuron"] == neuron.index)]
    return None if found.empty else {str(k): v for k, v in found.iloc[0].items()}


@lru_cache(maxsize=32)
def neuron_tables(store: Store, neuron: NeuronId, split: str) -> NeuronTables | None:
    """All that the pages need of a studied neuron; None where it is not studied. The last ones are
    remembered: a page asks for them at every run."""
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
