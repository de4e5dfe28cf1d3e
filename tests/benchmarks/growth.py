"""How the job's time grows with documents, neurons, layers and prompt length: four points each, and the
exponent of the straight line through them on logarithmic axes (1: twice the input, twice the time)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import duckdb

from tests.benchmarks.model_speed import DEMO

STAGES = ("scan", "prompts", "heads", "ablations")
_FIXED = ("--force", "--tasks", "none", "--explainer", "none", "--layers", "last:1", "--seed", "0")


@dataclass(frozen=True)
class Curve:
    """Seconds of the stages that read text, at four sizes of one thing."""

    what: str
    points: tuple[int, ...]
    seconds: tuple[dict[str, float], ...]
    """By stage."""

    def total(self) -> list[float]:
        return [sum(found[stage] for stage in STAGES) for found in self.seconds]

    def exponent(self, stage: str | None = None) -> float:
        """Slope of log seconds against log size, by least squares; of all four stages, or of one."""
        values = self.total() if stage is None else [found[stage] for found in self.seconds]
        xs, ys = [math.log(n) for n in self.points], [math.log(max(v, 1e-3)) for v in values]
        x, y = sum(xs) / len(xs), sum(ys) / len(ys)
        top = sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True))
        return top / sum((a - x) ** 2 for a in xs)


def _texts() -> list[str]:
    lines = (DEMO / "corpus" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines]


def _corpus(path: Path, texts: Iterable[str]) -> Path:
    lines = [json.dumps({"text": text}) + "\n" for text in texts]
    path.write_text("".join(lines), encoding="utf-8")
    return path


def _run(out: Path, model: Path, corpus: Path, device: str, *options: object) -> dict[str, float]:
    """Seconds of each stage of one run, from its manifest."""
    from precompute.__main__ import run_job
    from precompute.arguments import config_from

    words = [
        "--model",
        model,
        "--corpus",
        corpus,
        "--out",
        out,
        "--device",
        device,
        *_FIXED,
        *options,
    ]
    with redirect_stderr(StringIO()):
        path = run_job(config_from([str(word) for word in words]))
    with duckdb.connect(str(path), read_only=True) as con:
        found = con.execute("SELECT value FROM manifest WHERE key = 'seconds'").fetchone()
    assert found is not None
    return json.loads(found[0])


def _random_model(folder: Path, layers: int) -> Path:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    sizes: dict[str, Any] = {"n_layer": layers, "n_embd": 128, "n_head": 4, "n_positions": 128}
    config = GPT2Config(vocab_size=8192, tie_word_embeddings=False, initializer_range=0.2, **sizes)
    GPT2LMHeadModel(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((DEMO / "model" / name).read_bytes())
    return folder


def curves(scratch: Path, device: str = "cpu", scale: int = 1) -> list[Curve]:
    """Four sizes of each thing, the rest held still; `scale` multiplies documents and neurons (a GPU has
    hardly begun where a CPU is done)."""
    scratch.mkdir(parents=True, exist_ok=True)
    texts, model = _texts() * scale, DEMO / "model"
    few = _corpus(scratch / "few.jsonl", texts[: 200 * scale])
    count = ("--neurons-per-layer", 8 * scale, "--random-neurons-per-layer", 0, "--prompts", 5)

    def at(what: str, points: tuple[int, ...], run: Callable[[int], dict[str, float]]) -> Curve:
        """The faster of two runs: what else the machine does only slows."""
        pairs = [(run(n), run(n)) for n in points]
        return Curve(what, points, tuple({s: min(a[s], b[s]) for s in STAGES} for a, b in pairs))

    def documents(n: int) -> dict[str, float]:
        corpus = _corpus(scratch / f"documents-{n}.jsonl", texts[:n])
        return _run(scratch / f"d{n}", model, corpus, device, *count)

    def neurons(n: int) -> dict[str, float]:
        own = ("--neurons-per-layer", n, "--random-neurons-per-layer", 0, "--prompts", 5)
        return _run(scratch / f"n{n}", model, few, device, *own)

    def layers(n: int) -> dict[str, float]:
        deep = _random_model(scratch / f"layers-{n}", n)
        return _run(scratch / f"l{n}", deep, few, device, *count, "--max-prompt-tokens", 8)

    def lengths(n: int) -> dict[str, float]:
        # Nearly the whole activation is asked for, so that searches go on to long suffixes.
        words = [" ".join(text.split()[:n]) for text in texts[: 200 * scale]]
        corpus = _corpus(scratch / f"words-{n}.jsonl", words)
        return _run(scratch / f"w{n}", model, corpus, device, *count, "--keep-ratio", 1)

    _run(scratch / "warm", model, few, device, *count)
    return [
        at("documents", tuple(scale * n for n in (120, 240, 480, 960)), documents),
        at("neurons", tuple(scale * n for n in (8, 16, 32, 64)), neurons),
        at("layers", (3, 6, 12, 24), layers),
        at("words in a document (and so in a prompt)", (12, 24, 48, 90), lengths),
    ]


def table(found: list[Curve]) -> str:
    lines = [
        "| what grows | at | seconds, scan to ablations | exponent | of "
        + " | of ".join(STAGES)
        + " |",
        "|" + "---|" * (4 + len(STAGES)),
    ]
    for curve in found:
        sizes = ", ".join(f"{n:,}" for n in curve.points)
        seconds = ", ".join(f"{s:.1f}" for s in curve.total())
        each = " | ".join(f"{curve.exponent(stage):.2f}" for stage in STAGES)
        lines.append(f"| {curve.what} | {sizes} | {seconds} | {curve.exponent():.2f} | {each} |")
    return "\n".join(lines)
