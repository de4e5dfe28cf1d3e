"""The job's stages against the straightforward notebook way (`notebook_way`), on the same model and text.

The job runs whole. The notebook way is so much slower that it does a part of each stage's inputs, drawn from
the job's own store with a seed, and its seconds are scaled by that share. Where both define a number alike it
must be equal; what bisection finds otherwise is counted.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from explorer.core.store import Store
from precompute.corpus import documents
from tests.benchmarks.measure import Row
from tests.benchmarks.notebook_way import Head, Neuron, Notebook

AT_LEAST = {"cpu": 5, "cuda": 20}
"""Times that the job must be faster than the notebook way, all stages together."""
_TOLERANCE = 2e-3
"""Relative to the larger of 1 and the number: both are float32, in batches of other shapes."""
_SAMPLE = {"scan": 120, "prompts": 60, "heads": 60, "ablations": 30}
"""Documents, kept prompts, kept prompts, and prompts whose removals are all done."""
_PROMPTS = """
SELECT p.prompt_id, p.layer, p.neuron, s.token_id, p.split, p.doc_id, p.token_ids, p.start, p.activation,
       p.probability
FROM prompts p JOIN studied_neurons s USING (layer, neuron) ORDER BY p.prompt_id
"""


@dataclass(frozen=True)
class Prompt:
    """A kept prompt of the job's store."""

    prompt_id: int
    neuron: Neuron
    token: int
    split: str
    doc_id: int
    whole: list[int]
    start: int
    activation: float
    probability: float

    @property
    def kept(self) -> list[int]:
        return self.whole[self.start :]


@dataclass(frozen=True)
class Stage:
    """What one stage took both ways."""

    name: str
    job: float
    notebook: float
    """Seconds, scaled to all inputs of the job."""
    note: str


def prompts_of(store: Store) -> list[Prompt]:
    return [
        Prompt(
            int(r.prompt_id), (int(r.layer), int(r.neuron)), int(r.token_id), str(r.split),
            int(r.doc_id), [int(i) for i in r.token_ids], int(r.start), float(r.activation),
            float(r.probability),
        )
        for r in store.sql(_PROMPTS).itertuples(index=False)
    ]  # fmt: skip


def _same(found: float, expected: float, what: str) -> None:
    gap = abs(found - expected) / max(1.0, abs(expected))
    assert gap <= _TOLERANCE, f"{what}: notebook {found:.6g}, job {expected:.6g}"


def _timed(act: Callable[[], Any], device: str) -> tuple[float, Any]:
    if device == "cuda":
        torch.cuda.synchronize()
    begin = time.perf_counter()
    found = act()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin, found


def _drawn(items: list[Any], n: int) -> list[Any]:
    return random.Random(0).sample(items, min(n, len(items)))


def texts_of(manifest: dict[str, Any]) -> list[tuple[str, int, str]]:
    """Every document as (split, doc_id, text)."""
    if manifest["test_corpus"] is None:
        each = enumerate(documents(manifest["corpus"]))
        return [(("train", "test")[i % 2], i, text) for i, text in each]
    names = ("train", manifest["corpus"]), ("test", manifest["test_corpus"])
    return [(s, i, text) for s, name in names for i, text in enumerate(documents(name))]


def _scan(book: Notebook, store: Store, prompts: list[Prompt], device: str) -> Stage:
    """One pass over the text with all neurons' maxima; held against the peaks of the kept prompts."""
    texts = texts_of(store.manifest)
    chosen = _drawn(texts, _SAMPLE["scan"])
    seconds, maxima = _timed(lambda: [book.document_maxima(text) for *_, text in chosen], device)
    found = {(s, i): m for (s, i, _), m in zip(chosen, maxima, strict=True)}
    fits = {(s, i) for s, i, text in chosen if len(book.encode(text)) < book.context}
    n_equal = 0
    for p in prompts:
        if (p.split, p.doc_id) in fits:
            _same(float(found[p.split, p.doc_id][p.neuron]), p.activation, "peak of a document")
            n_equal += 1
    assert n_equal, "no kept prompt lies in the documents drawn"
    share = len(texts) / len(chosen)
    note = f"{len(chosen)} of {len(texts)} documents; {n_equal} peaks equal"
    return Stage("scan", store.manifest["seconds"]["scan"], seconds * share, note)


def _truncate(book: Notebook, store: Store, prompts: list[Prompt], device: str) -> Stage:
    """Bisection of kept prompts; the job also had those that it passed over."""
    facts = store.manifest
    chosen = _drawn(prompts, _SAMPLE["prompts"])
    seconds, lengths = _timed(
        lambda: [book.bisected(p.whole, p.neuron, facts["keep_ratio"]) for p in chosen], device
    )
    kept = [len(p.kept) for p in chosen]
    # Both keep enough; the job's is the shortest that does.
    assert all(found >= n for found, n in zip(lengths, kept, strict=True)), (lengths, kept)
    other = sum(found > n for found, n in zip(lengths, kept, strict=True))
    passed = sum(
        n
        for name, n in facts["warnings"].items()
        if name.startswith(("repeated", "prompts dropped"))
    )
    total = len(prompts) + passed
    note = f"{len(chosen)} of {total} candidates; bisection kept a longer suffix in {other}"
    return Stage("prompts", facts["seconds"]["prompts"], seconds * total / len(chosen), note)


