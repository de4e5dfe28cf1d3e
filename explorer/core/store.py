"""Reading a store: every query that a page or a notebook needs, as data frames.

`Store.open(path)` checks that the file is a store of this schema version. Connections are read-only
with external access off, so that a store from a stranger can show rows and nothing else; each call
takes a cursor of its own, so that threads may share a store. Values from outside are always bound.
Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb
import pandas as pd

from explorer.core.schema_tables import TABLES
from explorer.core.store_channels import ChannelQueries
from explorer.core.store_explanations import ExplanationQueries
from explorer.core.store_findings import FindingsQueries
from explorer.core.store_gallery import GalleryQueries
from explorer.core.store_open import connect, run_query
from explorer.core.store_tasks import TaskQueries
from explorer.core.types import HeadId, ModelShape, NeuronId, without_lone_surrogates

_SPLITS = ("train", "test")


class Store(ExplanationQueries, FindingsQueries, ChannelQueries, GalleryQueries, TaskQueries):
    """An open store. Use as a context manager, or keep it for as long as a server runs."""

    def __init__(
        self, con: duckdb.DuckDBPyConnection, path: Path, manifest: dict[str, Any]
    ) -> None:
        self._con = con
        self.path = path
        self.manifest = manifest

    @classmethod
    def open(cls, path: Path | str) -> Store:
        """Open a published store read-only. Raises StoreError with the command that repairs it."""
        path = Path(path)
        con, manifest = connect(path)
        return cls(con, path, manifest)

    def close(self) -> None:
        self._con.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def sql(self, query: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> pd.DataFrame:
        """Any query as a data frame; `?` or `$name` marks are bound to `parameters`."""
        return run_query(self._con, self.path, query, parameters)

    @property
    def run_id(self) -> str:
        return self.path.stem

    @cached_property
    def shape(self) -> ModelShape:
        """Sizes of the model that the run read."""
        sizes = self.manifest
        return ModelShape(**{name: sizes[name] for name in ModelShape.__dataclass_fields__})

    # --- tokens -----------------------------------------------------------------------------

    @cached_property
    def token_texts(self) -> list[str]:
        """Text of every token id, in order; empty past the tokenizer's vocabulary."""
        return self.sql("SELECT text FROM tokens ORDER BY token_id")["text"].tolist()

    def find_tokens(self, query: str, limit: int = 12) -> pd.DataFrame:
        """Tokens whose text contains `query`, best match first: `token_id`, `text`.

        Exact text comes first, then the text with a leading space, then the same without regard to
        case, then tokens that begin with it, then shorter before longer. `␣` stands for a space.
        """
        wanted = without_lone_surrogates(query).replace("␣", " ")
        bare = wanted.strip() or wanted
        return self.sql(
            """
            SELECT token_id, text FROM tokens
            WHERE text <> '' AND contains(lower(text), lower($bare))
            ORDER BY CASE WHEN text = $wanted AND starts_with($wanted, ' ') THEN 0
                          WHEN text = ' ' || $bare THEN 1
                          WHEN text = $bare THEN 2
                          WHEN lower(trim(text)) = lower($bare) THEN 3
                          WHEN starts_with(lower(trim(text)), lower($bare)) THEN 4
                          ELSE 5 END, length(text), token_id
            LIMIT $limit
            """,
            {"bare": bare, "wanted": wanted, "limit": limit},
        )

    def token_id(self, text: str) -> int | None:
        """The id of the token with exactly this text, the lowest if several; None if there is none."""
        found = self.sql(
            "SELECT token_id FROM tokens WHERE text = ? AND text <> '' ORDER BY 1 LIMIT 1",
            (without_lone_surrogates(text),),
        )["token_id"].tolist()
        return int(found[0]) if found else None

    def token_neurons(self, token_id: int) -> pd.DataFrame:
        """A token's 20 best neurons: `rank layer neuron congruence kind writes`.

        `kind` is NULL for neurons that are not studied. `writes` lists the neuron's own three best
        token ids.
        """
        return self.sql(
            """
            SELECT t.rank, t.layer, t.neuron, t.congruence, s.kind,
                   coalesce((SELECT list(n.token_id ORDER BY n.rank) FROM neuron_tokens n
                     WHERE n.layer = t.layer AND n.neuron = t.neuron AND n.rank <= 3), []) AS writes
            FROM token_neurons t LEFT JOIN studied_neurons s USING (layer, neuron)
            WHERE t.token_id = ? ORDER BY t.rank
            """,
            (token_id,),
        )

    def neurons_per_layer(self, token_id: int) -> pd.DataFrame:
        """Where a token's 20 best neurons sit: `layer n mean_n`, `mean_n` averaged over all tokens."""
        return self.sql(
            """
            WITH totals AS (SELECT layer, count(*) AS n_all, count(*) FILTER (token_id = ?) AS n
                            FROM token_neurons GROUP BY layer),
                 n_tokens AS (SELECT count(DISTINCT token_id) AS n_tokens FROM token_neurons)
            SELECT l.layer::INTEGER AS layer, coalesce(n, 0)::INTEGER AS n,
                   coalesce(n_all / n_tokens, 0) AS mean_n
            FROM range(?) AS l(layer) LEFT JOIN totals USING (layer), n_tokens ORDER BY layer
            """,
            (token_id, self.shape.n_layers),
        )

    # --- neurons ----------------------------------------------------------------------------

    def studied_neurons(self) -> pd.DataFrame:
        """All studied neurons: `layer neuron token_id congruence kind`, by layer and neuron."""
        return self.sql("SELECT * FROM studied_neurons ORDER BY layer, neuron")

    def mean_probabilities(self, split: str = "train") -> pd.DataFrame:
        """Mean P(token) over each studied neuron's prompts, 0 to 1: `layer neuron probability`."""
        return self.sql(
            "SELECT layer, neuron, avg(probability) AS probability FROM prompts WHERE split = ? "
            "GROUP BY ALL ORDER BY ALL",
            (split,),
        )

    def neuron_tokens(self, neuron: NeuronId, limit: int = 20) -> pd.DataFrame:
        """A neuron's best tokens: `rank token_id congruence`."""
        return self.sql(
            "SELECT rank, token_id, congruence FROM neuron_tokens "
            "WHERE layer = ? AND neuron = ? AND rank <= ? ORDER BY rank",
            (neuron.layer, neuron.index, limit),
        )

    def prompts(self, neuron: NeuronId, split: str) -> pd.DataFrame:
        """The kept prompts of a neuron in a split, by rank, with all columns of `prompts`."""
        if split not in _SPLITS:
            raise ValueError(f"expected a split of {_SPLITS}, got {split[:20]!r}")
        return self.sql(
            "SELECT * FROM prompts WHERE layer = ? AND neuron = ? AND split = ? ORDER BY rank",
            (neuron.layer, neuron.index, split),
        )

    def truncation_curve(self, prompt_id: int) -> pd.DataFrame:
        """Activation for each suffix evaluated: `start activation`, by ascending start."""
        return self.sql(
            "SELECT unnest(starts) AS start, unnest(activations) AS activation "
            "FROM truncation_curves WHERE prompt_id = ? ORDER BY start",
            (prompt_id,),
        )

    def attributions(self, neuron: NeuronId, split: str) -> pd.DataFrame:
        """Attribution of each kept prompt, by rank: `prompt_id rank heads mlps embedding bias
        pre_activation ln_scale active`; `active` lists the flat indices of active heads."""
        return self.sql(
            """
            SELECT p.prompt_id, p.rank, a.heads, a.mlps, a.embedding, a.bias, a.pre_activation,
                   a.ln_scale,
                   coalesce((SELECT list(h.head_layer * ? + h.head ORDER BY 1) FROM active_heads h
                              WHERE h.prompt_id = p.prompt_id), []) AS active
            FROM prompts p JOIN head_attributions a USING (prompt_id)
            WHERE p.layer = ? AND p.neuron = ? AND p.split = ? ORDER BY p.rank
            """,
            (self.shape.n_heads, neuron.layer, neuron.index, split),
        )

    # --- heads ------------------------------------------------------------------------------

    def head_activity(self, neuron: NeuronId, split: str = "train") -> pd.DataFrame:
        """How often each reachable head is active for a neuron: `head_layer head n_active n_prompts
        share mean_attribution studied`; studied heads first, then by share, then by contribution."""
        return self.sql(
            """
            SELECT head_layer, head, n_active, n_prompts, n_active / nullif(n_prompts, 0) AS share,
                   mean_attribution, studied
            FROM head_activity WHERE layer = ? AND neuron = ? AND split = ?
            ORDER BY studied DESC, share DESC NULLS LAST, mean_attribution DESC NULLS LAST,
                     head_layer, head
            """,
            (neuron.layer, neuron.index, split),
        )

    def pairs(self, split: str = "train") -> pd.DataFrame:
        """All pairs of a studied neuron and a head that can reach it: `layer neuron token_id kind
        head_layer head n_active n_prompts share mean_attribution studied`."""
        return self.sql(
            """
            SELECT s.layer, s.neuron, s.token_id, s.kind, a.head_layer, a.head, a.n_active,
                   a.n_prompts, a.n_active / nullif(a.n_prompts, 0) AS share, a.mean_attribution,
                   a.studied
            FROM studied_neurons s JOIN head_activity a USING (layer, neuron)
            WHERE a.split = ? ORDER BY s.layer, s.neuron, a.head_layer, a.head
            """,
            (split,),
        )

    def head_neurons(self, head: HeadId, split: str = "train") -> pd.DataFrame:
        """The studied neurons that a head reaches: `layer neuron token_id kind n_active n_prompts
        share mean_attribution studied`; studied pairs first, then by share."""
        pairs = self.pairs(split)
        mine = pairs.query("head_layer == @head.layer and head == @head.index")
        order = ["studied", "share", "mean_attribution"]
        return mine.sort_values(by=order, ascending=False, kind="stable", ignore_index=True)

    def head_attention(self, neuron: NeuronId, head: HeadId) -> pd.DataFrame:
        """Attention of the peak token over BOS and the kept tokens: `prompt_id weights`. Stored
        for studied heads of the neuron alone."""
        return self.sql(
            """
            SELECT h.prompt_id, h.weights FROM head_attention h JOIN prompts p USING (prompt_id)
            WHERE p.layer = ? AND p.neuron = ? AND h.head_layer = ? AND h.head = ?
            ORDER BY h.prompt_id
            """,
            (neuron.layer, neuron.index, head.layer, head.index),
        )

    def row_counts(self) -> dict[str, int]:
        """Rows of every table, in schema order."""
        return {
            table: int(self.sql(f'SELECT count(*) AS n FROM "{table}"')["n"].tolist()[0])  # noqa: S608
            for table in TABLES
        }
