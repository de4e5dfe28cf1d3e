"""Queries about one pair of neuron and head: its words, how they were tested, and its removal.

A part of `Store`, kept in a file of its own. Tables of a stage that a run left out are empty, and so
are these answers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from explorer.core.types import HeadId, NeuronId

_PAIR = "layer = ? AND neuron = ? AND head_layer = ? AND head = ?"


def _bound(neuron: NeuronId, head: HeadId) -> tuple[int, int, int, int]:
    return neuron.layer, neuron.index, head.layer, head.index


class ExplanationQueries(ABC):
    """What `Store` answers about explanations and ablations."""

    @abstractmethod
    def sql(
        self, query: str, parameters: Sequence[Any] | Mapping[str, Any] = ()
    ) -> pd.DataFrame: ...

    # --- words ------------------------------------------------------------------------------

    def explanations(self, neuron: NeuronId, head: HeadId) -> pd.DataFrame:
        """A pair's explanations, by explainer: `explainer text rule request reply`; `rule` is NULL
        but for `contrast`."""
        return self.sql(
            "SELECT explainer, text, rule, request, reply FROM explanations "  # noqa: S608
            f"WHERE {_PAIR} ORDER BY explainer",
            _bound(neuron, head),
        )

    def failed_explanations(self, neuron: NeuronId, head: HeadId) -> pd.DataFrame:
        """Explainers that failed to explain a pair, and why: `explainer reason`."""
        return self.sql(
            """
            SELECT split_part(subject, ' ', 1) AS explainer, reason FROM failures
            WHERE stage = 'explanations' AND ends_with(subject, ?) ORDER BY ALL
            """,
            (f" {neuron} {head}",),
        )

    def explanation_counts(self) -> pd.DataFrame:
        """How many pairs each explainer explained in the run: `explainer n`."""
        return self.sql(
            "SELECT explainer, count(*)::INTEGER AS n FROM explanations GROUP BY ALL ORDER BY ALL"
        )

    def classifications(self, neuron: NeuronId, head: HeadId, explainer: str) -> pd.DataFrame:
        """The verdicts on a pair's test prompts, by rank: `prompt_id rank active predicted reply`."""
        return self.sql(
            f"""
            SELECT c.prompt_id, p.rank, c.active, c.predicted, c.reply
            FROM (SELECT * FROM classifications WHERE {_PAIR} AND explainer = ?) c
            JOIN prompts p USING (prompt_id) ORDER BY p.rank, c.prompt_id
            """,  # noqa: S608
            (*_bound(neuron, head), explainer),
        )

    # --- scores -----------------------------------------------------------------------------

    def head_scores(self, neuron: NeuronId, head: HeadId) -> pd.DataFrame:
        """A pair's scores, by explainer: `explainer tp fp tn fn n_missing score ci_low ci_high`;
        `score` and its interval are NULL where the test prompts lack a class."""
        return self.sql(
            "SELECT explainer, tp, fp, tn, fn, n_missing, score, ci_low, ci_high "  # noqa: S608
            f"FROM head_scores WHERE {_PAIR} ORDER BY explainer",
            _bound(neuron, head),
        )

    def scores_of_head(self, head: HeadId, explainer: str) -> pd.DataFrame:
        """A head's scores for every neuron it is studied for: `layer neuron score n_test`."""
        return self.sql(
            "SELECT layer, neuron, score, tp + fp + tn + fn AS n_test FROM head_scores "
            "WHERE head_layer = ? AND head = ? AND explainer = ? ORDER BY layer, neuron",
            (head.layer, head.index, explainer),
        )

    def score_nulls(self, neuron: NeuronId, head: HeadId, explainer: str) -> pd.DataFrame:
        """What a pair's score would be without the words' content: `null_kind score p_value`."""
        return self.sql(
            "SELECT null_kind, score, p_value FROM score_nulls "  # noqa: S608
            f"WHERE {_PAIR} AND explainer = ? ORDER BY null_kind",
            (*_bound(neuron, head), explainer),
        )

    def mean_scores(self, explainer: str) -> pd.DataFrame:
        """Mean score over the run's pairs that have one, by kind of neuron: `kind score n`."""
        return self.sql(
            """
            SELECT n.kind, avg(s.score) AS score, count(s.score)::INTEGER AS n
            FROM head_scores s JOIN studied_neurons n USING (layer, neuron)
            WHERE s.explainer = ? AND s.score IS NOT NULL GROUP BY n.kind ORDER BY n.kind
            """,
            (explainer,),
        )

    # --- removals ---------------------------------------------------------------------------

    def ablations(self, neuron: NeuronId, head: HeadId) -> pd.DataFrame:
        """The pair's removal on every kept prompt of the neuron, both splits: `prompt_id split rank
        kind delta_pre_activation delta_activation delta_probability pre_activation active`.

        Deltas are ablated minus clean; `pre_activation` is the clean one; `active` says whether the
        head is active in the prompt. By kind, split (train first) and rank.
        """
        return self.sql(
            """
            SELECT a.prompt_id, p.split, p.rank, a.kind, a.delta_pre_activation, a.delta_activation,
                   a.delta_probability, h.pre_activation, x.prompt_id IS NOT NULL AS active
            FROM ablations a
            JOIN prompts p USING (prompt_id)
            JOIN head_attributions h USING (prompt_id)
            LEFT JOIN active_heads x USING (prompt_id, head_layer, head)
            WHERE p.layer = ? AND p.neuron = ? AND a.head_layer = ? AND a.head = ?
            ORDER BY a.kind, p.split DESC, p.rank
            """,
            _bound(neuron, head),
        )

    def joint_ablations(self, neuron: NeuronId) -> pd.DataFrame:
        """All active heads of a prompt removed at once, for the neuron's prompts: `prompt_id kind
        n_heads delta_pre_activation delta_activation delta_probability`."""
        return self.sql(
            """
            SELECT j.* FROM joint_ablations j JOIN prompts p USING (prompt_id)
            WHERE p.layer = ? AND p.neuron = ? ORDER BY j.kind, j.prompt_id
            """,
            (neuron.layer, neuron.index),
        )

    def neuron_ablations(self, neuron: NeuronId) -> pd.DataFrame:
        """The neuron's activation set to 0 at the last position: `prompt_id delta_probability`."""
        return self.sql(
            """
            SELECT n.* FROM neuron_ablations n JOIN prompts p USING (prompt_id)
            WHERE p.layer = ? AND p.neuron = ? ORDER BY n.prompt_id
            """,
            (neuron.layer, neuron.index),
        )

    def failures(self) -> pd.DataFrame:
        """What the run asked for and could not have: `stage subject reason`."""
        return self.sql("SELECT stage, subject, reason FROM failures ORDER BY ALL")

    def has_rows(self, table: str) -> bool:
        """Whether a stage that a run may leave out filled its table."""
        assert table in ("ablations", "explanations"), "a table of ours, never a text from outside"
        return bool(self.sql(f'SELECT count(*) > 0 AS yes FROM "{table}"')["yes"].tolist()[0])  # noqa: S608
