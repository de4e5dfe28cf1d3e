"""Deliberate faults of a store: the check that each must fail, words of its reason, what is changed."""

from __future__ import annotations

from explorer.core import verify_rules


# What is set or deleted by hand names one row; `first` is the one that comes first.
def first(table: str, where: str = "true") -> str:
    return f"rowid = (SELECT min(rowid) FROM {table} WHERE {where})"


def change(table: str, values: str, where: str = "true") -> str:
    return f"UPDATE {table} SET {values} WHERE {first(table, where)}"


def drop(table: str, where: str = "true") -> str:
    return f"DELETE FROM {table} WHERE {first(table, where)}"


LONG = "len(token_ids) - start > 1"
_TP = "score IS NOT NULL AND tp > 0"
FAULTS: list[tuple[str, str, list[str]]] = [
    ("tables", "comment", ["COMMENT ON COLUMN prompts.rank IS NULL"]),
    ("tables", "comment", ["COMMENT ON TABLE tokens IS ''"]),
    ("tables", "views or macros", ["CREATE VIEW more AS SELECT 1 AS x"]),
    ("manifest", "it lacks 'start'", ["DELETE FROM manifest WHERE key = 'start'"]),
    ("manifest", "before it started",
     ["UPDATE manifest SET value = '\"2001-01-01T00:00:00+00:00\"' WHERE key = 'end'"]),
    ("manifest", "no checksum", ["UPDATE manifest SET value = '\"x\"' WHERE key = 'weights_sha256'"]),
    ("values", "head_attributions", [change("head_attributions", "bias = NULL")]),
    ("values", "component_neurons", [change("component_neurons", "value = 'nan'")]),
    ("values", "rows of prompts",
     [change("prompts", "kept_activations = ['inf'::FLOAT] || kept_activations[2:]", LONG)]),
    ("values", "rows of prompts", [change("prompts", "token_ids = [NULL] || token_ids[2:]", LONG)]),
    ("keys", "task_results", ["INSERT INTO task_results VALUES ('t', 'a', 'c', 2, 0, 4, 2, 0.5)"] * 2),
    ("keys", "failures", ["INSERT INTO failures VALUES ('a', 'b', 'c')"] * 2),
    ("prompts named", "truncation_curves", [drop("truncation_curves")]),
    ("prompts named", "neuron_ablations", [change("neuron_ablations", "prompt_id = 9999"),
                                           "INSERT INTO neuron_ablations VALUES (0, 0)"]),
    ("prompts named", "of a split", [
        "INSERT INTO prompts SELECT 9999, layer, neuron, 'other', 1, doc_id, token_ids, start, "
        "activation, truncated_activation, kept_activations, probability, token_rank FROM prompts "
        "WHERE prompt_id = 0",
        *(f"INSERT INTO {t} SELECT * REPLACE (9999 AS prompt_id) FROM {t} WHERE prompt_id = 0"
          for t in verify_rules.OF_PROMPTS if t != "classifications")]),
    ("neurons named", "that the model lacks", [change("token_neurons", "neuron = 64")]),
    ("neurons named", "have no best tokens", ["DELETE FROM neuron_tokens WHERE (layer, neuron) = (0, 3)"]),
    ("neurons named", "of a kind", [change("studied_neurons", "kind = 'other'")]),
    ("neurons named", "not studied", [change("component_neurons", "neuron = 63 - neuron")]),
    ("heads named", "that the model lacks", [change("component_neurons", "head = 4")]),
    ("heads named", "cannot reach", [
        "INSERT INTO component_neurons SELECT 2, 0, 0, layer, neuron, 1 FROM studied_neurons "
        "WHERE layer = 2 LIMIT 1"]),
    ("tokens named", "ids are missing", ["DELETE FROM tokens WHERE token_id = 504"]),
    ("tokens named", "without text", [change("studied_neurons", "token_id = 503")]),
    ("tokens named", "prompts hold an id", [change("prompts", "token_ids = [504] || token_ids[2:]")]),
    ("list lengths", "kept activations",
     [change("prompts", "kept_activations = [0.0] || kept_activations")]),
    ("list lengths", "longer than the context", ["UPDATE manifest SET value = '5' WHERE key = 'n_ctx'"]),
    ("list lengths", "heads or MLPs", [change("head_attributions", "mlps = mlps || [0.0]")]),
    ("list lengths", "head_attention", [change("head_attention", "weights = weights || [0.0]")]),
    ("list lengths", "component_attributions",
     [change("component_attributions", "components = components || [0.0]")]),
    ("list lengths", "components than the model's",
     ["DELETE FROM head_components WHERE (layer, head, matrix, component) = (0, 0, 'OV', 7)"]),
    ("list lengths", "another number of starts",
     [change("truncation_curves", "activations = activations || [0.0]")]),
    ("parts", "do not sum", [change("head_attributions", "embedding = embedding + 0.002")]),
    ("parts", "cannot reach",
     [change("head_attributions", "heads = heads[:-2] || [1e-6::FLOAT]")]),
    ("parts", "divides by nothing", [change("head_attributions", "ln_scale = 0")]),
    ("components", "do not sum",
     [change("component_attributions", "components = [components[1] + 0.001] || components[2:]")]),
    ("active heads", "those of the rule", [
        "UPDATE manifest SET value = '\"top:4\"' WHERE key = 'active_rule'"]),
    ("activity", "one row for each split", [drop("head_activity", "NOT studied AND split = 'test'")]),
    ("activity", "other active prompts",
     [change("head_activity", "n_active = n_active + 1", "split = 'test'")]),
    ("activity", "other prompts", [change("head_activity", "n_prompts = n_prompts + 1", "split = 'test'")]),
    ("activity", "another mean", [change("head_activity", "mean_attribution = mean_attribution + 0.001")]),
    ("studied heads", "against the share",
     [change("head_activity", "studied = false", "studied AND split = 'test'")]),
    ("studied pairs", "lack their attention", [drop("head_attention")]),
    ("studied pairs", "lack their removals",
     [f"DELETE FROM ablations WHERE (prompt_id, head_layer, head) = (SELECT (prompt_id, head_layer, "
      f"head) FROM ablations WHERE {first('ablations')})"]),
    ("studied pairs", "components of a head that is not studied", [
        "INSERT INTO component_attributions SELECT prompt_id, 0, x.head, list_transform(range(8), "
        "lambda i: CASE i WHEN 0 THEN heads[x.head + 1] ELSE 0 END) FROM head_attributions, "
        "(SELECT head FROM head_activity a JOIN prompts p USING (layer, neuron) WHERE p.prompt_id = 0 "
        "AND head_layer = 0 AND NOT studied LIMIT 1) x WHERE prompt_id = 0"]),
    ("studied pairs", "explanations", [
        "INSERT INTO explanations SELECT layer, neuron, head_layer, head, 'me', 'text', NULL, NULL, "
        "NULL FROM head_activity WHERE NOT studied LIMIT 1"]),
    ("kept texts", "do not ascend",
     [change("truncation_curves", "starts = [starts[2], starts[1]] || starts[3:]",
             "len(starts) > 3")]),
    ("kept texts", "lack the kept text or a shorter one", [
        "UPDATE truncation_curves SET starts = starts[:-2], activations = activations[:-2] WHERE "
        f"prompt_id = (SELECT min(prompt_id) FROM prompts WHERE {LONG})"]),
    ("kept texts", "longer than was allowed",
     ["UPDATE manifest SET value = '1' WHERE key = 'max_prompt_tokens'"]),
    ("kept texts", "another activation",
     [change("prompts", "truncated_activation = truncated_activation + 0.01")]),
    ("kept texts", "too little", ["UPDATE manifest SET value = '1' WHERE key = 'keep_ratio'"]),
    ("kept texts", "shorter text", ["UPDATE manifest SET value = '0.05' WHERE key = 'keep_ratio'"]),
    ("ranks", "token_neurons do not count", [drop("token_neurons")]),
    ("ranks", "neuron_tokens do not follow", [change("neuron_tokens", "congruence = -99", "rank = 2")]),
    ("ranks", "prompts do not count", ["UPDATE prompts SET rank = rank + 1"]),
    ("ranks", "component_tokens do not follow", [change("component_tokens", "value = 99", "rank = 2")]),
    ("probabilities", "outside 0 to 1", [change("prompts", "probability = 1.5"),
                                         "UPDATE ablations SET delta_probability = -1",
                                         "UPDATE joint_ablations SET delta_probability = -1",
                                         "UPDATE neuron_ablations SET delta_probability = -1"]),
    ("probabilities", "token rank", [change("prompts", "token_rank = 0")]),
    ("probabilities", "token rank", [change("prompts", "token_rank = 506")]),
    ("probabilities", "head_attention",
     [change("head_attention", "weights = [weights[1] + 0.01] || weights[2:]")]),
    ("probabilities", "joint_ablations", [change("joint_ablations", "delta_probability = 1.1")]),
    ("removals", "of a kind", [change("ablations", "kind = 'other'", "kind = 'mean-all'")]),
    ("removals", "in all ways", [drop("ablations")]),
    ("removals", "do not remove the active heads", [change("joint_ablations", "n_heads = 9")]),
    ("removals", "lack their joint", ["DELETE FROM joint_ablations WHERE prompt_id = 0"]),
    ("removals", "lack the removal of their neuron", [drop("neuron_ablations")]),
    ("scores", "another activity",
     [change("classifications", "active = NOT active"),
      # counted as it now stands, so that only the activity is wrong
      "UPDATE head_scores s SET tp = v.tp, fp = v.fp, tn = v.tn, fn = v.fn FROM (SELECT layer, neuron, "
      "head_layer, head, count(*) FILTER (active AND predicted) AS tp, count(*) FILTER (NOT active "
      "AND predicted) AS fp, count(*) FILTER (NOT active AND NOT predicted) AS tn, count(*) FILTER "
      "(active AND NOT predicted) AS fn FROM classifications GROUP BY ALL) v WHERE (s.layer, s.neuron, "
      "s.head_layer, s.head) = (v.layer, v.neuron, v.head_layer, v.head)"]),
    ("scores", "no test prompt", ["UPDATE classifications SET prompt_id = (SELECT min(prompt_id) FROM "
                                  "prompts WHERE split = 'train'), active = true WHERE "
                                  + first("classifications", "active")]),
    ("scores", "other verdicts", [drop("classifications")]),
    ("scores", "balanced accuracy", [change("head_scores", "score = score / 2, ci_low = 0", _TP)]),
    ("scores", "balanced accuracy",
     [change("head_scores", "score = NULL, ci_low = NULL, ci_high = NULL", _TP)]),
    ("scores", "intervals", [change("head_scores", "ci_high = 1.2", _TP)]),
    ("scores", "nulls", [change("score_nulls", "score = 1.5")]),
    ("channels", "backwards", [change("composition", "src_layer = dst_layer, dst_head = 9 - dst_head")]),
    ("channels", "outside 0 to 1", [change("component_composition", "score = 1.5")]),
    ("channels", "descend", [change("head_components", "singular_value = 99", "component = 2")]),
    ("tasks", "cannot be", ["INSERT INTO task_results VALUES ('t', 'a', 'c', 2, 0, 4, 5, 0.5)"]),
]  # fmt: skip
