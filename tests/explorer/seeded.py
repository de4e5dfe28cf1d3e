"""A small synthetic store for tests of the explorer: invented numbers that obey the store's rules.

Parts sum to the pre-activation, active heads follow mean + 2 SD, activity counts follow the active
heads, `studied` follows the train share; `seeded_effects` adds explanations and ablations. The
vocabulary holds hostile texts on purpose.
"""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from explorer.core.schema import SCHEMA_VERSION, arrow_schema, write_store
from tests.explorer.seeded_channels import channel_rows
from tests.explorer.seeded_effects import EXPLAINER, effect_rows

N_LAYERS, N_HEADS, D_MLP = 6, 8, 32
STUDIED_LAYERS = (4, 5)
N_PROMPTS = 6
PADDING_IDS = 4
SPLITS = ("train", "test")
HELPER_CHANCES = (1.0, 0.6, 0.5, 0.3)
HOSTILE_TOKENS = (
    "<script>", " <img src=x onerror=alert(1)>", "\n", "\t", " *_`[a](b)$", '"', "<0xE2>",
)  # fmt: skip
_WORDS = (
    "the a and to of in he she they was were it his her that had with for on at by from up down "
    "out come Come came go gone went together only an right too so as much long little many "
    "villages chairs river market door brother sister mother decided finally brought both held "
    "letter house night morning old new two three four came_back"
)
VOCABULARY = tuple(
    ["<|endoftext|>", *HOSTILE_TOKENS, ".", ",", "come", "go", "together", "Together"]
    + [f" {word}" for word in dict.fromkeys(_WORDS.split())]
)
N_TOKENS = len(VOCABULARY) + PADDING_IDS


def manifest(**changes: Any) -> dict[str, Any]:
    """The manifest's facts as Python values; `changes` replace or add some."""
    facts: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION, "run_id": "seeded", "preset": None, "out": "runs",
        "model": "assets/demo/model", "model_name": "seeded model", "revision": None,
        "weights_sha256": "0" * 64, "weight_processing": "layer norms folded, weights centred",
        "corpus": "assets/demo/corpus/train.jsonl", "corpus_name": "seeded corpus",
        "test_corpus": "assets/demo/corpus/test.jsonl", "corpus_sha256": {"train": "1", "test": "2"},
        "n_layers": N_LAYERS, "n_heads": N_HEADS, "d_model": 16, "d_head": 2, "d_mlp": D_MLP,
        "d_vocab": N_TOKENS, "n_ctx": 64, "parallel_blocks": False, "rotary": False,
        "blocks": "sequential", "layers": "last:2", "studied_layers": list(STUDIED_LAYERS),
        "neurons_per_layer": 4, "tokens": [" come"], "neurons": [],
        "random_neurons_per_layer": 2, "prompts": N_PROMPTS, "candidates": 10 * N_PROMPTS,
        "max_prompt_tokens": 100, "keep_ratio": 0.8, "active_rule": "mean+2sd",
        "explainer": EXPLAINER, "device": "auto", "device_used": "cpu", "seed": 0, "force": False,
        "warnings": {"repeated texts passed over": 3, "neurons that ran out of candidates": 1},
        "documents": {"train": 100, "test": 100}, "tokens_read": {"train": 5000, "test": 5000},
        "code_version": "0.1.0", "library_versions": {"torch": "2.13.0"},
        "start": "2026-11-01T10:00:00.000+00:00", "end": "2026-11-01T10:01:00.000+00:00",
        "seconds": {"congruence": 1.5, "scan": 20.0, "prompts": 9.0, "heads": 4.0, "ablations": 6.0,
                    "explanations": 2.0},
    }  # fmt: skip
    return facts | changes


