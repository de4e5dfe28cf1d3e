"""What the Findings page shows of a run: scores with their nulls, depths of best neurons, P(token).

Pure functions of a store; Streamlit and the model are not needed. Neurons that the run chose
(next-token and requested ones) stand against its random ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from explorer.core import findings
from explorer.core.findings import Estimate
from explorer.core.store import Store

HIGH_SCORE = 0.8
LOW_PROBABILITY = 0.1
SIGNIFICANT = 0.05
EDGES = tuple(round(0.1 * i, 1) for i in range(11))
"""Bins of scores and probabilities."""


@dataclass(frozen=True)
class Bins:
    """How values spread over `EDGES`: counts and shares, by bin; empty without values."""

    counts: tuple[int, ...]
    shares: tuple[float, ...]

    @classmethod
    def of(cls, values: np.ndarray) -> Bins:
        if not len(values):
            return cls((), ())
        counts = findings.histogram(values, np.array(EDGES))
        return cls(tuple(map(int, counts)), tuple((counts / len(values)).tolist()))


@dataclass(frozen=True)
class Scores:
    """The scores of one explainer; a row a studied pair that has confusion counts."""

    explainer: str | None
    """None where the run has no score at all."""
    rows: pd.DataFrame
    n_studied: int
    """Studied pairs of the chosen neurons, explained or not."""

    def _column(self, name: str, random: bool) -> np.ndarray:
        """Values of the pairs that have a score."""
        kind, score = self.rows["neuron_kind"], self.rows["score"]
        values = self.rows.loc[((kind == "random") == random) & score.notna(), name]
        return values.dropna().to_numpy(dtype=float)

    @cached_property
    def chosen(self) -> np.ndarray:
        return self._column("score", random=False)

    @cached_property
    def random(self) -> np.ndarray:
        return self._column("score", random=True)

    @cached_property
    def mean(self) -> Estimate | None:
        return findings.mean(self.chosen)

    @cached_property
    def random_mean(self) -> Estimate | None:
        return findings.mean(self.random)

    @cached_property
    def above_random(self) -> Estimate | None:
        """Mean score of the chosen neurons' pairs minus that of the random ones'."""
        return findings.difference(self.chosen, self.random)

    @cached_property
    def high(self) -> Estimate | None:
        """Share of the chosen neurons' scored pairs that reach `HIGH_SCORE`."""
        return findings.mean(findings.at_least(self.chosen, HIGH_SCORE))

    @cached_property
    def nulls(self) -> dict[str, Estimate | None]:
        """Means of the nulls over the same pairs: `other-head`, `shuffle`."""
        return {
            "other-head": findings.mean(self._column("other_head", random=False)),
            "shuffle": findings.mean(self._column("shuffle", random=False)),
        }

    @cached_property
    def beats_shuffles(self) -> Estimate | None:
        """Share of the pairs that at most 5 % of the shuffles equal or beat."""
        return findings.mean(self._column("p_value", random=False) <= SIGNIFICANT)

    @property
    def n_no_score(self) -> int:
        """Pairs of the chosen neurons whose test prompts hold one class alone."""
        mine = self.rows.loc[self.rows["neuron_kind"] != "random", "score"]
        return mine.isna().tolist().count(True)

    @property
    def n_unexplained(self) -> int:
        """Studied pairs of the chosen neurons without an explanation that was tested."""
        return self.n_studied - (self.rows["neuron_kind"] != "random").tolist().count(True)


@dataclass(frozen=True)
class RunFindings:
    """One run."""

    run_id: str
    model: str
    corpus: str
    manifest: dict[str, Any]
    scores: Scores
    depths: pd.DataFrame
    """`layer n depth share`: tokens whose best neuron lies in the layer."""
    studied_depths: tuple[float, float] | None
    """The depths between which neurons were studied, edges of layers."""
    prompts: pd.DataFrame
    """As `Store.prompt_probabilities`."""

    def probabilities(self, random: bool) -> np.ndarray:
        """P(token) after each kept prompt of the chosen neurons, or of the random ones."""
        mine = (self.prompts["neuron_kind"] == "random") == random
        return self.prompts.loc[mine, "probability"].to_numpy(dtype=float)

    @cached_property
    def mean_probability(self) -> Estimate | None:
        """Mean P(token) over the chosen neurons' prompts; the interval resamples neurons."""
        mine = self.prompts.loc[self.prompts["neuron_kind"] != "random"]
        neurons = pd.factorize(pd.MultiIndex.from_frame(mine.loc[:, ["layer", "neuron"]]))[0]
        return findings.mean(mine["probability"].to_numpy(dtype=float), neurons)

    @cached_property
    def low_neurons(self) -> Estimate | None:
        """Share of the chosen neurons whose mean P(token) stays below `LOW_PROBABILITY`."""
        mine = self.prompts.loc[self.prompts["neuron_kind"] != "random"]
        means = mine.groupby(["layer", "neuron"])["probability"].mean().to_numpy(dtype=float)
        return findings.mean(~findings.at_least(means, LOW_PROBABILITY))


def _scores(store: Store) -> Scores:
    explainer = store.main_explainer()
    pairs = store.pairs()
    n_studied = (pairs["studied"] & (pairs["kind"] != "random")).tolist().count(True)
    return Scores(explainer, store.pair_scores(explainer or ""), n_studied)


def run_findings(store: Store, model: str, corpus: str) -> RunFindings:
    """All but the removals of one run."""
    n_layers = store.shape.n_layers
    layers = store.best_neuron_layers()
    total = max(1, sum(layers["n"].tolist()))
    studied = store.studied_neurons()["layer"].tolist()
    return RunFindings(
        run_id=store.run_id,
        model=model,
        corpus=corpus,
        manifest=store.manifest,
        scores=_scores(store),
        depths=layers.assign(
            depth=[findings.depth_of(layer, n_layers) for layer in layers["layer"].tolist()],
            share=layers["n"] / total,
        ),
        studied_depths=(min(studied) / n_layers, (max(studied) + 1) / n_layers)
        if studied
        else None,
        prompts=store.prompt_probabilities(),
    )
