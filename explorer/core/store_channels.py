"""Queries about channels: how heads compose, and the components of heads. `Store` inherits them.

Tables of a stage that a run left out are empty, and so are these answers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from explorer.core.composition_modes import MODES
from explorer.core.types import HeadId, NeuronId

MATRICES = ("OV", "QK")


def _one_of(known: tuple[str, ...], value: str) -> str:
    if value not in known:
        raise ValueError(f"expected one of {known}, got {value[:20]!r}")
    return value


class ChannelQueries(ABC):
    """What `Store` answers about composition and components."""

    @abstractmethod
    def sql(
        self, query: str, parameters: Sequence[Any] | Mapping[str, Any] = ()
    ) -> pd.DataFrame: ...

    def has_channels(self) -> bool:
        """Whether the run holds components; a run made before that stage does not."""
        return bool(self.sql("SELECT count(*) > 0 AS yes FROM head_components")["yes"].tolist()[0])

    # --- from head to head ------------------------------------------------------------------

    def composition(self, mode: str) -> pd.DataFrame:
        """Scores of all pairs of an earlier and a later head in a mode (`Q`, `K`, `V`), strongest
        first: `src_layer src_head dst_layer dst_head score`."""
        return self.sql(
            "SELECT src_layer, src_head, dst_layer, dst_head, score FROM composition "
            "WHERE mode = ? ORDER BY score DESC, dst_layer, dst_head, src_layer, src_head",
            (_one_of(MODES, mode),),
        )

    def largest_composition(self) -> float | None:
        """The largest score of a pair of heads, over all modes; None in a run without channels."""
        found = self.sql("SELECT max(score) AS score FROM composition")["score"].dropna().tolist()
        return float(found[0]) if found else None

    def component_composition(self, mode: str, receiver: HeadId) -> pd.DataFrame:
        """The components of earlier heads that compose most with a receiver in a mode, strongest
        first: `src_layer src_head src_component score z`; the 50 that are stored, `z` NULL where the
        receiver has none."""
        return self.sql(
            "SELECT src_layer, src_head, src_component, score, z FROM component_composition "
            "WHERE mode = ? AND dst_layer = ? AND dst_head = ? "
            "ORDER BY score DESC, src_layer, src_head, src_component",
            (_one_of(MODES, mode), receiver.layer, receiver.index),
        )

    # --- components -------------------------------------------------------------------------

    def singular_values(self, head: HeadId, matrix: str) -> pd.DataFrame:
        """A head's components (`OV`, `QK`), by number: `component singular_value`."""
        return self.sql(
            "SELECT component, singular_value FROM head_components "
            "WHERE layer = ? AND head = ? AND matrix = ? ORDER BY component",
            (head.layer, head.index, _one_of(MATRICES, matrix)),
        )

    def component_tokens(self, head: HeadId, matrix: str, component: int) -> pd.DataFrame:
        """The tokens that a component reads and writes most, by side and rank: `side rank token_id
        text value`."""
        return self.sql(
            """
            SELECT c.side, c.rank, c.token_id, t.text, c.value
            FROM component_tokens c JOIN tokens t USING (token_id)
            WHERE c.layer = ? AND c.head = ? AND c.matrix = ? AND c.component = ?
            ORDER BY c.side, c.rank
            """,
            (head.layer, head.index, _one_of(MATRICES, matrix), component),
        )

    def component_neurons(self, head: HeadId, component: int) -> pd.DataFrame:
        """The studied neurons that an OV component can reach, by the size of `value`, which is
        `v . w_in`: `layer neuron token_id kind value`."""
        return self.sql(
            """
            SELECT c.neuron_layer AS layer, c.neuron, s.token_id, s.kind, c.value
            FROM component_neurons c
                 JOIN studied_neurons s ON s.layer = c.neuron_layer AND s.neuron = c.neuron
            WHERE c.layer = ? AND c.head = ? AND c.component = ?
            ORDER BY abs(c.value) DESC, c.neuron_layer, c.neuron
            """,
            (head.layer, head.index, component),
        )

    def neuron_components(self, head: HeadId, neuron: NeuronId) -> pd.DataFrame:
        """How a head's OV components meet what a neuron reads, by number: `component value`, which is
        `v . w_in`."""
        return self.sql(
            "SELECT component, value FROM component_neurons WHERE layer = ? AND head = ? "
            "AND neuron_layer = ? AND neuron = ? ORDER BY component",
            (head.layer, head.index, neuron.layer, neuron.index),
        )

    # --- on the run's prompts ---------------------------------------------------------------

    def component_parts(self, head: HeadId, neuron: NeuronId, split: str) -> pd.DataFrame:
        """A head's contribution to a neuron by OV component, in each kept prompt of a split, by rank:
        `prompt_id rank token_ids start components contribution active`.

        `components` lists one part a component, in pre-activation units; they sum to `contribution`,
        the head's own as `head_attributions` has it. Stored where the head is studied for the neuron.
        """
        return self.sql(
            """
            SELECT p.prompt_id, p.rank, p.token_ids, p.start, c.components,
                   a.heads[$layer * (len(a.heads) // len(a.mlps)) + $head + 1] AS contribution,
                   x.prompt_id IS NOT NULL AS active
            FROM component_attributions c JOIN prompts p USING (prompt_id)
                 JOIN head_attributions a USING (prompt_id)
                 LEFT JOIN active_heads x USING (prompt_id, head_layer, head)
            WHERE c.head_layer = $layer AND c.head = $head AND p.layer = $neuron_layer
                  AND p.neuron = $neuron AND p.split = $split
            ORDER BY p.rank
            """,
            {"layer": head.layer, "head": head.index, "neuron_layer": neuron.layer,
             "neuron": neuron.index, "split": split},
        )  # fmt: skip

    def component_means(self, head: HeadId, component: int) -> pd.DataFrame:
        """What a component adds to each neuron for which its head is studied, mean over the train
        prompts: `layer neuron token_id kind part contribution n_prompts`, by the size of `part`;
        `contribution` is the whole head's."""
        return self.sql(
            """
            SELECT p.layer, p.neuron, s.token_id, s.kind, avg(c.components[$component + 1]) AS part,
                   avg(a.heads[$layer * (len(a.heads) // len(a.mlps)) + $head + 1]) AS contribution,
                   count(*)::INTEGER AS n_prompts
            FROM component_attributions c JOIN prompts p USING (prompt_id)
                 JOIN head_attributions a USING (prompt_id) JOIN studied_neurons s USING (layer, neuron)
            WHERE c.head_layer = $layer AND c.head = $head AND p.split = 'train'
            GROUP BY p.layer, p.neuron, s.token_id, s.kind
            ORDER BY abs(part) DESC, p.layer, p.neuron
            """,
            {"layer": head.layer, "head": head.index, "component": component},
        )

    def component_activations(
        self, head: HeadId, component: int, neuron: NeuronId, split: str
    ) -> pd.DataFrame:
        """A component's activation at the last token of a neuron's kept prompts, by rank: `prompt_id
        rank activation`, in units of the residual stream.

        What `core.components.attribute_components` multiplied is divided out again: part times
        `ln_scale` over `v . w_in`; NULL where that product is 0.
        """
        return self.sql(
            """
            SELECT p.prompt_id, p.rank,
                   c.components[$component + 1] * a.ln_scale / nullif(n.value, 0) AS activation
            FROM component_attributions c JOIN prompts p USING (prompt_id)
                 JOIN head_attributions a USING (prompt_id)
                 JOIN component_neurons n ON n.layer = c.head_layer AND n.head = c.head
                      AND n.component = $component AND n.neuron_layer = p.layer
                      AND n.neuron = p.neuron
            WHERE c.head_layer = $layer AND c.head = $head AND p.layer = $neuron_layer
                  AND p.neuron = $neuron AND p.split = $split
            ORDER BY p.rank
            """,
            {"layer": head.layer, "head": head.index, "component": component,
             "neuron_layer": neuron.layer, "neuron": neuron.index, "split": split},
        )  # fmt: skip
