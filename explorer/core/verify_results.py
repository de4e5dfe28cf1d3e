"""What must hold of what was made from heads: removals, explanations and scores, channels, tasks.

Rules as in `verify_rules`; `maths` lists all rules about numbers.
"""

from __future__ import annotations

from explorer.core.types import ABLATION_KINDS
from explorer.core.verify_maths import (
    ACTIVITY,
    COMPONENTS,
    KEPT,
    PAIR,
    PARTS,
    PROBABILITIES,
    PROMPT,
    RANKS,
    STUDIED,
    active_rules,
)
from explorer.core.verify_rules import Rule, RuleSet

# ruff: noqa: S608 - every name that is put into a query is the schema's own

_STUDIED_ROWS = """
    SELECT prompt_id, head_layer, head FROM head_activity a JOIN prompts p
    ON (p.layer, p.neuron) = (a.layer, a.neuron) WHERE a.studied AND a.split = 'train'
"""


def _pairs(table: str, what: str) -> tuple[Rule, ...]:
    """A table that has rows for the studied heads of each prompt's neuron, all of them and no other."""
    head = "'prompt ' || prompt_id || ' L' || head_layer || 'H' || head AS subject"
    using = "USING (prompt_id, head_layer, head)"
    return (
        Rule(f"{what} of a head that is not studied",
             f"SELECT {head} FROM {table} ANTI JOIN ({_STUDIED_ROWS}) {using}"),
        Rule(f"studied heads lack their {what}",
             f"SELECT {head} FROM ({_STUDIED_ROWS}) ANTI JOIN {table} {using} "
             f"WHERE (SELECT count(*) FROM {table}) > 0"),
    )  # fmt: skip


_KINDS = ", ".join(f"'{kind}'" for kind in ABLATION_KINDS)
COMPLETE = RuleSet(
    "studied pairs", "What is stored for studied heads is there for all of them and for no other",
    ("head_activity",),
    (
        *_pairs("head_attention", "attention rows"),
        *_pairs("ablations", "removals"),
        *_pairs("component_attributions", "components"),
        *(Rule(f"rows of {table} are of a pair that is not studied",
               f"SELECT {PAIR} AS subject FROM {table} ANTI JOIN (FROM head_activity WHERE studied) "
               "USING (layer, neuron, head_layer, head)")
          for table in ("explanations", "classifications", "head_scores", "score_nulls")),
    ),
)  # fmt: skip

REMOVALS = RuleSet(
    "removals", "Each removal was made in every way, and a joint one removes all active heads",
    ("ablations", "joint_ablations", "neuron_ablations"),
    (
        *(Rule(f"rows of {table} are of a kind that there is not",
               f"{PROMPT} {table} WHERE kind NOT IN ({_KINDS})")
          for table in ("ablations", "joint_ablations")),
        Rule("heads were not removed in all ways", f"""
            {PROMPT} (SELECT prompt_id, count(*) AS n,
                       count(*) FILTER (kind IN ('zero-last', 'zero-all')) AS n_zero
                       FROM ablations GROUP BY prompt_id, head_layer, head)
            WHERE n_zero <> 2 OR n NOT IN (2, 4)"""),
        Rule("joint removals do not remove the active heads", f"""
            WITH a AS (SELECT prompt_id, count(*) AS n FROM active_heads GROUP BY prompt_id)
            {PROMPT} joint_ablations LEFT JOIN a USING (prompt_id)
            WHERE n_heads <> coalesce(n, 0)"""),
        Rule("prompts with active heads lack their joint removal",
             "SELECT DISTINCT 'prompt ' || prompt_id AS subject FROM active_heads "
             "ANTI JOIN joint_ablations USING (prompt_id)"),
        Rule("prompts lack the removal of their neuron", "SELECT 'prompt ' || prompt_id AS subject "
             "FROM prompts ANTI JOIN neuron_ablations USING (prompt_id)"),
    ),
)  # fmt: skip

