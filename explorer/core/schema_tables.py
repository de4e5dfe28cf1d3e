"""What each table and column of a store means. Data only: `schema` turns it into a database."""

# fmt: off
from __future__ import annotations

from typing import NamedTuple

Column = tuple[str, str, str]
"""Name, DuckDB type, comment (unit and meaning)."""


class TableSpec(NamedTuple):
    comment: str
    columns: tuple[Column, ...]


_TOKEN_ID = ("token_id", "INTEGER", "Vocabulary id, from 0")
_LAYER = ("layer", "INTEGER", "Layer of the neuron, from 0")
_NEURON = ("neuron", "INTEGER", "Index of the neuron in its layer, from 0")
_HEAD_LAYER = ("head_layer", "INTEGER", "Layer of the head, from 0")
_HEAD = ("head", "INTEGER", "Index of the head in its layer, from 0")
_PROMPT_ID = ("prompt_id", "INTEGER", "Prompt, from 0; see table prompts")
_CONGRUENCE = (
    "congruence",
    "FLOAT",
    "Dot product of the neuron's output weights and the token's unembedding, on folded and "
    "centred weights; logits per unit of activation before the final layer norm's division",
)
_EXPLAINER = ("explainer", "VARCHAR", "Name of the explainer")
_DELTAS = (
    ("delta_pre_activation", "FLOAT", "Ablated minus clean, pre-activation units"),
    ("delta_activation", "FLOAT", "Ablated minus clean, post-activation units"),
    ("delta_probability", "FLOAT", "Ablated minus clean, probability of the neuron's token"),
)
_ABLATION_KIND = ("kind", "VARCHAR", "zero-last, zero-all, mean-last or mean-all")
_COMPONENT = ("component", "INTEGER", "Singular component, from 0, by descending singular value")
_MODE = ("mode", "VARCHAR", "Which input of the receiving head: Q, K or V")
_MATRIX = ("matrix", "VARCHAR", "OV or QK")
_HEAD_PAIR = (
    ("src_layer", "INTEGER", "Layer of the sending head, from 0"),
    ("src_head", "INTEGER", "Index of the sending head, from 0"),
    ("dst_layer", "INTEGER", "Layer of the receiving head, from 0"),
    ("dst_head", "INTEGER", "Index of the receiving head, from 0"),
)
_H_LAYER = ("layer", "INTEGER", "Layer of the head, from 0")

