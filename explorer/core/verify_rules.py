"""What must hold between the rows of a store, as SQL: names that exist, lists as long as the model is.

A rule is a query for what breaks it: one column `subject`, a text that names the row. Every rule runs in
the database, row by row or by hash joins on ids, so that a store may be larger than memory.
"""

from __future__ import annotations

from dataclasses import dataclass

from explorer.core.schema import SORT_KEYS
from explorer.core.schema_tables import NULLABLE, TABLES


@dataclass(frozen=True)
class Rule:
    """`broken` says what the rows of `query` are: `3 <broken>, for example <subject>`."""

    broken: str
    query: str


@dataclass(frozen=True)
class RuleSet:
    """Rules that are checked together under one name. Left out where none of `tables` has a row."""

    name: str
    meaning: str
    tables: tuple[str, ...]
    rules: tuple[Rule, ...]


OF_PROMPTS = (
    "truncation_curves", "head_attributions", "active_heads", "head_attention", "ablations",
    "joint_ablations", "neuron_ablations", "classifications", "component_attributions",
)  # fmt: skip
ONE_A_PROMPT = ("truncation_curves", "head_attributions")
OF_STUDIED = (
    "prompts", "head_activity", "explanations", "classifications", "head_scores", "score_nulls",
)  # fmt: skip
OF_HEADS = (
    "active_heads", "head_activity", "head_attention", "ablations", "explanations",
    "classifications", "head_scores", "score_nulls", "component_attributions",
)  # fmt: skip
_WITH_TOKEN = ("token_neurons", "neuron_tokens", "studied_neurons", "component_tokens")

# ruff: noqa: S608 - every name that is put into a query is the schema's own


def _bad_value(table: str, column: str, kind: str) -> str:
    value = f'"{column}"'
    null = "" if (table, column) in NULLABLE else f"{value} IS NULL"
    if kind.endswith("[]"):
        bad = f"list_count({value}) <> len({value})"
        if kind == "FLOAT[]":
            bad += f" OR NOT isfinite(coalesce(list_sum({value}), 0))"
    else:
        bad = f"NOT isfinite({value})" if kind == "FLOAT" else ""
    return " OR ".join(part for part in (null, bad) if part)


def _finite_rules() -> tuple[Rule, ...]:
    rules = []
    for table, spec in TABLES.items():
        bad = [found for name, kind, _ in spec.columns if (found := _bad_value(table, name, kind))]
        query = f"SELECT 'row ' || rowid AS subject FROM \"{table}\" WHERE {' OR '.join(bad)}"
        rules.append(Rule(f"rows of {table} with a value that is missing or not finite", query))
    return tuple(rules)


def _key_rules() -> tuple[Rule, ...]:
    rules = []
    for table, keys in SORT_KEYS.items():
        columns = ", ".join(f'"{key}"' for key in keys)
        text = " || ' ' || ".join(f'"{key}"' for key in keys)
        query = f'SELECT {text} AS subject FROM "{table}" GROUP BY {columns} HAVING count(*) > 1'
        rules.append(Rule(f"rows of {table} that stand there twice", query))
    return tuple(rules)


FINITE = RuleSet("values", "Every value is there, and every number is finite", (), _finite_rules())
KEYS = RuleSet("keys", "No row stands twice", (), _key_rules())

PROMPTS = RuleSet(
    "prompts named", "Every prompt that a row names exists, and each has its curve and its parts",
    ("prompts",),
    (
        *(Rule(f"rows of {table} name a prompt that is not there",
               f"SELECT 'prompt ' || t.prompt_id AS subject FROM {table} t "
               "ANTI JOIN prompts USING (prompt_id)") for table in OF_PROMPTS),
        *(Rule(f"prompts have no row in {table}",
               f"SELECT 'prompt ' || p.prompt_id AS subject FROM prompts p "
               f"ANTI JOIN {table} USING (prompt_id)") for table in ONE_A_PROMPT),
        Rule("prompts are of a split other than train and test",
             "SELECT 'prompt ' || prompt_id AS subject FROM prompts "
             "WHERE split NOT IN ('train', 'test')"),
    ),
)  # fmt: skip

NEURONS = RuleSet(
    "neurons named", "Every neuron that a row names is one of the model, and where it must be, studied",
    ("neuron_tokens",),
    (
        *(Rule(f"rows of {table} name a neuron that the model lacks",
               f"SELECT 'L' || layer || 'N' || neuron AS subject FROM {table} "
               "WHERE layer NOT BETWEEN 0 AND $n_layers - 1 OR neuron NOT BETWEEN 0 AND $d_mlp - 1")
          for table in ("token_neurons", "neuron_tokens", "studied_neurons")),
        *(Rule(f"rows of {table} name a neuron that is not studied",
               f"SELECT 'L' || t.layer || 'N' || t.neuron AS subject FROM {table} t "
               "ANTI JOIN studied_neurons USING (layer, neuron)") for table in OF_STUDIED),
        Rule("rows of component_neurons name a neuron that is not studied",
             "SELECT 'L' || c.neuron_layer || 'N' || c.neuron AS subject FROM component_neurons c "
             "ANTI JOIN studied_neurons s ON s.layer = c.neuron_layer AND s.neuron = c.neuron"),
        Rule("neurons of the model have no best tokens",
             "SELECT ($n_layers * $d_mlp - count(DISTINCT (layer, neuron))) || ' neurons' AS subject "
             "FROM neuron_tokens HAVING count(DISTINCT (layer, neuron)) <> $n_layers * $d_mlp"),
        Rule("studied neurons are of a kind that there is not",
             "SELECT 'L' || layer || 'N' || neuron AS subject FROM studied_neurons "
             "WHERE kind NOT IN ('next-token', 'requested', 'random')"),
    ),
)  # fmt: skip

