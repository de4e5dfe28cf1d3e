"""What must hold of a store's numbers, as SQL over every row: see `verify_rules` for what a rule is.

Each is an account of its own of what the job computed, from the definitions; sums are taken in float64.
"""

from __future__ import annotations

from explorer.core.verify_rules import Rule, RuleSet

TOLERANCE = 1e-4
"""Of float32 numbers, times max(1, size): what the contract promises of completeness."""
MIN_HEADS_FOR_2SD = 6
"""`mean+2sd` names no head where fewer can reach the neuron."""

# ruff: noqa: S608 - every name that is put into a query is the schema's own

PROMPT = "SELECT 'prompt ' || prompt_id AS subject FROM"
PAIR = "'L' || layer || 'N' || neuron || ' L' || head_layer || 'H' || head"


def _off(found: str, expected: str) -> str:
    """Whether two numbers differ by more than the tolerance."""
    return f"abs(({found}) - ({expected})) > {TOLERANCE} * greatest(1, abs({expected}))"


_PARTS = (
    "coalesce(list_sum(heads), 0) + coalesce(list_sum(mlps), 0) + embedding::DOUBLE + bias::DOUBLE"
)
PARTS = RuleSet(
    "parts", "Heads, MLPs, embedding and bias sum to the pre-activation", ("head_attributions",),
    (
        Rule("prompts whose parts do not sum to the pre-activation",
             f"{PROMPT} head_attributions WHERE {_off(_PARTS, 'pre_activation::DOUBLE')}"),
        Rule("prompts in which a head or an MLP adds something that cannot reach the neuron",
             f"{PROMPT} head_attributions JOIN prompts USING (prompt_id) WHERE "
             "list_max(list_transform(heads[(layer + $reach) * $n_heads + 1:], lambda x: abs(x))) > 0 "
             "OR list_max(list_transform(mlps[layer + 1:], lambda x: abs(x))) > 0"),
        Rule("prompts whose layer norm divides by nothing", f"{PROMPT} head_attributions "
             "WHERE ln_scale <= 0"),
    ),
)  # fmt: skip

COMPONENTS = RuleSet(
    "components", "A head's components sum to what the head adds", ("component_attributions",),
    (
        Rule("heads whose components do not sum to what they add",
             "SELECT 'prompt ' || prompt_id || ' L' || head_layer || 'H' || head AS subject "
             "FROM component_attributions JOIN head_attributions USING (prompt_id) WHERE "
             + _off("list_sum(components)", "heads[head_layer * $n_heads + head + 1]::DOUBLE")),
    ),
)  # fmt: skip

_STORED = """
    SELECT prompt_id, layer, heads[1:(layer + $reach) * $n_heads]::DOUBLE[] AS v,
           coalesce(stored, []) AS stored
    FROM head_attributions JOIN prompts USING (prompt_id) LEFT JOIN (
        SELECT prompt_id, list(head_layer * $n_heads + head) AS stored
        FROM active_heads GROUP BY prompt_id) USING (prompt_id)
"""
# A head within rounding of the threshold may stand on either side: sums differ in their last bit.
_TWO_SD = f"""
    WITH p AS ({_STORED}),
         t AS (SELECT *, list_avg(v) + 2 * list_stddev_samp(v) AS threshold,
                      1e-9 * (abs(list_avg(v)) + list_stddev_samp(v)) AS band FROM p),
         e AS (SELECT *, list_filter(range(len(v)), lambda i: v[i + 1] > threshold + band) AS surely,
                      list_filter(range(len(v)), lambda i: v[i + 1] > threshold - band) AS perhaps
               FROM t WHERE len(v) >= {MIN_HEADS_FOR_2SD})
    SELECT 'prompt ' || prompt_id AS subject FROM e
    WHERE NOT (list_has_all(stored, surely) AND list_has_all(perhaps, stored))
    UNION ALL SELECT 'prompt ' || prompt_id FROM p
    WHERE len(v) < {MIN_HEADS_FOR_2SD} AND len(stored) > 0
"""
_TOP_K = f"""
    WITH p AS ({_STORED}),
         e AS (SELECT *, list_transform(list_sort(list_transform(list_filter(
                   range(len(v)), lambda i: v[i + 1] > 0), lambda i: {{'x': -v[i + 1], 'i': i}}
               )), lambda s: s.i)[1:$top_k] AS expected FROM p)
    SELECT 'prompt ' || prompt_id AS subject FROM e WHERE list_sort(stored) <> list_sort(expected)
"""


