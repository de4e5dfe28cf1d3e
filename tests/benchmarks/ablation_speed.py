"""Removals of the demo run's studied pairs against bare forward passes over the same prompts."""

from __future__ import annotations

import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch

from explorer.core.ablation import KINDS, HeadMeans, Removal
from explorer.core.ablation_effects import removal_effects
from explorer.core.live_ablation import prompt_means
from explorer.core.model import LanguageModel, load_model
from explorer.core.model_blocks import Blocks
from explorer.core.runs import list_runs
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from tests.benchmarks.measure import Row, in_turn
from tests.benchmarks.model_speed import DEMO, bare

_N_PROMPTS = 1000
"""Of the run's prompts, drawn with a seed; each with all studied heads of its neuron."""
_BATCH_TOKENS = 4096
_STUDIED = """
SELECT p.prompt_id, p.layer, p.neuron, s.token_id, p.token_ids[p.start + 1:], a.head_layer, a.head
FROM prompts p JOIN studied_neurons s USING (layer, neuron)
JOIN head_activity a ON (a.layer, a.neuron, a.split) = (p.layer, p.neuron, 'train') AND a.studied
ORDER BY ALL
"""


def removals_of(folder: Path) -> list[Removal]:
    """Every studied pair on its prompts in every kind, for a sample of the newest run's prompts."""
    store = Store.open(list_runs(folder).runs[0].path)
    found: dict[int, list[Removal]] = defaultdict(list)
    for row in store.sql(_STUDIED).itertuples(index=False):
        prompt_id, layer, neuron, token_id, kept, head_layer, head = row
        for kind in KINDS:
            found[prompt_id].append(Removal(
                tuple(int(i) for i in kept), NeuronId(layer, neuron), token_id, kind,
                (HeadId(head_layer, head),),
            ))  # fmt: skip
    chosen = random.Random(0).sample(sorted(found), min(_N_PROMPTS, len(found)))
    return [removal for prompt_id in sorted(chosen) for removal in found[prompt_id]]


def _bare_batches(model: LanguageModel, removals: list[Removal]) -> list[torch.Tensor]:
    """The same prompts, one row for each removal, those of one length together: nothing is padded."""
    rows = sorted((removal.prompt for removal in removals), key=len)
    batches: list[torch.Tensor] = []
    while rows:
        length = len(rows[0])
        n = max(1, _BATCH_TOKENS // (length + 1))
        batch = [row for row in rows[:n] if len(row) == length]
        batches.append(model.batch(batch)[0])
        rows = rows[len(batch) :]
    return batches


def rows(folder: Path) -> list[Row]:
    """The line of the table, from the store of the demo job."""
    model, plain = load_model(DEMO / "model", "cpu"), bare(DEMO / "model")
    blocks, removals = Blocks(model), removals_of(folder)
    anyone: HeadMeans | None = prompt_means(blocks, [removal.prompt for removal in removals[::40]])
    means = {removal.neuron: anyone for removal in removals}
    batches = _bare_batches(model, removals)

    def remove() -> None:
        for _ in removal_effects(blocks, removals, means, _BATCH_TOKENS):
            pass

    def forwards() -> Any:
        with torch.no_grad():
            for tokens in batches:
                _ = plain(tokens, use_cache=False).logits

    seconds, base = in_turn(remove, forwards, 5)
    n_tokens = sum(tokens.numel() for tokens in batches)
    return [
        Row(f"{len(removals):,} removals of studied heads, four kinds, demo run",
            f"bare forwards with logits over the same prompts, one each, {n_tokens:,} tokens",
            seconds, base, "3")
    ]  # fmt: skip
