"""The job's stages against the least forwards that they need: bare runs of the plain model, no deeper than
the neurons lie, logits only where a probability is read, nothing padded.

Counted from the job's own store: every window of the text once; every suffix that a search must try; every
kept prompt once; every removal from its head's layer on, at all positions or at the last one alone.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from explorer.core.store import Store
from precompute.cutting import BATCH_TOKENS
from tests.benchmarks.baseline import Prompt, prompts_of, texts_of
from tests.benchmarks.measure import Row
from tests.benchmarks.model_speed import bare

AT_MOST = 1.25
Ids = Sequence[int]


@dataclass(frozen=True)
class Part:
    """One stage: what the job took and what its forwards take bare."""

    name: str
    job: float
    least: float


class Bare:
    """The plain model, cut after any block; seconds of batches by a clock."""

    def __init__(self, folder: Path, device: str, clock: Callable[[], float]) -> None:
        self._model = bare(folder).to(device)
        self._base: Any = self._model.base_model
        self._stack = "h" if hasattr(self._base, "h") else "layers"
        self._blocks = getattr(self._base, self._stack)
        self._device, self._clock = device, clock
        self._max = BATCH_TOKENS[device]
        self.n_layers = len(self._blocks)

    @torch.no_grad()
    def seconds(self, rows: Iterable[Ids], layers: int | None = None, read: bool = False) -> float:
        """Of bare runs of all rows, BOS in front, those of one length together; `layers` blocks high, and
        logits after each row where `read`."""
        by_length: dict[int, list[Ids]] = defaultdict(list)
        for ids in rows:
            by_length[len(ids)].append(ids)
        batches = [
            torch.tensor([[0, *ids] for ids in chunk], device=self._device)
            for length, same in sorted(by_length.items())
            for chunk in _chunks(same, max(1, self._max // (length + 1)))
        ]
        setattr(self._base, self._stack, self._blocks[: layers or self.n_layers])
        self._wait()
        begin = self._clock()
        for tokens in batches:
            hidden = self._base(tokens, use_cache=False).last_hidden_state
            if read:
                self._model.get_output_embeddings()(hidden[:, -1])
        self._wait()
        taken = self._clock() - begin
        setattr(self._base, self._stack, self._blocks)
        return taken

    def _wait(self) -> None:
        if self._device == "cuda":
            torch.cuda.synchronize()


def _chunks(items: list[Ids], size: int) -> list[list[Ids]]:
    return [items[i : i + size] for i in range(0, len(items), size)]


def _by_layer(prompts: Iterable[Prompt]) -> dict[int, list[Prompt]]:
    found: dict[int, list[Prompt]] = defaultdict(list)
    for prompt in prompts:
        found[prompt.neuron[0]].append(prompt)
    return found


def _scan(model: Bare, store: Store, prompts: list[Prompt], encode: Callable[[str], Ids]) -> float:
    deepest = max(prompt.neuron[0] for prompt in prompts)
    size = store.manifest["n_ctx"] - 1
    windows = [
        ids[at : at + size]
        for _, _, text in texts_of(store.manifest)
        for ids in [encode(text)]
        for at in range(0, len(ids), size)
    ]
    # Windows differ in length by little: in a batch all are cut or filled to one, total kept.
    windows.sort(key=len)
    even: list[Ids] = []
    for chunk in _chunks(windows, max(1, model._max // (size + 1))):
        n = round(sum(map(len, chunk)) / len(chunk))
        even += [(list(ids) * 2 + [0] * n)[:n] for ids in chunk if n]
    return model.seconds(even, deepest + 1)


def _searches(model: Bare, store: Store, prompts: list[Prompt], encode: object) -> float:
    """Kept prompts' searches and curves; repeats and dropped ones as the kept, by their number."""
    query = "SELECT prompt_id, starts FROM truncation_curves"
    starts = dict(store.sql(query).itertuples(index=False, name=None))
    searched = curves = 0.0
    for layer, same in _by_layer(prompts).items():
        tried = [(p, int(s)) for p in same for s in starts[p.prompt_id] if s > 0]
        first = [p.whole[s:] for p, s in tried if s >= p.start]
        rest = [p.whole[s:] for p, s in tried if s < p.start]
        searched += model.seconds(first, layer + 1)
        curves += model.seconds(rest, layer + 1)
    passed = sum(
        n for name, n in store.manifest["warnings"].items()
        if name.startswith(("repeated", "prompts dropped"))
    )  # fmt: skip
    return searched * (1 + passed / len(prompts)) + curves


def _heads(model: Bare, store: Store, prompts: list[Prompt], encode: object) -> float:
    return model.seconds([p.kept for p in prompts], read=True)


def _removals(model: Bare, store: Store, prompts: list[Prompt], encode: object) -> float:
    """Prompts once, whole; removals from their head's layer on."""
    by_id = {p.prompt_id: p for p in prompts}
    n = model.n_layers
    rows: dict[tuple[int, bool], list[Ids]] = defaultdict(list)
    single = "SELECT prompt_id, head_layer, kind FROM ablations"
    joint = (
        "SELECT prompt_id, min(head_layer), kind FROM joint_ablations JOIN active_heads "
        "USING (prompt_id) GROUP BY ALL"
    )
    for query in (single, joint):
        for prompt_id, layer, kind in store.sql(query).itertuples(index=False, name=None):
            everywhere = kind.endswith("all")
            kept = by_id[prompt_id].kept
            rows[n - int(layer), everywhere].append(kept if everywhere else [])
    for prompt in prompts:  # the neuron's own removal
        rows[n - prompt.neuron[0], False].append([])
    clean = model.seconds([p.kept for p in prompts], read=True)
    return clean + sum(model.seconds(ids, layers, read=True) for (layers, _), ids in rows.items())


_STAGES = {"scan": _scan, "prompts": _searches, "heads": _heads, "ablations": _removals}


def compared(
    path: Path, folder: Path, device: str, clock: Callable[[], float] = time.perf_counter
) -> list[Part]:
    """Each stage's seconds in the manifest of a store made on this device, beside its bare forwards."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    encode = lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]  # noqa: E731
    model = Bare(folder, device, clock)
    with Store.open(path) as store:
        prompts = prompts_of(store)
        model.seconds([p.kept for p in prompts[:200]], read=True)  # warm
        seconds = store.manifest["seconds"]
        found = [(name, act(model, store, prompts, encode)) for name, act in _STAGES.items()]
    return [Part(name, seconds[name], least) for name, least in found]


def rows(folder: Path, model: Path, device: str = "cpu") -> list[Row]:
    """Lines of the table."""
    path = max(folder.glob("*.duckdb"), key=lambda p: p.stat().st_mtime)
    parts = compared(path, model, device)
    against = "least bare forwards needed"
    lines = [Row(f"stage {p.name}, demo job, {device}", against, p.job, p.least, "") for p in parts]
    job, least = sum(p.job for p in parts), sum(p.least for p in parts)
    return [
        *lines,
        Row(f"scan to ablations, demo job, {device}", against, job, least, f"{AT_MOST}"),
    ]
