"""What Live shows: one prompt with its own numbers, from the store or from the model.

Every figure of the page is drawn from one `LiveValue`, which carries the prompt it belongs to, so
that no number can stand under another prompt. What is read of a store is remembered, since a page
asks for it at every keystroke. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import numpy as np
import pandas as pd

from explorer.charts.next_tokens import NextRow
from explorer.charts.style import round_up_125, signed_limit
from explorer.core.store import Store
from explorer.core.truncation import reaches
from explorer.core.types import NEWLINE_MARK, TAB_MARK, HeadId, NeuronId
from explorer.resources.neuron_tables import default_neuron


@dataclass(frozen=True)
class LiveRequest:
    """What to analyse: one neuron at one position of one prompt."""

    text: str
    """The prompt as a person reads it; what the figures are labelled with."""
    token_ids: tuple[int, ...] | None
    """The stored tokens of an unedited prompt; None for a typed text, which is then encoded."""
    neuron: NeuronId
    token_id: int
    """The neuron's token."""
    pos: int | None
    """Position in the prompt, 0 for its first token; None is the last one."""


@dataclass(frozen=True)
class LiveValue:
    """One neuron at one position of one prompt. Contributions are in pre-activation units."""

    text: str
    """The prompt that these numbers belong to."""
    token_ids: tuple[int, ...]
    """The tokens used, BOS not among them."""
    tokens: tuple[str, ...]
    """Their texts."""
    n_cut: int
    """Tokens cut from the left because the context is shorter than the prompt."""
    neuron: NeuronId
    token: str
    """Text of the neuron's token."""
    position: int
    """Index into `token_ids` of the position studied."""
    activations: tuple[float, ...]
    """Post-activation of the neuron at each token."""
    heads: np.ndarray
    """Layer x head; 0 where a head cannot reach."""
    n_reaching_layers: int
    mlps: np.ndarray
    embedding: float
    bias: float
    pre_activation: float
    activation: float
    active: frozenset[HeadId]
    next_tokens: tuple[NextRow, ...]
    """The most probable next tokens; empty for stored values, which hold the neuron's token alone."""
    target: NextRow
    """The neuron's token."""
    ln_scale: float
    """Observed divisor of the layer norm that the neuron reads through."""
    attention: np.ndarray | None = None
    """Layer x head x (start token and tokens up to the position); None where it is not known."""
    probabilities: np.ndarray | None = None
    """Of every token to come next, by token id; None for stored values."""

    def __post_init__(self) -> None:
        if len(self.activations) != len(self.tokens) or not 0 <= self.position < len(self.tokens):
            raise ValueError(
                f"expected an activation a token and a position among {len(self.tokens)}, "
                f"got {len(self.activations)} and {self.position}"
            )

    @property
    def token_here(self) -> str:
        """Text of the token at the position studied."""
        return self.tokens[self.position]


@dataclass(frozen=True)
class LiveCurve:
    """Activation at the position studied against how many tokens before it (and it) are kept."""

    text: str
    points: pd.DataFrame
    """`tokens_kept activation`, ascending; the last row is the whole prompt."""
    whole_activation: float
    kept: int | None
    keep_ratio: float


@dataclass(frozen=True)
class StoredPrompt:
    """A kept prompt of the store, as Live opens with it."""

    prompt_id: int
    neuron: NeuronId
    token_ids: tuple[int, ...]
    """The kept tokens alone: the stored attribution is that of the truncated prompt."""
    text: str
    row: dict[str, Any]
    """All columns of the stored prompt."""


def to_field(text: str) -> str:
    """A prompt for a one-line field: line breaks and tabs as the marks that stand for them."""
    return text.replace("\n", NEWLINE_MARK).replace("\t", TAB_MARK)


def from_field(typed: str) -> str:
    """A typed prompt: the marks `↵` and `⇥` mean a line break and a tab."""
    return typed.replace(NEWLINE_MARK, "\n").replace(TAB_MARK, "\t")


@lru_cache(maxsize=512)
def token_of(store: Store, neuron: NeuronId) -> int:
    """The neuron's token: the studied one, else its best."""
    studied = store.studied_neurons()
    mine = studied[(studied["layer"] == neuron.layer) & (studied["neuron"] == neuron.index)]
    ids = (mine if len(mine) else store.neuron_tokens(neuron, 1))["token_id"].tolist()
    return int(ids[0]) if ids else 0


@lru_cache(maxsize=8)
def _studied_names(store: Store) -> tuple[tuple[str, str], ...]:
    studied = store.studied_neurons()
    texts = store.token_texts
    order = studied.assign(last=studied["kind"] == "random").sort_values(
        ["last", "layer", "neuron"], kind="stable"
    )
    names: dict[str, str] = {}
    for layer, index, token in zip(order["layer"], order["neuron"], order["token_id"], strict=True):
        neuron = NeuronId(int(layer), int(index))
        names[str(neuron)] = f"{neuron.label} {to_field(texts[int(token)]).replace(' ', '␣')}"
    return tuple(names.items())


def neuron_names(store: Store) -> dict[str, str]:
    """All studied neurons for the picker, `L5N231` to `L5 N231 ␣come`, random ones last."""
    return dict(_studied_names(store))


def _where(rows: pd.DataFrame, column: str, wanted: Collection[int]) -> pd.DataFrame:
    return cast(pd.DataFrame, rows[rows[column].isin(list(wanted))])


