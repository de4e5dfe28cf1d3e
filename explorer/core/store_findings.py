"""Run-wide queries of a store: what the findings of a run are computed from. `Store` inherits them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from explorer.core.types import ABLATION_KINDS, ModelShape


def _kind(kind: str) -> str:
    if kind not in ABLATION_KINDS:
        raise ValueError(f"expected a kind of removal of {ABLATION_KINDS}, got {kind[:20]!r}")
    return kind


class FindingsQueries(ABC):
    """The queries; a row of each stands for all neurons of the run, random ones included."""

    shape: ModelShape
    manifest: dict[str, Any]

    @abstractmethod
    def sql(self, query: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> pd.DataFrame:
        """Any query as a data frame; marks are bound to `parameters`."""

    def explainers(self) -> list[str]:
        """Names of the explainers whose scores are stored, the one with the most scores first."""
        found = self.sql(
            "SELECT explainer, count(score) AS n FROM head_scores GROUP BY ALL ORDER BY n DESC, 1"
        )
        return found["explainer"].tolist()

    def main_explainer(self) -> str | None:
        """The run's own explainer where it has scores, else the one with the most; None without any."""
        names, own = self.explainers(), self.manifest.get("explainer")
        return own if own in names else next(iter(names), None)

    def pair_scores(self, explainer: str) -> pd.DataFrame:
        """A row a pair with confusion counts: `layer neuron token_id neuron_kind head_layer head tp fp
        tn fn n_missing score ci_low ci_high other_head shuffle p_value`, the nulls beside the score;
        NULL where there is none."""
        return self.sql(
            """
            SELECT s.layer, s.neuron, n.token_id, n.kind AS neuron_kind, s.head_layer, s.head, s.tp,
                   s.fp, s.tn, s.fn, s.n_missing, s.score, s.ci_low, s.ci_high,
                   any_value(z.score) FILTER (z.null_kind = 'other-head') AS other_head,
                   any_value(z.score) FILTER (z.null_kind = 'shuffle') AS shuffle,
                   any_value(z.p_value) FILTER (z.null_kind = 'shuffle') AS p_value
            FROM head_scores s JOIN studied_neurons n USING (layer, neuron)
                 LEFT JOIN score_nulls z USING (layer, neuron, head_layer, head, explainer)
            WHERE s.explainer = ?
            GROUP BY ALL ORDER BY s.layer, s.neuron, s.head_layer, s.head
            """,
            (explainer,),
        )

    def removals(self, kind: str) -> pd.DataFrame:
        """Each studied pair on each kept prompt, both splits, removed by `kind`: `prompt_id layer
        neuron token_id neuron_kind split head_layer head contribution active delta_pre_activation
        delta_activation delta_probability`. `contribution` is the head's direct one in the unaltered
        run; deltas are ablated minus clean."""
        return self.sql(
            """
            SELECT a.prompt_id, p.layer, p.neuron, n.token_id, n.kind AS neuron_kind, p.split,
                   a.head_layer, a.head, t.heads[a.head_layer * $n_heads + a.head + 1] AS contribution,
                   h.prompt_id IS NOT NULL AS active, a.delta_pre_activation, a.delta_activation,
                   a.delta_probability
            FROM ablations a JOIN prompts p USING (prompt_id)
                 JOIN studied_neurons n USING (layer, neuron)
                 JOIN head_attributions t USING (prompt_id)
                 LEFT JOIN active_heads h USING (prompt_id, head_layer, head)
            WHERE a.kind = $kind ORDER BY a.prompt_id, a.head_layer, a.head
            """,
            {"n_heads": self.shape.n_heads, "kind": _kind(kind)},
        )

    def joint_removals(self, kind: str) -> pd.DataFrame:
        """Each prompt with active heads, all of them removed at once: `prompt_id layer neuron
        n_heads n_alone together alone`. `together` is the change of the pre-activation, ablated minus
        clean; `alone` the sum of the changes when the same heads are removed one by one, of which
        `n_alone` are stored (those that are studied): compare only where that is `n_heads`."""
        return self.sql(
            """
            WITH alone AS (SELECT a.prompt_id, count(*)::INTEGER AS n_alone,
                                  sum(a.delta_pre_activation) AS alone
                           FROM ablations a JOIN active_heads h USING (prompt_id, head_layer, head)
                           WHERE a.kind = $kind GROUP BY ALL)
            SELECT j.prompt_id, p.layer, p.neuron, j.n_heads, coalesce(n_alone, 0) AS n_alone,
                   j.delta_pre_activation AS together, alone
            FROM joint_ablations j JOIN prompts p USING (prompt_id) LEFT JOIN alone USING (prompt_id)
            WHERE j.kind = $kind ORDER BY j.prompt_id
            """,
            {"kind": _kind(kind)},
        )

    def best_neuron_layers(self) -> pd.DataFrame:
        """In which layers the tokens of the vocabulary have their best neuron: `layer n`, every layer
        of the model."""
        return self.sql(
            """
            SELECT l.layer::INTEGER AS layer, count(t.token_id)::INTEGER AS n
            FROM range(?) AS l(layer) LEFT JOIN token_neurons t ON t.layer = l.layer AND t.rank = 1
            GROUP BY ALL ORDER BY layer
            """,
            (self.shape.n_layers,),
        )

    def prompt_probabilities(self) -> pd.DataFrame:
        """Every kept prompt, both splits: `prompt_id layer neuron neuron_kind split probability
        token_rank`, of the neuron's token after the kept text."""
        return self.sql(
            """
            SELECT p.prompt_id, p.layer, p.neuron, n.kind AS neuron_kind, p.split, p.probability,
                   p.token_rank
            FROM prompts p JOIN studied_neurons n USING (layer, neuron) ORDER BY p.prompt_id
            """
        )

    def median_effects(self, kind: str) -> pd.DataFrame:
        """What a pair's neuron loses when the head is removed: `layer neuron head_layer head effect
        n_prompts`, `effect` the median over the neuron's kept prompts, both splits, of the
        pre-activation clean minus ablated; positive: the head pushes the neuron."""
        return self.sql(
            """
            SELECT p.layer, p.neuron, a.head_layer, a.head, median(-a.delta_pre_activation) AS effect,
                   count(*)::INTEGER AS n_prompts
            FROM ablations a JOIN prompts p USING (prompt_id) WHERE a.kind = ?
            GROUP BY ALL ORDER BY ALL
            """,
            (_kind(kind),),
        )