def _attribute(book: Notebook, store: Store, prompts: list[Prompt], device: str) -> Stage:
    chosen = _drawn(prompts, _SAMPLE["heads"])
    seconds, found = _timed(
        lambda: [book.attributions(p.kept, p.neuron, p.token) for p in chosen], device
    )
    query = "SELECT prompt_id, heads FROM head_attributions"
    stored = dict(store.sql(query).itertuples(index=False, name=None))
    for p, (heads, probability) in zip(chosen, found, strict=True):
        expected = torch.tensor(stored[p.prompt_id]).view(heads.shape)
        gap = float((heads - expected).abs().max()) / max(1.0, float(expected.abs().max()))
        assert gap <= _TOLERANCE, f"attributions differ by {gap:.3g}"
        _same(probability, p.probability, "probability")
    note = f"{len(chosen)} of {len(prompts)} prompts; all attributions equal"
    return Stage("heads", store.manifest["seconds"]["heads"],
                 seconds * len(prompts) / len(chosen), note)  # fmt: skip


@dataclass(frozen=True)
class _Removal:
    """A stored row of one of the three tables."""

    heads: tuple[Head, ...]
    kind: str
    deltas: tuple[float, float, float] | None
    probability: float


def _removals(store: Store, prompt_id: int) -> Iterator[_Removal]:
    """Every removal that the job made of a prompt, the neuron's own last."""
    columns = "kind, delta_pre_activation, delta_activation, delta_probability"
    single = f"SELECT head_layer, head, {columns} FROM ablations WHERE prompt_id = ?"
    for layer, head, kind, *deltas in store.sql(single, (prompt_id,)).itertuples(index=False):
        yield _Removal(((layer, head),), kind, tuple(deltas), deltas[2])
    active = "SELECT head_layer, head FROM active_heads WHERE prompt_id = ?"
    heads = tuple(store.sql(active, (prompt_id,)).itertuples(index=False, name=None))
    joint = f"SELECT {columns} FROM joint_ablations WHERE prompt_id = ?"
    for kind, *deltas in store.sql(joint, (prompt_id,)).itertuples(index=False):
        yield _Removal(heads, kind, tuple(deltas), deltas[2])
    own = "SELECT delta_probability FROM neuron_ablations WHERE prompt_id = ?"
    for (delta,) in store.sql(own, (prompt_id,)).itertuples(index=False):
        yield _Removal((), "neuron", None, delta)


def _ablate(book: Notebook, store: Store, prompts: list[Prompt], device: str) -> Stage:
    """A run for each removal and a clean one for each prompt. The mean kinds are timed with zeros for
    means (the means themselves cost the notebook nothing here), the zero kinds held against the job's."""
    chosen = [
        (p, list(_removals(store, p.prompt_id))) for p in _drawn(prompts, _SAMPLE["ablations"])
    ]
    cfg = book.model.cfg
    zeros = torch.zeros(book.n_layers, book.n_heads, cfg.d_head, device=book.device)

    def each() -> list[list[torch.Tensor]]:
        found = []
        for p, removals in chosen:
            clean = book.read(p.kept, p.neuron, p.token, [])
            found.append([
                (book.removed(p.kept, p.neuron, p.token, r.heads, r.kind, zeros) if r.heads
                 else book.neuron_removed(p.kept, p.neuron, p.token)) - clean
                for r in removals
            ])  # fmt: skip
        return found

    seconds, found = _timed(each, device)
    n_equal = 0
    for (_, removals), rows in zip(chosen, found, strict=True):
        for removal, row in zip(removals, rows, strict=True):
            if removal.kind.startswith("mean"):
                continue
            _same(float(row[2]), removal.probability, "change of probability")
            for got, expected in zip(row.tolist(), removal.deltas or (), strict=False):
                _same(got, expected, f"change by {removal.kind}")
            n_equal += 1
    n = sum(len(removals) for _, removals in chosen)
    tables = ("ablations", "joint_ablations", "neuron_ablations")
    total = sum(int(store.sql(f"SELECT count(*) AS n FROM {t}")["n"].item()) for t in tables)
    note = f"{n} of {total} removals; {n_equal} of the kinds without means equal"
    return Stage("ablations", store.manifest["seconds"]["ablations"], seconds * total / n, note)


def compared(path: Path, model: Path, device: str) -> list[Stage]:
    """Every stage both ways, from a store that the job made on this device, all of it in one call."""
    book = Notebook(model, device)
    book.cached(book.encode("a warm up"))
    with Store.open(path) as store:
        prompts = prompts_of(store)
        stages = (_scan, _truncate, _attribute, _ablate)
        return [stage(book, store, prompts, device) for stage in stages]


def rows(folder: Path, model: Path, device: str = "cpu") -> list[Row]:
    """Lines of the table: each stage and all together; the ratio is the job's time over the other."""
    path = max(folder.glob("*.duckdb"), key=lambda p: p.stat().st_mtime)
    found = compared(path, model, device)
    job, notebook = sum(s.job for s in found), sum(s.notebook for s in found)
    lines = [
        Row(f"stage {s.name}, demo job, {device}", "the notebook way, scaled to all inputs", s.job,
            s.notebook, "", f"{s.notebook / s.job:.1f} times faster; {s.note}")
        for s in found
    ]  # fmt: skip
    least = AT_LEAST[device]
    whole = Row(f"scan to ablations, demo job, {device}", "the notebook way", job, notebook,
                f"{1 / least:.2g}", f"{notebook / job:.1f} times faster (at least {least})")  # fmt: skip
    return [*lines, whole]


def as_json(stages: list[Stage]) -> str:
    return json.dumps([stage.__dict__ for stage in stages])