def _columns(table: str, rows: list[tuple[Any, ...]]) -> pa.Table:
    schema = arrow_schema(table)
    columns = list(zip(*rows, strict=True)) if rows else [[] for _ in schema]
    arrays = [pa.array(list(c), f.type) for c, f in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def _congruence(rng: np.random.Generator) -> np.ndarray:
    """Layers x neurons x real tokens; later layers point harder at tokens."""
    strength = 0.5 + np.arange(N_LAYERS)[:, None, None] * 0.4
    scores = rng.normal(size=(N_LAYERS, D_MLP, len(VOCABULARY))) * strength
    scores[5, 7, VOCABULARY.index(" come")] = 14.2
    scores[4, 3, VOCABULARY.index(" come")] = 11.6
    scores[5, 2, VOCABULARY.index(" together")] = 12.9
    return scores


def _studied(scores: np.ndarray, rng: np.random.Generator) -> list[tuple[Any, ...]]:
    come = VOCABULARY.index(" come")
    rows = []
    for layer in STUDIED_LAYERS:
        order = [int(n) for n in np.argsort(-scores[layer].max(axis=1))]
        spaced = [n for n in order if VOCABULARY[scores[layer, n].argmax()].startswith(" ")][:4]
        rest = [int(n) for n in rng.permutation(D_MLP) if int(n) not in spaced][:2]
        for neuron in [*spaced, *rest]:
            token = int(scores[layer, neuron].argmax())
            kind = "next-token" if neuron in spaced else "random"
            rows.append((layer, neuron, token, float(scores[layer, neuron, token]), kind))
    taken = {neuron for layer, neuron, *_ in rows if layer == 4}
    asked = next(int(n) for n in np.argsort(-scores[4, :, come]) if int(n) not in taken)
    rows.append((4, asked, come, float(scores[4, asked, come]), "requested"))
    return rows


def _prompt_tables(
    studied: list[tuple[Any, ...]], rng: np.random.Generator
) -> dict[str, list[tuple[Any, ...]]]:
    rows: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for layer, neuron, *_ in studied:
        n_reach = (layer + 1) * N_HEADS
        helpers = rng.choice(n_reach, size=4, replace=False)
        n_active = {split: np.zeros(n_reach, dtype=int) for split in SPLITS}
        total = {split: np.zeros(n_reach) for split in SPLITS}
        prompt_ids = []
        for split, rank in product(SPLITS, range(1, N_PROMPTS + 1)):
            heads = rng.normal(scale=0.05, size=n_reach)
            heads[helpers] += (rng.random(4) < HELPER_CHANCES) * rng.uniform(0.8, 1.2, size=4)
            active = np.flatnonzero(heads > heads.mean() + 2 * heads.std(ddof=1))
            n_active[split][active] += 1
            total[split] += heads
            prompt_ids.append(_add_prompt(rows, (layer, neuron, split, rank), heads, rng))
            rows["active_heads"] += [(prompt_ids[-1], *divmod(int(f), N_HEADS)) for f in active]
        share = n_active["train"] / N_PROMPTS
        studied_heads = (share >= 0.25) & (share <= 0.75)
        for split, flat in product(SPLITS, range(n_reach)):
            mean = float(total[split][flat] / N_PROMPTS)
            counts = (split, int(n_active[split][flat]), N_PROMPTS, mean, bool(studied_heads[flat]))
            rows["head_activity"].append((layer, neuron, *divmod(flat, N_HEADS), *counts))
        for prompt_id, flat in product(prompt_ids, np.flatnonzero(studied_heads)):
            n_kept = len(rows["prompts"][prompt_id][10])
            weights = rng.dirichlet(np.ones(n_kept + 1)).tolist()
            rows["head_attention"].append((prompt_id, *divmod(int(flat), N_HEADS), weights))
    return rows


def _add_prompt(
    rows: dict[str, list[tuple[Any, ...]]],
    who: tuple[int, int, str, int],
    reaching: np.ndarray,
    rng: np.random.Generator,
) -> int:
    """Add one prompt with its curve and parts; return its id."""
    prompt_id, (layer, _, _, rank) = len(rows["prompts"]), who
    n_tokens = int(rng.integers(4, 30))
    kept = int(rng.integers(1, min(n_tokens, 8) + 1))
    whole = 6.0 - 0.3 * rank + float(rng.random()) * 0.2
    short = whole * float(rng.uniform(0.82, 1.0)) if kept < n_tokens else whole
    lengths = {*range(1, kept + 1), *(k * kept for k in (2, 4, 8) if k * kept < n_tokens), n_tokens}
    curve = {n: whole * 0.75 * n / kept if n < kept else (short + whole) / 2 for n in lengths}
    curve |= {kept: short, n_tokens: whole}
    starts = [n_tokens - n for n in sorted(lengths, reverse=True)]
    rows["truncation_curves"].append((prompt_id, starts, [curve[n_tokens - s] for s in starts]))
    ids = rng.integers(1, len(VOCABULARY), size=n_tokens).tolist()
    activations = [*rng.uniform(-0.1, 1.0, size=kept - 1).tolist(), short]
    chance = (float(rng.uniform(0.01, 0.6)), int(rng.integers(1, 20)))
    numbers = (int(rng.integers(0, 100)), ids, n_tokens - kept, whole, short, activations, *chance)
    rows["prompts"].append((prompt_id, *who, *numbers))
    heads = np.zeros(N_LAYERS * N_HEADS)
    heads[: len(reaching)] = reaching
    mlps = np.zeros(N_LAYERS)
    mlps[:layer] = rng.normal(scale=0.3, size=layer)
    embedding, bias = float(rng.normal(scale=0.2)), -0.15
    pre = float(heads.sum() + mlps.sum() + embedding + bias)
    rows["head_attributions"].append(
        (prompt_id, heads.tolist(), mlps.tolist(), embedding, bias, pre, 1.3)
    )
    return prompt_id


def tables(seed: int = 0, **manifest_changes: Any) -> dict[str, pa.Table]:
    """The Arrow tables of the store, so that a test can change one before writing."""
    rng = np.random.default_rng(seed)
    scores = _congruence(rng)
    flat = scores.reshape(-1, len(VOCABULARY))
    by_token = [
        (token, rank + 1, int(n) // D_MLP, int(n) % D_MLP, float(flat[n, token]))
        for token in range(len(VOCABULARY))
        for rank, n in enumerate(np.argsort(-flat[:, token])[:20])
    ]
    by_neuron = [
        (n // D_MLP, n % D_MLP, rank + 1, int(token), float(flat[n, token]))
        for n in range(len(flat))
        for rank, token in enumerate(np.argsort(-flat[n])[:20])
    ]
    studied = _studied(scores, rng)
    texts = [*VOCABULARY, *[""] * PADDING_IDS]
    facts = manifest(seed=seed, **manifest_changes)
    rows = {
        "manifest": [(key, json.dumps(value)) for key, value in facts.items()],
        "tokens": list(enumerate(texts)),
        "token_neurons": by_token,
        "neuron_tokens": by_neuron,
        "studied_neurons": studied,
        **_prompt_tables(studied, rng),
    }
    rows |= effect_rows(rows, N_HEADS, seed, facts["explainer"])
    rows |= channel_rows(rows, N_LAYERS, N_HEADS, len(VOCABULARY), seed)
    return {name: _columns(name, table) for name, table in rows.items()}


_WRITTEN: dict[str, bytes] = {}


def write_seeded_store(folder: Path, name: str = "seeded", seed: int = 0, **changes: Any) -> Path:
    """Write `folder/name.duckdb` and return its path; `changes` go to the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.duckdb"
    key = json.dumps([seed, changes], sort_keys=True)
    if key in _WRITTEN:  # the same file again, without the seconds it takes to make
        path.write_bytes(_WRITTEN[key])
    else:
        write_store(path, tables(seed, **changes))
        _WRITTEN[key] = path.read_bytes()
    return path
