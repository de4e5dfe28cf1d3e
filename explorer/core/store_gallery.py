"""The query behind the gallery: pairs whose words and whose removal say the same. `Store` inherits it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd


class GalleryQueries(ABC):
    """What `Store` answers about all pairs that were both explained and removed."""

    @abstractmethod
    def sql(
        self, query: str, parameters: Sequence[Any] | Mapping[str, Any] = ()
    ) -> pd.DataFrame: ...

    def told_and_removed(self, explainer: str, kind: str = "zero-last") -> pd.DataFrame:
        """Every pair with a score, random neurons left out, best score first: `layer neuron token_id
        head_layer head text n_right n_test score p_value lost_active lost_inactive n_active
        n_inactive`.

        `n_right` of `n_test` verdicts were right; `p_value` is that of the `shuffle` null. `lost_active`,
        `lost_inactive`: medians of the pre-activation lost when the head is removed (clean minus
        ablated), over the neuron's kept prompts, both splits, in which it is active and in which it is
        not; NULL without such a prompt. Equal scores: the larger difference of the two first.
        """
        return self.sql(
            """
            WITH lost AS (
                SELECT p.layer, p.neuron, a.head_layer, a.head,
                       median(-a.delta_pre_activation) FILTER (x.prompt_id IS NOT NULL) AS lost_active,
                       median(-a.delta_pre_activation) FILTER (x.prompt_id IS NULL) AS lost_inactive,
                       count(x.prompt_id)::INTEGER AS n_active,
                       (count(*) - count(x.prompt_id))::INTEGER AS n_inactive
                FROM ablations a JOIN prompts p USING (prompt_id)
                     LEFT JOIN active_heads x USING (prompt_id, head_layer, head)
                WHERE a.kind = $kind GROUP BY ALL)
            SELECT s.layer, s.neuron, n.token_id, s.head_layer, s.head, e.text,
                   s.tp + s.tn AS n_right, s.tp + s.tn + s.fp + s.fn AS n_test, s.score, z.p_value,
                   l.lost_active, l.lost_inactive, l.n_active, l.n_inactive
            FROM head_scores s
                 JOIN studied_neurons n USING (layer, neuron)
                 JOIN explanations e USING (layer, neuron, head_layer, head, explainer)
                 JOIN score_nulls z USING (layer, neuron, head_layer, head, explainer)
                 JOIN lost l USING (layer, neuron, head_layer, head)
            WHERE s.explainer = $explainer AND z.null_kind = 'shuffle' AND n.kind <> 'random'
                  AND s.score IS NOT NULL
            ORDER BY s.score DESC, l.lost_active - l.lost_inactive DESC NULLS LAST,
                     s.layer, s.neuron, s.head_layer, s.head
            """,
            {"explainer": explainer, "kind": kind},
        )
