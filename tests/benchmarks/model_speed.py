"""The job's stages and the live analysis against bare forward passes of the plain model."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from explorer.core.analysis import AnalysisSpec, analyse_prompt, suffix_curve
from explorer.core.attribution import attribute_heads
from explorer.core.model import LanguageModel, load_model
from explorer.core.types import NeuronId
from precompute.config import JobConfig
from precompute.stages.scan import ScanTask, batches, cut_windows, scan_shard
from precompute.worker import Worker
from tests.benchmarks.measure import Row, in_turn

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "assets" / "demo"


def gpt2_small_folder(folder: Path) -> Path:
    """A folder with GPT-2 small's shape, random weights and the bundled tokenizer."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(tie_word_embeddings=False))
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((DEMO / "model" / name).read_bytes())
    return folder


def bare(folder: Path) -> Any:
    """The plain Hugging Face model with its own default attention."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def _forward(model: Any, tokens: torch.Tensor) -> None:
    with torch.no_grad():
        _ = model(tokens, use_cache=False).logits


def _texts(n: int) -> list[str]:
    lines = (DEMO / "corpus" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines[:n]]


def _neurons(model: LanguageModel, n: int) -> list[NeuronId]:
    """Neurons of the last quarter of the layers, spread evenly."""
    first = model.shape.n_layers - -(-model.shape.n_layers // 4)
    layers = range(first, model.shape.n_layers)
    return sorted(NeuronId(layers[i % len(layers)], i // len(layers)) for i in range(n))


def scan_rows(model: LanguageModel, plain: Any, n_texts: int, name: str, repeats: int) -> list[Row]:
    texts = _texts(n_texts)
    worker = Worker(model, JobConfig(model="", corpus=""))
    windows = cut_windows(model.tokenizer.encode_all(texts), model.max_prompt_tokens)
    tokens = [
        model.batch([w.token_ids for w in batch])[0]
        for batch in batches(windows, worker.batch_tokens)
    ]

    def forwards() -> None:
        for batch in tokens:
            _forward(plain, batch)

    def scan(n: int) -> Any:
        task = ScanTask(0, texts, None, tuple(_neurons(model, n)))
        return lambda: scan_shard(worker, task)

    hundred, base = in_turn(scan(100), forwards, repeats)
    thousand, hundred_again = in_turn(scan(1000), scan(100), repeats)
    size = f"{sum(t.numel() for t in tokens):,} tokens"
    return [
        Row(
            f"corpus scan, 100 neurons, {name}",
            f"bare forwards with logits, {size}",
            hundred,
            base,
            "1.0",
        ),
        Row(
            f"the same scan, 1,000 neurons, {name}",
            "the scan with 100",
            thousand,
            hundred_again,
            "1.2",
        ),
    ]


def live_row(model: LanguageModel, plain: Any, name: str, at_most: str, repeats: int) -> Row:
    rng = random.Random(0)
    ids = [rng.randrange(1, 8192) for _ in range(24)]
    neuron = _neurons(model, 10)[0]
    suffixes, _ = model.batch([ids[-n:] for n in range(1, 25)])
    prompt, _ = model.batch([ids])

    def live() -> None:
        analyse_prompt(model, ids, neuron, 17, None, AnalysisSpec())
        suffix_curve(model, ids, neuron, AnalysisSpec())

    def forwards() -> None:
        _forward(plain, prompt)
        _forward(plain, suffixes)

    seconds, base = in_turn(live, forwards, repeats)
    return Row(f"live analysis of a 24-token prompt, {name}", "bare forwards: prompt, suffixes batched",
               seconds, base, at_most)  # fmt: skip


def attribution_row(model: LanguageModel, plain: Any, name: str, repeats: int) -> Row:
    rng = random.Random(0)
    ids = [rng.randrange(1, 8192) for _ in range(24)]
    prompt, last = model.batch([ids])
    layer = model.shape.n_layers - 1
    trace = model.trace(prompt, last, [NeuronId(layer, 0)])
    readers = torch.stack([model.reader(NeuronId(layer, i)).heads for i in range(500)])
    scale = trace.ln_scale.expand(500)
    seconds, base = in_turn(
        lambda: attribute_heads(trace.z[0], readers, scale),
        lambda: _forward(plain, prompt),
        repeats,
    )
    return Row(f"all-head attribution for 500 neurons, {name}", "one bare forward of that prompt",
               seconds, base, "0.1")  # fmt: skip


def rows(scratch: Path) -> list[Row]:
    demo, small = DEMO / "model", gpt2_small_folder(scratch)
    found: list[Row] = []
    for folder, name, limit, n_texts, repeats in (
        (demo, "demo model", "1.5", 300, 5), (small, "GPT-2 small's shape", "1.3", 12, 5),
    ):  # fmt: skip
        model, plain = load_model(folder, "cpu"), bare(folder)
        found += scan_rows(model, plain, n_texts, name, repeats)
        found.append(live_row(model, plain, name, limit, 11))
        found.append(attribution_row(model, plain, name, 11))
    return found
