"""Memory and disk that a run needs: what is held at once, added up from the model's sizes.

The figures beside the sizes (passes, copies) are measured: `tests/precompute/test_estimates_memory.py` holds
the sum to the peak memory of real runs.
"""

from __future__ import annotations

from dataclasses import dataclass

from precompute.cutting import NEURONS_A_SHARD, SHARDS_A_GROUP
from precompute.estimates.shapes import n_weights
from precompute.estimates.work import n_removals, store_rows
from precompute.estimates.workload import Habits, RunSize

_LIBRARIES = 0.55e9
"""Bytes of a process that has loaded the libraries and no model."""
_LIBRARIES_CUDA = 3.0e9
"""The same with CUDA's own libraries."""
_LOADING = 3.4
"""Times the weights that are held while they are folded."""
_LOADED = 2.2
"""Times the weights afterwards, with what the allocator keeps."""
_KEPT_BACK = 1.3
"""Times what stages hold for a moment: the allocator does not give all of it back in between."""
_CHUNK = 1 << 24
"""Scores that the stages which rank hold at a time."""
_PEAK = 36
"""Bytes of a peak on disk: neuron, rank, activation, document, position, mark."""
_FLOAT = 4


@dataclass(frozen=True)
class Room:
    """What a run needs, in bytes."""

    driver: float
    """Peak memory of the process that the job is started in."""
    worker: float
    """Peak memory of a worker; the same process where there is one alone."""
    gpu: float
    """Peak memory of a GPU with whole batches; 0 on a CPU."""
    gpu_least: float
    """What a GPU must hold at least: batches that do not fit are halved."""
    shards: float
    """On disk while the run is unfinished."""
    store: float
    """On disk for good."""


def weights_bytes(run: RunSize) -> float:
    return _FLOAT * float(n_weights(run.shape))


def stacked_bytes(run: RunSize) -> float:
    """Queries, keys, values and outputs of all heads stacked beside the model, and three of them once
    more for the step-by-step blocks."""
    shape = run.shape
    return 1.75 * _FLOAT * 4 * shape.n_layers * shape.d_model * shape.n_heads * shape.d_head


_PATTERNS = 4
"""Times the attention pattern: scores, mask, softmax, copy."""
_PATTERNS_CUDA = 8
"""The same with what the GPU's allocator keeps of batches of other shapes; measured on an H200, where the sum
is 0.7 to 1.8 times what four runs took (0.7 for GPT-2's small shape on long documents)."""


def batch_bytes(run: RunSize, length: float, patterns: int = _PATTERNS) -> float:
    """One forward pass of `batch_tokens` positions in sequences of `length`: a block's stream and MLP, and
    its attention pattern so many times over."""
    shape = run.shape
    stream = 6 * shape.d_model + 3 * shape.d_mlp
    return run.batch_tokens * _FLOAT * (stream + patterns * shape.n_heads * length)


def logits_bytes(run: RunSize, most: float, length: float, copies: float) -> float:
    """Logits after each of at most so many sequences, with what a softmax copies of them."""
    rows = min(most, run.batch_tokens / max(1.0, length))
    return rows * run.shape.d_vocab * _FLOAT * copies


def scores_bytes(run: RunSize) -> float:
    """A chunk of scores of neurons with tokens, and what ranking copies of it."""
    return 5.0 * _FLOAT * min(_CHUNK, run.shape.d_mlp * run.shape.d_vocab)


def transient_bytes(run: RunSize, habits: Habits, patterns: int = _PATTERNS) -> float:
    """The largest of what the stages hold for a moment on the device."""
    longest = min(float(run.shape.n_ctx), run.window + 1)
    kept = habits.kept_tokens + 1
    return max(
        scores_bytes(run),
        batch_bytes(run, longest, patterns),
        batch_bytes(run, kept, patterns)
        + logits_bytes(run, NEURONS_A_SHARD * 2 * run.prompts, kept, 3),
        batch_bytes(run, 64, patterns) + (logits_bytes(run, 1000, 16, 7) if run.tasks else 0.0),
    )


def tables_bytes(run: RunSize, habits: Habits) -> float:
    """What the driver holds of results until it publishes."""
    shape = run.shape
    kept = run.hypothetical_prompts * habits.found
    rows = store_rows(run, habits)
    peaks = run.n_neurons * run.candidates
    candidates = 2 * peaks * min(run.window, shape.n_ctx) * 8
    a_prompt = _FLOAT * (shape.n_layers * (shape.n_heads + 1) + run.window + 3 * habits.kept_tokens)
    whole_model = 36 * sum(
        rows[name]
        for name in ("neuron_tokens", "token_neurons", "component_tokens", "component_neurons")
    )
    return (
        2 * 28 * 3 * peaks + candidates + kept * a_prompt
        + rows["component_attributions"] * _FLOAT * shape.d_head
        + 40 * rows["ablations"] + whole_model
    )  # fmt: skip


def store_bytes(run: RunSize, habits: Habits) -> float:
    """The published file: lists at four bytes an entry, other rows at about five and a half as
    DuckDB packs them, and its own blocks."""
    shape = run.shape
    rows = store_rows(run, habits)
    kept, studied = rows["prompts"], rows["head_attention"]
    lists = kept * (shape.n_layers * (shape.n_heads + 1) + run.window + 4 * habits.kept_tokens)
    lists += studied * (shape.d_head + habits.kept_tokens)
    return _FLOAT * lists + 5.5 * sum(rows.values()) + 5.5e6


def shards_bytes(run: RunSize, habits: Habits) -> float:
    """Unfinished work at its largest: the reading pass's shards, joined in groups, and the tables of all
    stages as they were before DuckDB packed them."""
    groups = run.n_scan_shards / SHARDS_A_GROUP
    full = run.n_neurons * run.candidates * _PEAK
    a_shard = run.documents / run.n_scan_shards
    loose = run.n_neurons * min(a_shard, run.candidates) * _PEAK
    scan = groups * full + min(run.n_scan_shards, SHARDS_A_GROUP) * loose
    whole, last = n_removals(run, habits)
    return scan + 2.5 * store_bytes(run, habits) + 20 * (whole + last)


def room_needed(run: RunSize, habits: Habits, device: str, workers: int = 1) -> Room:
    """Memory and disk of a run on this device."""
    weights = weights_bytes(run)
    on_gpu = device == "cuda"
    libraries = _LIBRARIES_CUDA if on_gpu else _LIBRARIES
    patterns = _PATTERNS_CUDA if on_gpu else _PATTERNS
    working = stacked_bytes(run) + _KEPT_BACK * transient_bytes(run, habits, patterns)
    at_loading = libraries + _LOADING * weights
    tables = tables_bytes(run, habits)
    if on_gpu:
        gpu = 1.75 * weights + working
        gpu_least = 1.75 * weights + stacked_bytes(run) + scores_bytes(run)
        worker = libraries + 2 * weights
    else:
        gpu = gpu_least = 0.0
        worker = max(at_loading, libraries + _LOADED * weights + working)
    return Room(
        driver=worker + tables,
        worker=worker,
        gpu=gpu,
        gpu_least=gpu_least,
        shards=shards_bytes(run, habits),
        store=store_bytes(run, habits),
    )
