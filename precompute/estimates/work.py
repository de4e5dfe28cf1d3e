"""What each stage costs, in units that do not depend on the machine: one function a stage.

Units are `flops` (floating-point operations of matrix products, a multiplication and an addition count
two), `bytes` (memory that elementwise passes, sorts and copies move), `calls` (blocks that are run, however
small the batch) and `steps` (items that Python handles one by one). Seconds are units times rates: see
`rates`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from explorer.core.types import ABLATION_KINDS, ModelShape
from precompute.estimates.shapes import n_weights
from precompute.estimates.workload import Habits, RunSize

_FLOAT = 4
"""Bytes of a float32."""
_WAVES = 3
"""Rounds of candidates until enough prompts are kept, about."""
_N_BEST = 20
"""Tokens kept of each neuron, neurons of each token, tokens of each component."""
_DEAR = 150_000_000
"""Weights in the blocks above which the tasks are asked with fewer prompts, as the stage does."""
_TASK_PROMPTS = {
    # task: (prompts, tokens each), whole plan; the same, bounded plan; training unknown.
    "name-inhibition": ((200, 15.0), (64, 14.5)),
    "laundry-list": ((452, 48.8), (110, 68.6)),
}


@dataclass(frozen=True)
class Work:
    """What a stage costs."""

    flops: float = 0.0
    bytes: float = 0.0
    calls: float = 0.0
    steps: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(
            flops=self.flops + other.flops,
            bytes=self.bytes + other.bytes,
            calls=self.calls + other.calls,
            steps=self.steps + other.steps,
        )


def forward(
    shape: ModelShape, tokens: float, length: float, layers: float, read: float = 0.0
) -> Work:
    """Passes over `tokens` positions in sequences of `length` up to `layers` blocks high, and logits at
    `read` of the positions.

    A block: 2 (4 d_model n_heads d_head + 2 d_model d_mlp) + 4 length n_heads d_head operations a token;
    in memory about 20 passes over the stream, 4 over the MLP and 6 over the attention pattern.
    """
    heads = shape.n_heads * shape.d_head
    weights = 4 * shape.d_model * heads + 2 * shape.d_model * shape.d_mlp
    passes = 20 * shape.d_model + 4 * shape.d_mlp + 6 * shape.n_heads * length
    return Work(
        flops=tokens * layers * (2 * weights + 4 * length * heads)
        + read * 2 * shape.d_model * shape.d_vocab,
        bytes=_FLOAT * (tokens * layers * passes + read * 4 * shape.d_vocab),
    )


def loading(run: RunSize, habits: Habits) -> Work:
    """Survey of the text, loading, folding and checking of the weights. One step is the start of the
    libraries."""
    return Work(bytes=12 * _FLOAT * n_weights(run.shape) + 8 * run.tokens, steps=1)


def congruence(run: RunSize, habits: Habits) -> Work:
    """All neurons against all tokens: one product, and about 10 passes over the scores to rank them
    both ways. Independent of the text and of what is studied."""
    shape = run.shape
    cells = shape.n_layers * shape.d_mlp * shape.d_vocab
    return Work(flops=2.0 * cells * shape.d_model, bytes=10.0 * _FLOAT * cells)


def scan(run: RunSize, habits: Habits) -> Work:
    """Every token of the text once, up to the deepest studied layer; the peaks of all studied neurons in
    every document. Steps are tokens read."""
    tokens = run.tokens + run.n_windows  # each window has a BOS of its own
    peaks = tokens * run.n_neurons * 4 + run.documents * run.n_neurons * 40
    read = forward(run.shape, tokens, run.window + 1, run.n_layers_read)
    batches = run.n_scan_shards + tokens / run.batch_tokens
    return read + Work(bytes=_FLOAT * peaks, calls=batches * run.n_layers_read, steps=tokens)


def prompts(run: RunSize, habits: Habits) -> Work:
    """Suffixes of one length after another until one keeps the neuron on, each up to the neuron's layer.
    Steps are suffixes; the text is read once more, a tenth of a step a document."""
    kept = run.hypothetical_prompts * habits.found
    suffixes = kept * habits.evaluations
    length = habits.evaluated_tokens + 1
    # Searches advance together, a length at a time: some go on to the longest that is allowed.
    longest = min(run.max_prompt_tokens, run.window)
    batches = run.n_prompt_shards * _WAVES * longest + suffixes * length / run.batch_tokens
    return forward(run.shape, suffixes * length, length, run.mean_layers) + Work(
        calls=batches * run.mean_layers, steps=suffixes + 0.1 * run.documents
    )


def heads(run: RunSize, habits: Habits) -> Work:
    """One whole pass over every kept prompt, and each head's contribution. Steps are the contributions
    that are handled one by one: prompts times reachable heads."""
    kept, length = run.hypothetical_prompts * habits.found, habits.kept_tokens + 1
    passed = forward(run.shape, kept * length, length, run.shape.n_layers, read=kept)
    batches = run.n_prompt_shards + kept * length / run.batch_tokens
    return passed + Work(
        calls=batches * run.shape.n_layers, steps=kept * (run.reachable_heads + 10)
    )


def n_removals(run: RunSize, habits: Habits) -> tuple[float, float]:
    """Removals at all positions, and at the last position alone (the neuron's own among these)."""
    kept = run.hypothetical_prompts * habits.found
    each = habits.studied * run.reachable_heads + habits.with_active
    half = len(ABLATION_KINDS) / 2
    return kept * each * half, kept * (each * half + 1)


def ablations(run: RunSize, habits: Habits) -> Work:
    """Every removal is a pass from its head's layer on (about half the blocks), at all positions or at the
    last one alone over copied keys and values; the clean passes and their means. Steps are removals."""
    shape, length = run.shape, habits.kept_tokens + 1
    kept = run.hypothetical_prompts * habits.found
    whole, last = n_removals(run, habits)
    half = shape.n_layers - run.mean_layers / 2
    copied = last * half * length * shape.n_heads * shape.d_head * 2 * 3
    # Prompts of one length are taken together: few lengths hold most of them.
    batches = run.n_prompt_shards * 3 * habits.kept_tokens + whole * length / run.batch_tokens
    return (
        forward(shape, whole * length, length, half, read=whole)
        + forward(shape, last, length, half, read=last)
        + forward(shape, 1.5 * kept * length, length, shape.n_layers, read=kept)
        + Work(bytes=_FLOAT * copied, calls=batches * shape.n_layers, steps=whole + last)
    )


def explanations(run: RunSize, habits: Habits) -> Work:
    """Studied pairs of neuron and head times their prompts, for the offline explainer. What a language
    model behind an endpoint takes is its own affair and not forecast."""
    if "contrast" not in run.explainers:
        return Work()
    pairs = run.n_neurons * run.reachable_heads * habits.studied
    return Work(steps=pairs * 2 * run.prompts * habits.found * (habits.kept_tokens + 1))


def channels(run: RunSize, habits: Habits) -> Work:
    """Components of all heads (QR and SVD), each against every token on four sides, every component against
    every later head in three modes. Steps are component attributions of kept prompts."""
    shape = run.shape
    components = shape.n_layers * shape.n_heads * shape.d_head
    width = shape.n_heads * shape.d_head
    factored = 16.0 * components * shape.d_model * shape.d_head
    tokens = 4.0 * components * shape.d_vocab
    pairs = 3.0 * components * (shape.n_layers - 1) / 2
    kept = run.hypothetical_prompts * habits.found
    length = habits.kept_tokens + 1
    passed = forward(shape, kept * length, length, run.mean_layers)
    return passed + Work(
        flops=factored + 2 * tokens * shape.d_model + 2 * pairs * shape.d_model * width,
        bytes=_FLOAT * (6 * tokens + pairs * (2 * width + 40 * shape.n_heads))
        + 24 * components * run.n_neurons,
        calls=(run.n_prompt_shards + kept * length / run.batch_tokens) * run.mean_layers,
        steps=kept * (1 + run.reachable_heads * habits.studied),
    )


def task_prompts(run: RunSize) -> tuple[float, float]:
    """Prompts of the tasks asked for, and their tokens in all."""
    shape = run.shape
    per_layer = 4 * shape.d_model * shape.n_heads * shape.d_head + 2 * shape.d_model * shape.d_mlp
    bounded = shape.n_layers * per_layer > _DEAR
    asked = [_TASK_PROMPTS[task][bounded] for task in run.tasks]
    known = 2 if run.training_known else 1
    return known * sum(n for n, _ in asked), known * sum(n * length for n, length in asked)


def tasks(run: RunSize, habits: Habits) -> Work:
    """Every task prompt once, logits at its end. Steps are prompts made and judged."""
    n, tokens = task_prompts(run)
    if not n:
        return Work()
    return forward(run.shape, tokens + n, tokens / n + 1, run.shape.n_layers, read=4 * n) + Work(
        calls=(40 + (tokens + n) / run.batch_tokens) * run.shape.n_layers, steps=n
    )


def publish(run: RunSize, habits: Habits) -> Work:
    """All rows into the store. Steps are rows; the largest tables are those of the whole model. One call is
    the file itself."""
    return Work(calls=1, steps=sum(store_rows(run, habits).values()))


def store_rows(run: RunSize, habits: Habits) -> dict[str, float]:
    """Rows of the tables that grow with the model or the run."""
    shape = run.shape
    kept = run.hypothetical_prompts * habits.found
    components = shape.n_layers * shape.n_heads * shape.d_head
    whole, last = n_removals(run, habits)
    pairs = shape.n_layers * (shape.n_layers - 1) / 2 * shape.n_heads**2
    reached = components * run.mean_layers / shape.n_layers
    return {
        "neuron_tokens": float(_N_BEST * shape.n_layers * shape.d_mlp),
        "token_neurons": float(_N_BEST * shape.d_vocab),
        "tokens": float(shape.d_vocab),
        "prompts": kept,
        "truncation_curves": kept,
        "head_attributions": kept,
        "head_activity": 2 * run.n_neurons * run.reachable_heads,
        "head_attention": kept * run.reachable_heads * habits.studied,
        "ablations": whole + last - kept,
        "component_tokens": 4.0 * _N_BEST * components,
        "component_neurons": run.n_neurons * reached,
        "component_attributions": kept * run.reachable_heads * habits.studied,
        "composition": 3 * pairs,
        "component_composition": 150.0 * shape.n_layers * shape.n_heads,
    }


StageWork = Callable[[RunSize, Habits], Work]

STAGES: dict[str, StageWork] = {
    "loading": loading, "congruence": congruence, "scan": scan, "prompts": prompts, "heads": heads,
    "ablations": ablations, "explanations": explanations, "channels": channels, "tasks": tasks,
    "publish": publish,
}  # fmt: skip
"""By the job's own names; `loading` is what comes before the first of them."""

SHARED = ("scan", "prompts", "heads", "ablations")
"""Stages whose shards workers share; the others run where the job was started."""