def active_rules(top_k: int | None) -> RuleSet:
    """Active heads by the run's own rule."""
    query = _TWO_SD if top_k is None else _TOP_K
    return RuleSet(
        "active heads", "The active heads of each prompt are those of the run's rule", ("prompts",),
        (Rule("prompts whose active heads are not those of the rule", query),),
    )  # fmt: skip


ACTIVITY = RuleSet(
    "activity", "Counts and means of a head's activity are those of the prompts", ("head_activity",),
    (
        Rule("reachable heads have not one row for each split",
             "SELECT 'L' || s.layer || 'N' || s.neuron AS subject FROM studied_neurons s "
             "LEFT JOIN head_activity a USING (layer, neuron) GROUP BY s.layer, s.neuron "
             "HAVING count(a.head) <> 2 * (s.layer + $reach) * $n_heads"),
        Rule("rows count other active prompts than active_heads has", f"""
            WITH n AS (SELECT layer, neuron, split, head_layer, head, count(*) AS n
                       FROM active_heads JOIN prompts USING (prompt_id) GROUP BY ALL)
            SELECT {PAIR} AS subject FROM head_activity
            LEFT JOIN n USING (layer, neuron, split, head_layer, head)
            WHERE n_active <> coalesce(n, 0)"""),
        Rule("rows count other prompts than the neuron has", f"""
            WITH n AS (SELECT layer, neuron, split, count(*) AS n FROM prompts GROUP BY ALL)
            SELECT {PAIR} AS subject FROM head_activity LEFT JOIN n USING (layer, neuron, split)
            WHERE n_prompts <> coalesce(n, 0)"""),
        Rule("rows have another mean than their prompts", f"""
            WITH e AS (SELECT layer, neuron, split, unnest(heads)::DOUBLE AS x,
                              generate_subscripts(heads, 1) - 1 AS flat
                       FROM head_attributions JOIN prompts USING (prompt_id)),
                 n AS (SELECT layer, neuron, split, flat, avg(x) AS mean FROM e GROUP BY ALL)
            SELECT {PAIR} AS subject FROM head_activity a LEFT JOIN n
            ON (n.layer, n.neuron, n.split) = (a.layer, a.neuron, a.split)
               AND n.flat = a.head_layer * $n_heads + a.head
            WHERE (mean IS NULL) <> (mean_attribution IS NULL)
               OR {_off("mean_attribution", "mean")}""".replace("'L' || layer || 'N' || neuron",
                                                              "'L' || a.layer || 'N' || a.neuron")),
    ),
)  # fmt: skip

STUDIED = RuleSet(
    "studied heads", "A head is studied where it is active in 25 % to 75 % of the train prompts",
    ("head_activity",),
    (
        Rule("rows are marked as studied, or not, against the share of train prompts", f"""
            WITH t AS (SELECT layer, neuron, head_layer, head,
                       n_prompts > 0 AND n_prompts <= 4 * n_active AND 4 * n_active <= 3 * n_prompts
                       AS expected FROM head_activity WHERE split = 'train')
            SELECT {PAIR} AS subject FROM head_activity JOIN t USING (layer, neuron, head_layer, head)
            WHERE studied <> expected"""),
    ),
)  # fmt: skip