TABLES: dict[str, TableSpec] = {
    "manifest": TableSpec(
        "What was run, on what, with which options",
        (
            ("key", "VARCHAR", "Name of the fact; options under their long name with _ for -"),
            ("value", "VARCHAR", "The fact, as JSON"),
        ),
    ),
    "tokens": TableSpec(
        "The vocabulary, one row for each row of the unembedding",
        (
            _TOKEN_ID,
            (
                "text",
                "VARCHAR",
                "The token's text inside a sentence, leading space kept; bytes that are no whole "
                "character read <0xE2>; empty for ids past the tokenizer's vocabulary",
            ),
        ),
    ),
    "token_neurons": TableSpec(
        "Every token's 20 best neurons over all layers",
        (_TOKEN_ID, ("rank", "INTEGER", "From 1, by descending congruence"), _LAYER, _NEURON,
         _CONGRUENCE),
    ),
    "neuron_tokens": TableSpec(
        "Every neuron's 20 best tokens",
        (_LAYER, _NEURON, ("rank", "INTEGER", "From 1, by descending congruence"), _TOKEN_ID,
         _CONGRUENCE),
    ),
    "studied_neurons": TableSpec(
        "Neurons for which prompts were collected",
        (
            _LAYER,
            _NEURON,
            ("token_id", "INTEGER", "The neuron's token: the one asked for, else its best one"),
            _CONGRUENCE,
            ("kind", "VARCHAR", "next-token, requested or random; the first that applies"),
        ),
    ),
    "prompts": TableSpec(
        "Kept prompts: each ends with the token at which the neuron peaks in its document",
        (
            _PROMPT_ID,
            _LAYER,
            _NEURON,
            ("split", "VARCHAR", "train or test"),
            ("rank", "INTEGER", "From 1 within neuron and split, by descending activation"),
            ("doc_id", "INTEGER", "Document in its corpus file, from 0"),
            ("token_ids", "INTEGER[]", "The whole prompt, window start to peak token, without BOS"),
            ("start", "INTEGER", "Tokens removed from the left; the kept text is token_ids[start + 1:]"),
            ("activation", "FLOAT", "Post-activation at the last token of the whole prompt"),
            ("truncated_activation", "FLOAT", "Post-activation at the last token of the kept text"),
            ("kept_activations", "FLOAT[]", "Post-activation at each kept token, truncated run"),
            ("probability", "FLOAT", "Probability of the neuron's token after the kept text, 0 to 1"),
            ("token_rank", "INTEGER", "1 + the number of tokens with a higher logit"),
        ),
    ),
    "truncation_curves": TableSpec(
        "Activation at the peak token against what is kept of the prompt",
        (
            _PROMPT_ID,
            ("starts", "INTEGER[]", "Tokens removed from the left, ascending; 0 is the whole prompt"),
            ("activations", "FLOAT[]", "Post-activation at the last token, one for each start"),
        ),
    ),
    "head_attributions": TableSpec(
        "What each part adds to the pre-activation at the last kept token: "
        "sum(heads) + sum(mlps) + embedding + bias = pre_activation",
        (
            _PROMPT_ID,
            ("heads", "FLOAT[]", "Direct contribution of each head, flat: layer * n_heads + head; "
             "pre-activation units; 0 where a head cannot reach"),
            ("mlps", "FLOAT[]", "Direct contribution of each layer's MLP, output bias included; "
             "pre-activation units; 0 from the neuron's layer on"),
            ("embedding", "FLOAT", "Contribution of token and position embedding together"),
            ("bias", "FLOAT", "Attention output biases of the blocks whose heads count, plus the "
             "neuron's own bias"),
            ("pre_activation", "FLOAT", "The neuron's input before the non-linearity"),
            ("ln_scale", "FLOAT", "Observed divisor of the layer norm, sqrt(var + eps)"),
        ),
    ),
    "active_heads": TableSpec(
        "Heads active in a prompt, by the run's active rule", (_PROMPT_ID, _HEAD_LAYER, _HEAD)
    ),
    "head_activity": TableSpec(
        "How often each reachable head is active for a neuron, zeros included",
        (
            _LAYER,
            _NEURON,
            _HEAD_LAYER,
            _HEAD,
            ("split", "VARCHAR", "train or test"),
            ("n_active", "INTEGER", "Prompts in which the head is active"),
            ("n_prompts", "INTEGER", "Kept prompts of the neuron in this split"),
            ("mean_attribution", "FLOAT", "Mean contribution over all n_prompts; NULL without any"),
            ("studied", "BOOLEAN", "Active in 25 % to 75 % of the train prompts; same on both rows"),
        ),
    ),
    "head_attention": TableSpec(
        "Attention of the last position, for the studied heads of the prompt's neuron",
        (_PROMPT_ID, _HEAD_LAYER, _HEAD,
         ("weights", "FLOAT[]", "Attention probability over BOS and the kept tokens; sums to 1")),
    ),
    "ablations": TableSpec(
        "Each studied pair of neuron and head, on each kept prompt: the model re-run without it",
        (_PROMPT_ID, _HEAD_LAYER, _HEAD, _ABLATION_KIND, *_DELTAS),
    ),
    "joint_ablations": TableSpec(
        "All active heads of a prompt removed at once",
        (_PROMPT_ID, _ABLATION_KIND, ("n_heads", "INTEGER", "Heads removed"), *_DELTAS),
    ),
    "neuron_ablations": TableSpec(
        "The neuron's activation set to 0 at the last position",
        (_PROMPT_ID, ("delta_probability", "FLOAT", "Ablated minus clean, its token's probability")),
    ),
    "explanations": TableSpec(
        "When a head is active for a neuron, in words",
        (_LAYER, _NEURON, _HEAD_LAYER, _HEAD, _EXPLAINER,
         ("text", "VARCHAR", "The explanation"),
         ("rule", "VARCHAR", "What the contrast explainer learned, as JSON; else NULL"),
         ("request", "VARCHAR", "What the explainer was asked"),
         ("reply", "VARCHAR", "What it answered, raw")),
    ),
    "classifications": TableSpec(
        "What an explanation predicts for each test prompt",
        (_LAYER, _NEURON, _HEAD_LAYER, _HEAD, _EXPLAINER, _PROMPT_ID,
         ("active", "BOOLEAN", "Whether the head is active"),
         ("predicted", "BOOLEAN", "What the explanation predicts"),
         ("reply", "VARCHAR", "The explainer's answer, raw")),
    ),
    "head_scores": TableSpec(
        "Balanced accuracy of each explanation on the test prompts",
        (_LAYER, _NEURON, _HEAD_LAYER, _HEAD, _EXPLAINER,
         ("tp", "INTEGER", "Active, predicted active"), ("fp", "INTEGER", "Inactive, predicted active"),
         ("tn", "INTEGER", "Inactive, predicted inactive"), ("fn", "INTEGER", "Active, predicted inactive"),
         ("n_missing", "INTEGER", "Test prompts without a verdict"),
         ("score", "FLOAT", "(TPR + TNR) / 2; NULL where a class is missing"),
         ("ci_low", "FLOAT", "2.5 % quantile of 1,000 bootstrap resamples"),
         ("ci_high", "FLOAT", "97.5 % quantile of 1,000 bootstrap resamples")),
    ),
    "score_nulls": TableSpec(
        "What a score would be without the explanation's content",
        (_LAYER, _NEURON, _HEAD_LAYER, _HEAD, _EXPLAINER,
         ("null_kind", "VARCHAR", "other-head or shuffle"), ("score", "FLOAT", "Balanced accuracy"),
         ("p_value", "FLOAT", "Share of permutations that do as well; NULL for other-head")),
    ),
    "failures": TableSpec(
        "What could not be done; never stored as data elsewhere",
        (("stage", "VARCHAR", "Stage of the job"), ("subject", "VARCHAR", "What it was about"),
         ("reason", "VARCHAR", "Why it failed")),
    ),
    "head_components": TableSpec(
        "Singular values of each head's OV and QK matrices",
        (_H_LAYER, _HEAD, _MATRIX, _COMPONENT,
         ("singular_value", "FLOAT", "Strength of one direction that the head reads or writes")),
    ),
    "component_tokens": TableSpec(
        "The 20 tokens that a component reads or writes most",
        (_H_LAYER, _HEAD, _MATRIX, ("side", "VARCHAR", "read or write"), _COMPONENT,
         ("rank", "INTEGER", "From 1, by descending value"), _TOKEN_ID,
         ("value", "FLOAT", "Dot product of the direction and the token's (un)embedding")),
    ),
    "component_neurons": TableSpec(
        "How a component's written direction meets the input weights of studied neurons",
        (_H_LAYER, _HEAD, _COMPONENT, ("neuron_layer", "INTEGER", "Layer of the neuron, from 0"),
         _NEURON, ("value", "FLOAT", "v_i . w_in")),
    ),
    "component_attributions": TableSpec(
        "A studied head's contribution to a prompt, by component",
        (_PROMPT_ID, _HEAD_LAYER, _HEAD,
         ("components", "FLOAT[]", "Pre-activation units; sums to the head's contribution")),
    ),
    "composition": TableSpec(
        "Composition score of every earlier head with every later one",
        (_MODE, *_HEAD_PAIR, ("score", "FLOAT", "Frobenius norm of the product over the norms' product")),
    ),
    "component_composition": TableSpec(
        "The 50 components that compose most with each receiving head",
        (_MODE, *_HEAD_PAIR[:2],
         ("src_component", "INTEGER", "Singular component of the sender's OV, from 0"),
         *_HEAD_PAIR[2:], ("score", "FLOAT", "Composition score of the component, 0 to 1"),
         ("z", "FLOAT", "Robust z (median, 1.4826 MAD) among all components of earlier heads")),
    ),
    "task_results": TableSpec(
        "Accuracy on generated task prompts, the model as it is",
        (("task", "VARCHAR", "name-inhibition or laundry-list; with top-1 after it, right is the most "
          "likely token of the vocabulary, else the answer outscores the other names or items"),
         ("template", "VARCHAR", "Sentence template, up to the answer"),
         ("condition", "VARCHAR", "Whether template, words and length occurred in the task sentences "
          "of the model's training; training unknown where its folder says nothing of them"),
         ("n", "INTEGER", "Items in the list, or 2 names"),
         ("position", "INTEGER", "Place of the answer among them, from 0"),
         ("n_prompts", "INTEGER", "Prompts"),
         ("n_right", "INTEGER", "Prompts answered right"), ("chance", "FLOAT", "Accuracy of guessing")),
    ),
}

NULLABLE = {
    ("head_activity", "mean_attribution"), ("explanations", "rule"), ("explanations", "request"),
    ("explanations", "reply"), ("classifications", "reply"), ("head_scores", "score"),
    ("head_scores", "ci_low"), ("head_scores", "ci_high"), ("score_nulls", "score"),
    ("score_nulls", "p_value"), ("component_composition", "z"),
}  # fmt: skip
"""Columns that may hold NULL; all others never do."""