def _first(rows: pd.DataFrame) -> dict[str, Any]:
    return {str(name): value for name, value in rows.iloc[0].items()}


@lru_cache(maxsize=256)
def stored_prompt(store: Store, neuron: NeuronId, prompt_id: int | None) -> StoredPrompt | None:
    """The prompt of that id, whosever it is; without an id the neuron's first one, if it has any."""
    if prompt_id is not None:
        rows = store.sql("SELECT * FROM prompts WHERE prompt_id = ?", (prompt_id,))
    else:
        rows = store.prompts(neuron, "train").head(1)
        rows = store.prompts(neuron, "test").head(1) if rows.empty else rows
    if rows.empty:
        return None
    row = _first(rows)
    ids = tuple(int(i) for i in row["token_ids"][int(row["start"]) :])
    texts = store.token_texts
    return StoredPrompt(
        prompt_id=int(row["prompt_id"]),
        neuron=NeuronId(int(row["layer"]), int(row["neuron"])),
        token_ids=ids,
        text="".join(texts[i] for i in ids),
        row=row,
    )


def first_prompt(store: Store, neuron: NeuronId, token: str | None) -> StoredPrompt | None:
    """What to show of a neuron first: a prompt of its own, else one of the token's best neuron."""
    own = stored_prompt(store, neuron, None)
    if own is not None:
        return own
    other = default_neuron(store, token)
    return None if other is None else stored_prompt(store, other, None)


def stored_value(store: Store, prompt: StoredPrompt, token_id: int) -> LiveValue | None:
    """The stored numbers of a stored prompt, at its last token."""
    split = str(prompt.row["split"])
    parts = _where(store.attributions(prompt.neuron, split), "prompt_id", {prompt.prompt_id})
    if parts.empty:
        return None
    part, shape = _first(parts), store.shape
    texts = store.token_texts
    target = NextRow(
        texts[token_id], float(prompt.row["probability"]), int(prompt.row["token_rank"])
    )
    return LiveValue(
        text=prompt.text,
        token_ids=prompt.token_ids,
        tokens=tuple(texts[i] for i in prompt.token_ids),
        n_cut=0,
        neuron=prompt.neuron,
        token=texts[token_id],
        position=len(prompt.token_ids) - 1,
        activations=tuple(float(a) for a in prompt.row["kept_activations"]),
        heads=np.asarray(part["heads"], dtype=np.float64).reshape(shape.n_layers, shape.n_heads),
        n_reaching_layers=shape.n_reaching_layers(prompt.neuron.layer),
        mlps=np.asarray(part["mlps"], dtype=np.float64),
        embedding=float(part["embedding"]),
        bias=float(part["bias"]),
        pre_activation=float(part["pre_activation"]),
        activation=float(prompt.row["truncated_activation"]),
        active=frozenset(HeadId.from_flat(int(i), shape.n_heads) for i in part["active"]),
        next_tokens=(),
        target=target,
        ln_scale=float(part["ln_scale"]),
    )


def stored_curve(store: Store, prompt: StoredPrompt) -> LiveCurve:
    """The curve of the kept prompt: its own suffixes, all of which the store holds."""
    ratio = float(store.manifest["keep_ratio"])
    n_tokens, n_kept = len(prompt.row["token_ids"]), len(prompt.token_ids)
    curve = store.truncation_curve(prompt.prompt_id)
    points = pd.DataFrame(
        {"tokens_kept": n_tokens - curve["start"].astype(int), "activation": curve["activation"]}
    )
    points = _where(points, "tokens_kept", range(1, n_kept + 1)).sort_values(
        by="tokens_kept", ignore_index=True
    )
    whole = float(prompt.row["truncated_activation"])
    enough = [
        int(n)
        for n, a in zip(points["tokens_kept"], points["activation"], strict=True)
        if reaches(float(a), whole, ratio)
    ]
    return LiveCurve(prompt.text, points, whole, min(enough, default=None), ratio)


@dataclass(frozen=True)
class LiveScales:
    """Fixed ends of the two colour scales: an edit never rescales them."""

    heads: float
    """Half the width of the signed scale, in pre-activation units."""
    activation: float


def scales_for(values: Sequence[np.ndarray], activations: Sequence[float]) -> LiveScales:
    """Scales that hold all these values: heads by their 98th percentile, activations by the most."""
    heads = signed_limit(float(v) for heads in values for v in heads.ravel() if v != 0)
    return LiveScales(heads, round_up_125(max([1.0, *activations])))


@lru_cache(maxsize=64)
def stored_scales(store: Store, neuron: NeuronId) -> LiveScales | None:
    """The scales of a neuron's stored prompts, both splits; None where there are none."""
    heads: list[Any] = []
    peaks: list[float] = []
    for split in ("train", "test"):
        heads += [np.asarray(row) for row in store.attributions(neuron, split)["heads"]]
        peaks += [float(a) for a in store.prompts(neuron, split)["activation"]]
    return scales_for(heads, peaks) if heads else None


def moved(old_ids: Sequence[int], new_ids: Sequence[int], index: int) -> int | None:
    """Where the chosen position goes when the prompt is edited; None is the last token.

    An edit after it draws it to the new end; one before it leaves it as far from the end as it was.
    """
    if tuple(old_ids[: index + 1]) == tuple(new_ids[: index + 1]):
        return None
    from_end = len(old_ids) - 1 - index
    place = len(new_ids) - 1 - from_end
    return place if from_end > 0 and place >= 0 else None