_CURVE = f"""
    WITH c AS (SELECT p.*, starts, activations,
                      list_position(starts, "start") AS place, len(token_ids) AS n
               FROM prompts p JOIN truncation_curves USING (prompt_id))
    {PROMPT} c WHERE
"""
KEPT = RuleSet(
    "kept texts", "Each kept text is the shortest ending that keeps enough of the activation",
    ("truncation_curves",),
    (
        Rule("curves whose starts do not ascend from 0, the whole prompt",
             f"{_CURVE} starts <> list_sort(list_distinct(starts)) OR starts[1] <> 0 "
             "OR starts[-1] >= n"),
        Rule("curves that lack the kept text or a shorter one",
             f"{_CURVE} place IS NULL OR len(starts) - place + 1 <> n - \"start\""),
        Rule("kept texts are longer than was allowed", f"{_CURVE} n - \"start\" > $max_prompt_tokens"),
        Rule("prompts have another activation than their curve",
             f"{_CURVE} activations[1] <> activation OR "
             + _off("truncated_activation::DOUBLE", "activations[place]::DOUBLE")
             + " OR kept_activations[-1] <> truncated_activation"),
        Rule("kept texts keep too little of the activation",
             f"{_CURVE} activation <= 0 "
             "OR activations[place]::DOUBLE < $keep_ratio::DOUBLE * activation::DOUBLE"),
        Rule("a shorter text would have kept enough",
             f"{_CURVE} list_max(activations[place + 1:])::DOUBLE "
             ">= $keep_ratio::DOUBLE * activation::DOUBLE"),
    ),
)  # fmt: skip


def _ranks(table: str, group: str, value: str, most: str) -> tuple[Rule, ...]:
    """Ranks count from 1, each once, and follow a falling value; `most` rows a group at most."""
    return (
        Rule(f"ranks in {table} do not count from 1",
             f"SELECT concat_ws(' ', {group}) AS subject FROM {table} GROUP BY {group} HAVING "
             f"min(rank) <> 1 OR max(rank) <> count(*) OR count(DISTINCT rank) <> count(*) "
             f"OR count(*) > {most}"),
        Rule(f"ranks in {table} do not follow {value}",
             f"SELECT concat_ws(' ', {group}) AS subject FROM (SELECT *, lag({value}) OVER "
             f"(PARTITION BY {group} ORDER BY rank) AS before FROM {table}) WHERE {value} > before"),
    )  # fmt: skip


RANKS = RuleSet(
    "ranks", "Ranks count from 1 and follow what they rank", ("token_neurons",),
    (
        *_ranks("token_neurons", "token_id", "congruence", "20"),
        *_ranks("neuron_tokens", "layer, neuron", "congruence", "20"),
        *_ranks("prompts", "layer, neuron, split", "activation", "$prompts"),
        *_ranks("component_tokens", "layer, head, matrix, side, component", "value", "20"),
    ),
)  # fmt: skip

_DELTA = "delta_probability::DOUBLE + probability NOT BETWEEN -0.0001 AND 1.0001"
PROBABILITIES = RuleSet(
    "probabilities", "Probabilities lie in 0 to 1, ranks of tokens in the vocabulary, and attention "
    "sums to 1", ("prompts",),
    (
        Rule("prompts with a probability outside 0 to 1",
             f"{PROMPT} prompts WHERE probability NOT BETWEEN 0 AND 1"),
        Rule("prompts with a token rank that there is not",
             f"{PROMPT} prompts WHERE token_rank NOT BETWEEN 1 AND $d_vocab"),
        Rule("rows of head_attention that are no probabilities",
             f"{PROMPT} head_attention WHERE list_min(weights) < 0 "
             "OR abs(list_sum(weights) - 1) > 0.001"),
        *(Rule(f"rows of {table} leave a probability outside 0 to 1",
               f"{PROMPT} {table} JOIN prompts USING (prompt_id) WHERE {_DELTA}")
          for table in ("ablations", "joint_ablations", "neuron_ablations")),
    ),
)  # fmt: skip