HEADS = RuleSet(
    "heads named", "Every head that a row names is one of the model, and can reach its neuron",
    ("head_activity",),
    (
        *(Rule(f"rows of {table} name a head that the model lacks",
               f"SELECT 'L' || head_layer || 'H' || head AS subject FROM {table} WHERE head_layer NOT "
               "BETWEEN 0 AND $n_layers - 1 OR head NOT BETWEEN 0 AND $n_heads - 1")
          for table in OF_HEADS),
        *(Rule(f"rows of {table} name a head that the model lacks",
               f"SELECT 'L' || layer || 'H' || head AS subject FROM {table} WHERE layer NOT BETWEEN 0 "
               "AND $n_layers - 1 OR head NOT BETWEEN 0 AND $n_heads - 1")
          for table in ("head_components", "component_tokens", "component_neurons")),
        *(Rule(f"rows of {table} name a head that cannot reach the neuron",
               f"SELECT 'L' || head_layer || 'H' || head || ' L' || layer || 'N' || neuron AS subject "
               f"FROM {table} WHERE head_layer >= layer + $reach")
          for table in ("head_activity", "explanations", "classifications", "head_scores",
                        "score_nulls")),
        *(Rule(f"rows of {table} name a head that cannot reach the prompt's neuron",
               f"SELECT 'prompt ' || prompt_id || ' L' || head_layer || 'H' || head AS subject "
               f"FROM {table} JOIN prompts USING (prompt_id) WHERE head_layer >= layer + $reach")
          for table in ("active_heads", "head_attention", "ablations", "component_attributions")),
        Rule("rows of component_neurons pair a head with a neuron that it cannot reach",
             "SELECT 'L' || layer || 'H' || head AS subject FROM component_neurons "
             "WHERE layer >= neuron_layer + $reach"),
    ),
)  # fmt: skip

TOKENS = RuleSet(
    "tokens named", "The vocabulary is whole, and every token that a row names is in the tokenizer's",
    ("tokens",),
    (
        Rule("ids are missing in the vocabulary",
             "SELECT count(*) || ' rows' AS subject FROM tokens "
             "HAVING count(*) <> $d_vocab OR min(token_id) <> 0 OR max(token_id) <> $d_vocab - 1"),
        *(Rule(f"rows of {table} name a token without text",
               f"SELECT 'token ' || t.token_id AS subject FROM {table} t "
               "ANTI JOIN (FROM tokens WHERE text <> '') USING (token_id)")
          for table in _WITH_TOKEN),
        Rule("prompts hold an id that is in no vocabulary",
             "SELECT 'prompt ' || prompt_id AS subject FROM prompts WHERE len(token_ids) > 0 AND "
             "(list_min(token_ids) < 0 OR list_max(token_ids) > "
             "(SELECT max(token_id) FROM tokens WHERE text <> ''))"),
    ),
)  # fmt: skip

LENGTHS = RuleSet(
    "list lengths", "Every list is as long as the model's sizes and its prompt say", ("prompts",),
    (
        Rule("prompts are empty, longer than the context, or cut beyond their end",
             "SELECT 'prompt ' || prompt_id AS subject FROM prompts WHERE len(token_ids) NOT BETWEEN 1 "
             "AND $n_ctx - 1 OR \"start\" NOT BETWEEN 0 AND len(token_ids) - 1"),
        Rule("prompts have another number of kept activations than of kept tokens",
             "SELECT 'prompt ' || prompt_id AS subject FROM prompts "
             "WHERE len(kept_activations) <> len(token_ids) - \"start\""),
        Rule("curves have another number of starts than of activations",
             "SELECT 'prompt ' || prompt_id AS subject FROM truncation_curves "
             "WHERE len(starts) <> len(activations) OR len(starts) = 0"),
        Rule("prompts have another number of heads or MLPs than the model",
             "SELECT 'prompt ' || prompt_id AS subject FROM head_attributions "
             "WHERE len(heads) <> $n_layers * $n_heads OR len(mlps) <> $n_layers"),
        Rule("rows of head_attention are of another length than BOS and the kept tokens",
             "SELECT 'prompt ' || prompt_id AS subject FROM head_attention JOIN prompts "
             "USING (prompt_id) WHERE len(weights) <> len(token_ids) - \"start\" + 1"),
        Rule("rows of component_attributions have another number of components than the head",
             "SELECT 'prompt ' || prompt_id AS subject FROM component_attributions "
             "WHERE len(components) <> $d_head"),
        Rule("heads have another number of components than the model's heads are wide",
             "SELECT 'L' || layer || 'H' || head || ' ' || matrix AS subject FROM head_components "
             "GROUP BY layer, head, matrix HAVING count(*) <> $d_head"),
    ),
)  # fmt: skip
REFERENCES = (FINITE, KEYS, PROMPTS, NEURONS, HEADS, TOKENS, LENGTHS)
