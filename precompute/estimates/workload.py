"""What a run will do, in counts: neurons, documents, tokens; and the habits of models, learned from runs.

How short prompts become and how many heads are active only a run can tell. `Habits` are such figures from
runs that were made; a forecast for another model takes them over, and says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from explorer.core.types import ModelShape
from precompute.config import JobConfig, parse_explainers, parse_layers, parse_tasks
from precompute.cutting import (
    BATCH_TOKENS,
    CHARACTERS_A_SHARD,
    DOCUMENTS_A_SHARD,
    NEURONS_A_SHARD,
)

CHARACTERS_A_TOKEN = 4.2
"""Of English text in GPT-2's tokens, about; where the text is at hand it is measured instead."""


@dataclass(frozen=True)
class CorpusSize:
    """One split's text."""

    documents: float
    tokens: float
    """BOS not counted."""

    @property
    def tokens_per_document(self) -> float:
        return self.tokens / max(1.0, self.documents)


@dataclass(frozen=True)
class Habits:
    """What the model makes of prompts; means over a run."""

    kept_tokens: float
    """Length of a kept prompt, BOS not counted."""
    evaluations: float
    """Suffixes run for each kept prompt, those of passed-over repeats and of the curve included."""
    evaluated_tokens: float
    """Length of such a suffix, BOS not counted."""
    found: float
    """Prompts kept as a share of those asked for; 0 to 1."""
    with_active: float
    """Share of prompts with an active head; 0 to 1."""
    studied: float
    """Studied heads of a neuron as a share of the heads that can reach it; 0 to 1."""


REFERENCE_HABITS = Habits(
    kept_tokens=3.56, evaluations=8.97, evaluated_tokens=5.94, found=0.94, with_active=0.97,
    studied=0.043,
)  # fmt: skip
"""Of the bundled model's demo run."""


@dataclass(frozen=True)
class RunSize:
    """All that a forecast needs to know of a run."""

    shape: ModelShape
    neurons: Mapping[int, int]
    """Studied neurons of each layer that has any."""
    corpora: Mapping[str, CorpusSize]
    """By split."""
    n_tokens_asked: int
    prompts: int
    """Asked for, for each neuron and split."""
    candidates: int
    max_prompt_tokens: int
    explainers: tuple[str, ...]
    tasks: tuple[str, ...]
    training_known: bool = False
    """Whether the model's folder tells what its training saw of the tasks: twice the prompts then."""
    is_one_corpus: bool = True
    """Whether both splits go through one file, each taking every other document."""
    dtype: str = "float32"
    batch_tokens: int = 4096
    """Tokens of one forward pass."""

    @cached_property
    def n_neurons(self) -> int:
        return sum(self.neurons.values())

    @cached_property
    def n_layers_read(self) -> int:
        """Blocks that the reading pass runs: to the deepest studied layer."""
        return max(self.neurons, default=-1) + 1

    @cached_property
    def mean_layers(self) -> float:
        """Blocks below and with a studied neuron's own, mean over neurons."""
        total = sum((layer + 1) * count for layer, count in self.neurons.items())
        return total / max(1, self.n_neurons)

    @cached_property
    def reachable_heads(self) -> float:
        """Heads that can reach a studied neuron, mean over neurons."""
        total = sum(self.shape.n_reaching_heads(n) * count for n, count in self.neurons.items())
        return total / max(1, self.n_neurons)

    @cached_property
    def documents(self) -> float:
        return sum(c.documents for c in self.corpora.values())

    @cached_property
    def tokens(self) -> float:
        return sum(c.tokens for c in self.corpora.values())

    @cached_property
    def window(self) -> float:
        """Length of a window of a document, mean over windows, BOS not counted."""
        return self.tokens / max(1.0, self.n_windows)

    @cached_property
    def n_windows(self) -> float:
        size = max(1, self.shape.n_ctx - 1)
        return sum(
            c.documents * max(1.0, c.tokens_per_document / size) for c in self.corpora.values()
        )

    @property
    def n_scan_shards(self) -> float:
        """Pieces in which the text is read; where both splits go through one file, each has all pieces."""
        characters = self.tokens * CHARACTERS_A_TOKEN
        pieces = max(1.0, self.documents / DOCUMENTS_A_SHARD, characters / CHARACTERS_A_SHARD)
        return 2 * pieces if self.is_one_corpus else max(2.0, pieces)

    @property
    def n_prompt_shards(self) -> int:
        """Pieces in which prompts are truncated, attributed and ablated."""
        return math.ceil(self.n_neurons / NEURONS_A_SHARD)

    @property
    def hypothetical_prompts(self) -> int:
        """Prompts if every neuron finds all that are asked for."""
        return 2 * self.n_neurons * self.prompts


def studied_neurons(config: JobConfig, shape: ModelShape) -> dict[int, int]:
    """Neurons studied in each layer by the options alone: `--tokens` spread evenly over the layers, and
    none taken for two reasons, so that it is the most there can be."""
    layers = parse_layers(config.layers, shape.n_layers)
    counts = dict.fromkeys(layers, 0)
    for layer in layers:
        wanted = config.neurons_per_layer + config.random_neurons_per_layer
        counts[layer] = min(shape.d_mlp, wanted)
    asked = len(config.tokens) * config.neurons_per_layer
    for place, layer in enumerate(layers):
        share = asked // len(layers) + (place < asked % len(layers))
        counts[layer] = min(shape.d_mlp, counts[layer] + share)
    for neuron in config.neurons:
        counts[neuron.layer] = counts.get(neuron.layer, 0) + 1
    return {layer: count for layer, count in sorted(counts.items()) if count}


def run_size(
    config: JobConfig,
    shape: ModelShape,
    corpora: Mapping[str, CorpusSize],
    device: str = "cpu",
    training_known: bool = False,
) -> RunSize:
    """The run that these options ask for on this text. Raises CallError for options that do not fit the
    model."""
    config.check_against(shape)
    return RunSize(
        shape=shape,
        neurons=studied_neurons(config, shape),
        corpora=dict(corpora),
        n_tokens_asked=len(config.tokens),
        prompts=config.prompts,
        candidates=config.n_candidates,
        max_prompt_tokens=min(config.max_prompt_tokens, shape.n_ctx - 1),
        explainers=parse_explainers(config.explainer),
        tasks=parse_tasks(config.tasks),
        training_known=training_known,
        is_one_corpus=config.test_corpus is None,
        dtype=config.dtype,
        batch_tokens=BATCH_TOKENS[device],
    )
