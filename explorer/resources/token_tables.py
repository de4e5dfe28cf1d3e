"""What the Tokens page shows of one token: stored rows joined and named.

Pure functions of a store; Streamlit and the model are not needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import pandas as pd

from explorer.core.store import Store
from explorer.core.types import NEWLINE_MARK, TAB_MARK, HeadId, NeuronId, visible

N_FIRST_TOKENS = 4
"""Good first tokens on offer."""
MAX_MATCHES = 100
"""Matches of a search that are counted."""
N_PAIRS = 8
"""Pairs of head and neuron drawn as lollipops, those not studied included."""
N_NOT_STUDIED = 2


@dataclass(frozen=True)
class TokenTables:
    """A token's best neurons and the heads of those that are studied."""

    token_id: int
    neurons: pd.DataFrame
    """By rank: `rank layer neuron congruence kind` (missing: not studied) and `writes` (texts)."""
    heads: pd.DataFrame
    """A row a studied neuron of these and a head that can reach it, on the train prompts: `rank layer
    neuron head_layer head n_active n_prompts share mean_attribution studied score`; studied pairs
    first, then by score (missing last), by share, by mean contribution."""

    @cached_property
    def ids(self) -> list[NeuronId]:
        """The neurons, by rank."""
        return [
            NeuronId(int(layer), int(index))
            for layer, index in zip(self.neurons["layer"], self.neurons["neuron"], strict=True)
        ]

    def place(self, neuron: NeuronId | None) -> int:
        """The row of a neuron, from 0; -1 where it is none of these."""
        return next((row for row, found in enumerate(self.ids) if found == neuron), -1)

    @cached_property
    def best_heads(self) -> pd.DataFrame:
        """One row a neuron that has studied heads: the one with the highest score; without scores, or
        on ties, with the highest share active, then mean contribution."""
        first = ~self.heads.duplicated(["layer", "neuron"])  # studied ones come first
        return self.heads.loc[first & self.heads["studied"]]

    @cached_property
    def table(self) -> pd.DataFrame:
        """The page's table: a row a neuron, missing what is not stored."""
        rows = self.neurons.merge(
            self.best_heads[["layer", "neuron", "head_layer", "head", "share", "score"]],
            on=["layer", "neuron"], how="left",
        )  # fmt: skip
        return pd.DataFrame(
            {
                "rank": rows["rank"],
                "neuron": [neuron.label for neuron in self.ids],
                "congruence": rows["congruence"].astype(float),
                "tokens": rows["writes"],
                "best head": [
                    None if pd.isna(layer) else HeadId(int(layer), int(head)).label
                    for layer, head in zip(rows["head_layer"], rows["head"], strict=True)
                ],
                "share active": rows["share"].astype(float),
                "score": rows["score"].astype(float),
                "studied": rows["kind"].notna(),
            }
        )

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """The pairs worth a lollipop: studied ones by score, then the most active of the others."""
        studied = self.heads[self.heads["studied"]]
        others = self.heads[~self.heads["studied"] & (self.heads["share"] > 0)]
        n_others = min(len(others), max(N_NOT_STUDIED, N_PAIRS - len(studied)))
        rows = pd.concat([studied.head(N_PAIRS - n_others), others.head(n_others)])
        heads = [
            HeadId(int(a), int(b)).label
            for a, b in zip(rows["head_layer"], rows["head"], strict=True)
        ]
        neurons = [
            NeuronId(int(a), int(b)) for a, b in zip(rows["layer"], rows["neuron"], strict=True)
        ]
        columns = ["n_active", "n_prompts", "share", "mean_attribution", "studied", "score"]
        names = {"head": heads, "neuron": [n.label for n in neurons], "neuron_id": list(map(str, neurons)),
                 "head_id": [label.replace(" ", "") for label in heads]}  # fmt: skip
        return pd.DataFrame(names).join(rows.loc[:, columns].reset_index(drop=True))


@lru_cache(maxsize=64)
def token_tables(store: Store, token_id: int) -> TokenTables:
    """The tables of one token of a run; the last ones are remembered."""
    texts = store.token_texts
    neurons = store.token_neurons(token_id)
    neurons["writes"] = [[visible(texts[int(i)]) for i in ids] for ids in neurons["writes"]]
    heads = neurons[["rank", "layer", "neuron"]].merge(store.pairs("train"), on=["layer", "neuron"])
    keys = ["layer", "neuron", "head_layer", "head"]
    scores = store.pair_scores(store.main_explainer() or "")[[*keys, "score"]]
    heads = heads.merge(scores, on=keys, how="left").astype({"score": float})
    order = ["studied", "score", "share", "mean_attribution"]
    heads = heads.sort_values(order, ascending=False, kind="stable").reset_index(drop=True)
    return TokenTables(token_id, neurons, heads)


def search(store: Store, typed: str) -> list[str]:
    """Texts of up to `MAX_MATCHES` tokens that match what was typed, best first, each once."""
    query = typed.replace(NEWLINE_MARK, "\n").replace(TAB_MARK, "\t")
    return list(dict.fromkeys(store.find_tokens(query, MAX_MATCHES)["text"])) if query else []


@lru_cache(maxsize=8)
def first_tokens(store: Store) -> tuple[str, ...]:
    """Good tokens to begin with: those that the run was asked for, in that order, then those of the
    next-token neurons with a studied head, by the probability that the model gives the token."""
    asked = [
        text for text in store.manifest.get("tokens") or [] if store.token_id(text) is not None
    ]
    pairs = store.pairs("train")
    with_head = pairs.loc[pairs["studied"], ["layer", "neuron"]].drop_duplicates()
    found = store.studied_neurons().query("kind == 'next-token'").merge(with_head)
    found = found.merge(store.mean_probabilities()).sort_values("probability", ascending=False)
    texts = [store.token_texts[int(token_id)] for token_id in found["token_id"]]
    return tuple(dict.fromkeys([*asked, *texts]))[:N_FIRST_TOKENS]


def best_neuron(store: Store, token: str) -> NeuronId | None:
    """The neuron of the run with the highest congruence with a token."""
    token_id = store.token_id(token)
    neurons = None if token_id is None else store.token_neurons(token_id).head(1)
    if neurons is None or neurons.empty:
        return None
    return NeuronId(int(neurons["layer"].iloc[0]), int(neurons["neuron"].iloc[0]))


def default_token(store: Store) -> str | None:
    """The token of a first visit: the first good one, else the vocabulary's first that has text."""
    words = first_tokens(store)
    return words[0] if words else next((text for text in store.token_texts if text), None)