_KEY = "layer, neuron, head_layer, head, explainer"
_BALANCED = "(tp::DOUBLE / nullif(tp + fn, 0) + tn::DOUBLE / nullif(tn + fp, 0)) / 2"
SCORES = RuleSet(
    "scores", "Verdicts are held against the head's activity, and scores follow their counts",
    ("head_scores",),
    (
        Rule("verdicts against another activity than the head's", f"""
            SELECT {PAIR} AS subject FROM classifications c LEFT JOIN (
                SELECT prompt_id, head_layer, head, true AS found FROM active_heads)
            USING (prompt_id, head_layer, head) WHERE active <> coalesce(found, false)"""),
        Rule("verdicts on a prompt that is no test prompt of the neuron", """
            SELECT 'prompt ' || c.prompt_id AS subject FROM classifications c
            JOIN prompts p USING (prompt_id)
            WHERE split <> 'test' OR (c.layer, c.neuron) <> (p.layer, p.neuron)"""),
        Rule("rows of head_scores count other verdicts than there are", f"""
            WITH v AS (SELECT {_KEY}, count(*) FILTER (active AND predicted) AS tp2,
                       count(*) FILTER (NOT active AND predicted) AS fp2,
                       count(*) FILTER (NOT active AND NOT predicted) AS tn2,
                       count(*) FILTER (active AND NOT predicted) AS fn2
                       FROM classifications GROUP BY ALL),
                 n AS (SELECT layer, neuron, count(*) AS n FROM prompts WHERE split = 'test'
                       GROUP BY ALL)
            SELECT {PAIR} AS subject FROM head_scores LEFT JOIN v USING ({_KEY})
            LEFT JOIN n USING (layer, neuron)
            WHERE (tp, fp, tn, fn) IS DISTINCT FROM
                  (coalesce(tp2, 0), coalesce(fp2, 0), coalesce(tn2, 0), coalesce(fn2, 0))
               OR tp + fp + tn + fn + n_missing <> coalesce(n, 0)"""),
        Rule("scores are not the balanced accuracy of their counts", f"""
            SELECT {PAIR} AS subject FROM head_scores
            WHERE (score IS NULL) <> ({_BALANCED} IS NULL) OR abs(score - {_BALANCED}) > 1e-6"""),
        Rule("intervals of scores are none", f"""
            SELECT {PAIR} AS subject FROM head_scores
            WHERE (score IS NULL) <> (ci_low IS NULL) OR (score IS NULL) <> (ci_high IS NULL)
               OR ci_low NOT BETWEEN 0 AND ci_high OR ci_high > 1"""),
        Rule("scores of nulls lie outside 0 to 1", f"""
            SELECT {PAIR} AS subject FROM score_nulls
            WHERE score NOT BETWEEN 0 AND 1 OR p_value NOT BETWEEN 0 AND 1
               OR null_kind NOT IN ('other-head', 'shuffle')"""),
    ),
)  # fmt: skip

CHANNELS = RuleSet(
    "channels", "Channels run from earlier layers to later ones, and their scores lie in 0 to 1",
    ("composition", "head_components"),
    (
        *(Rule(f"rows of {table} run backwards or name a head that the model lacks",
               f"SELECT mode || ' L' || src_layer || 'H' || src_head AS subject FROM {table} WHERE "
               "src_layer NOT BETWEEN 0 AND dst_layer - 1 OR dst_layer >= $n_layers "
               "OR src_head NOT BETWEEN 0 AND $n_heads - 1 OR dst_head NOT BETWEEN 0 AND $n_heads - 1 "
               "OR mode NOT IN ('Q', 'K', 'V')")
          for table in ("composition", "component_composition")),
        *(Rule(f"scores in {table} lie outside 0 to 1",
               f"SELECT mode || ' L' || src_layer || 'H' || src_head AS subject FROM {table} "
               "WHERE score NOT BETWEEN 0 AND 1.00001")
          for table in ("composition", "component_composition")),
        Rule("singular values do not descend to 0",
             "SELECT 'L' || layer || 'H' || head || ' ' || matrix AS subject FROM (SELECT *, "
             "lag(singular_value) OVER (PARTITION BY layer, head, matrix ORDER BY component) AS before "
             "FROM head_components) WHERE singular_value < 0 OR singular_value > before"),
    ),
)  # fmt: skip

TASKS = RuleSet(
    "tasks", "No task has more right answers than prompts", ("task_results",),
    (
        Rule("rows of task_results with counts or a chance that cannot be",
             "SELECT task || ' ' || condition AS subject FROM task_results WHERE n_right NOT BETWEEN 0 "
             "AND n_prompts OR chance NOT BETWEEN 0 AND 1 OR \"position\" NOT BETWEEN 0 AND n - 1"),
    ),
)  # fmt: skip


def maths(top_k: int | None) -> tuple[RuleSet, ...]:
    """All of them, for a run's own rule of activity."""
    return (PARTS, COMPONENTS, active_rules(top_k), ACTIVITY, STUDIED, COMPLETE, KEPT, RANKS,
            PROBABILITIES, REMOVALS, SCORES, CHANNELS, TASKS)  # fmt: skip
