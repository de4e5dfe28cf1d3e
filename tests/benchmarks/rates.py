"""Seconds a unit of work, from jobs that are run for the purpose: the table of `precompute.estimates.rates`.

Runs of models of different shapes give each stage's units and seconds; non-negative least squares on relative
errors gives the rates. Quiet machine, please: what else runs is counted in.
"""

from __future__ import annotations

import gc
import json
import resource
import time
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls

from precompute.estimates.past_runs import PastRun, read_run
from precompute.estimates.rates import Rate
from precompute.estimates.room import room_needed
from precompute.estimates.work import STAGES
from tests.benchmarks.model_speed import DEMO

_UNITS = ("flops", "bytes", "calls", "steps")
_NAMES = ("flop", "byte", "call", "step")


@dataclass(frozen=True)
class Model:
    """A model with random weights and the bundled tokenizer."""

    name: str
    layers: int
    heads: int
    width: int
    vocab: int
    context: int
    parallel: bool = False

    def save(self, folder: Path) -> Path:
        from transformers import GPT2Config, GPT2LMHeadModel, GPTNeoXConfig, GPTNeoXForCausalLM

        torch.manual_seed(0)
        ends: dict[str, Any] = {"vocab_size": self.vocab, "bos_token_id": 0, "eos_token_id": 0}
        if self.parallel:
            made: Any = GPTNeoXForCausalLM(GPTNeoXConfig(
                num_hidden_layers=self.layers, num_attention_heads=self.heads,
                hidden_size=self.width, intermediate_size=4 * self.width,
                max_position_embeddings=self.context, **ends,
            ))  # fmt: skip
        else:
            made = GPT2LMHeadModel(GPT2Config(
                n_layer=self.layers, n_head=self.heads, n_embd=self.width, n_positions=self.context,
                tie_word_embeddings=False, **ends,
            ))  # fmt: skip
        made.save_pretrained(folder)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (folder / name).write_bytes((DEMO / "model" / name).read_bytes())
        return folder


SMALL = Model("gpt2-small-shape", 12, 12, 768, 50257, 1024)
BETWEEN = Model("between", 8, 8, 512, 20000, 512)
NEOX = Model("pythia-70m-shape", 6, 8, 512, 50304, 2048, parallel=True)


def long_documents(path: Path, n: int, joined: int) -> Path:
    """Documents of the bundled text, several put together to one, as long as web pages are."""
    lines = (DEMO / "corpus" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    pages = [
        " ".join(texts[(i * joined + k) % len(texts)] for k in range(joined)) for i in range(n)
    ]
    path.write_text("".join(json.dumps({"text": page}) + "\n" for page in pages), encoding="utf-8")
    return path


def run(
    model: Path, corpus: Path, out: Path, device: str, *options: object
) -> tuple[PastRun, Path, dict[str, Any]]:
    """One job in this process: what it did, its store, and seconds and peak GPU memory in all."""
    from precompute.__main__ import run_job
    from precompute.arguments import config_from

    words = ["--model", model, "--corpus", corpus, "--out", out, "--device", device, *options]
    gc.collect()  # the model of the run before
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    begin = time.perf_counter()
    with redirect_stderr(StringIO()):
        path = run_job(config_from([str(word) for word in words]))
    found = read_run(path)
    assert found is not None, "the run kept no prompts: it says nothing"
    facts: dict[str, Any] = {
        "wall": time.perf_counter() - begin,
        "host_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "forecast_bytes": room_needed(found.size, found.habits, device).__dict__,
    }
    if device == "cuda":
        facts["gpu_bytes"] = torch.cuda.max_memory_allocated()
    return found, path, facts


def demo_options() -> tuple[object, ...]:
    return ("--test-corpus", DEMO / "corpus" / "test.jsonl", "--preset", "demo",
            "--tokens", "␣come,␣together")  # fmt: skip


def few(neurons: int, prompts: int, longest: int) -> tuple[object, ...]:
    return ("--layers", "last:2", "--neurons-per-layer", neurons, "--random-neurons-per-layer",
            neurons // 2, "--prompts", prompts, "--max-prompt-tokens", longest)  # fmt: skip


def fitted(runs: Sequence[PastRun]) -> tuple[dict[str, Rate], dict[str, list[float]]]:
    """Rates by stage, and what they give for each run over what it took."""
    rates: dict[str, Rate] = {}
    errors: dict[str, list[float]] = {}
    for stage, work_of in STAGES.items():
        timed = [r for r in runs if r.seconds.get(stage, 0.0) > 0.01]
        if not timed:
            continue
        works = [work_of(r.size, r.habits) for r in timed]
        units = np.array([[getattr(w, name) for name in _UNITS] for w in works])
        seconds = np.array([r.seconds[stage] for r in timed])
        scale = np.where(units.max(0) > 0, units.max(0), 1.0)
        found = nnls(units / scale / seconds[:, None], np.ones(len(timed)))[0] / scale
        rates[stage] = Rate(**dict(zip(_NAMES, map(float, found), strict=True)))
        errors[stage] = [float(v) for v in units @ found / seconds]
    return rates, errors


def as_table(rates: dict[str, Rate]) -> str:
    """Lines for `MEASURED`."""
    lines = []
    for stage, rate in rates.items():
        parts = [f"{n}={getattr(rate, n):.3g}" for n in _NAMES if getattr(rate, n) > 0]
        lines.append(f'            "{stage}": Rate({", ".join(parts)}),')
    return "\n".join(lines)


def runs_for_rates(scratch: Path, device: str) -> list[PastRun]:
    """Jobs of different shapes; larger on a GPU, where small ones measure little but the start of work."""
    big = 8 if device == "cuda" else 1
    pages = long_documents(scratch / "pages.jsonl", 60 * big, 9)
    short = long_documents(scratch / "short.jsonl", 200 * big, 1)
    found = [run(DEMO / "model", DEMO / "corpus" / "train.jsonl", scratch / "runs-demo", device,
                 *demo_options())[0]]  # fmt: skip
    few_prompts = few(6 * big, 3, 12)
    for model, corpus in ((SMALL, short), (BETWEEN, pages), (NEOX, short)):
        folder = model.save(scratch / model.name)
        out = scratch / f"runs-{model.name}"
        found.append(run(folder, corpus, out, device, *few_prompts)[0])
    out = scratch / "runs-demo-small"
    found.append(run(DEMO / "model", short, out, device, *few(8, 10, 100))[0])
    return found
