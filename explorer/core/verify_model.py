"""Checks of a store against its model: sampled prompts recomputed, every part of them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from explorer.core.analysis import AnalysisSpec, PromptAnalysis, analyse_prompt
from explorer.core.errors import UnsupportedModelError
from explorer.core.model import LanguageModel
from explorer.core.model_files import sha256_of_weights
from explorer.core.store import Store
from explorer.core.types import NeuronId
from explorer.core.verify_maths import TOLERANCE
from explorer.core.verify_report import Check, Finding

WEIGHTS = ("weights", "The model's weights are those that the run read")
ATTRIBUTIONS = ("attributions again", "What each part adds is what the model gives")
ACTIVATIONS = ("activations again", "Pre-activations and activations are what the model gives")
PROBABILITIES = ("probabilities again", "The probability of the neuron's token is the model's")
TOKEN_RANKS = ("token ranks again", "The rank of the neuron's token is the model's")
AGAIN = (ATTRIBUTIONS, ACTIVATIONS, PROBABILITIES, TOKEN_RANKS)
_RELATIVE_TIE = 1e-3
"""Tokens whose probabilities differ by this share count as tied: another device may swap them."""


def _left_out(reason: str, *names: tuple[str, str]) -> list[Check]:
    return [Check(*name, "left out", reason, 0.0) for name in names]


def without_model(reason: str) -> list[Check]:
    """Every check that needs the model, left out."""
    return _left_out(reason, WEIGHTS, *AGAIN)


def check_weights(manifest: dict[str, Any], folder: Path) -> Check:
    """Whether a folder holds the weights of the run; left out where it does not: it is another model,
    and says nothing about the store."""
    begin = time.perf_counter()
    expected = manifest.get("weights_sha256")
    try:
        found = sha256_of_weights(folder)
    except (OSError, UnsupportedModelError) as error:
        return Check(*WEIGHTS, "left out", str(error), time.perf_counter() - begin)
    state = "ok" if found == expected else "left out"
    reason = f"checksum {found[:12]}…"
    if state == "left out":
        reason += f", the run has {str(expected)[:12]}…; give --model the folder that it read"
    return Check(*WEIGHTS, state, reason, time.perf_counter() - begin)


@dataclass(frozen=True)
class Sample:
    """A stored prompt, and what the store has of it."""

    prompt_id: int
    neuron: NeuronId
    token_id: int
    kept: list[int]
    stored: dict[str, Any]


def _samples(store: Store, n: int, seed: int) -> list[Sample]:
    """`n` prompts drawn with the seed, without replacement; all of them where there are fewer."""
    ids = store.sql("SELECT prompt_id FROM prompts ORDER BY 1")["prompt_id"].to_numpy()
    chosen = np.random.default_rng(seed).permutation(ids)[:n].tolist()
    rows = store.sql(
        """
        SELECT p.prompt_id, p.layer, p.neuron, s.token_id, p.token_ids[p.start + 1:] AS kept,
               p.truncated_activation, p.probability, p.token_rank, a.heads, a.mlps, a.embedding,
               a.bias, a.pre_activation, a.ln_scale
        FROM prompts p JOIN head_attributions a USING (prompt_id)
             JOIN studied_neurons s USING (layer, neuron)
        WHERE list_contains($chosen, p.prompt_id) ORDER BY p.prompt_id
        """,
        {"chosen": chosen},
    )
    return [
        Sample(int(row["prompt_id"]), NeuronId(int(row["layer"]), int(row["neuron"])),
                int(row["token_id"]), [int(i) for i in row["kept"]], row)
        for row in rows.to_dict("records")
    ]  # fmt: skip


@dataclass
class _Worst:
    """The largest difference over the samples, in units of the tolerance, and where it was."""

    unit: str
    ratio: float = 0.0
    difference: float = 0.0
    where: str = ""
    wrong: list[str] = field(default_factory=list)

    def add(self, where: str, found: Any, stored: Any) -> None:
        a, b = np.asarray(found, np.float64).ravel(), np.asarray(stored, np.float64).ravel()
        if a.shape != b.shape or not np.isfinite(b).all():
            self.wrong.append(where)
            self.where = self.where or where
            self.ratio = self.difference = np.inf
            return
        difference = np.abs(a - b)
        ratio = difference / (TOLERANCE * np.maximum(1.0, np.abs(a)))
        if ratio.max(initial=0.0) > 1 and where not in self.wrong:
            self.wrong.append(where)
        if ratio.max(initial=0.0) > self.ratio:
            self.ratio, self.where = float(ratio.max()), where
            self.difference = float(difference[ratio.argmax()])

    def finding(self, n: int) -> Finding:
        if self.wrong:
            return Finding.failed(f"{len(self.wrong):,} of {n:,} prompts differ, most of all "
                                  f"{self.where}: by {self.difference:.2g}{self.unit}")  # fmt: skip
        return Finding.ok(f"{n:,} prompts, none differs by more than "
                          f"{self.difference:.2g}{self.unit}")  # fmt: skip


def _rank_bounds(found: PromptAnalysis) -> tuple[int, int]:
    """The ranks that the neuron's token may have when near ties fall either way."""
    own, all_ = found.target.probability, found.probabilities
    above = int((all_ > own * (1 + _RELATIVE_TIE)).sum())
    return 1 + above, max(1, int((all_ >= own * (1 - _RELATIVE_TIE)).sum()))


class Recomputed:
    """Samples of a store's prompts, held against what the model gives for them, one after the other."""

    def __init__(self, store: Store, n_samples: int, seed: int = 0) -> None:
        self.samples = _samples(store, n_samples, seed) if n_samples > 0 else []
        self._spec = AnalysisSpec.from_manifest(store.manifest)
        self._why = "no samples were asked for" if n_samples < 1 else "the run kept no prompts"
        self._parts = _Worst(" pre-activation units")
        self._activations = _Worst(" activation units")
        self._chances = _Worst("")
        self._ranks: list[str] = []
        self._seconds = 0.0

    def compare(self, model: LanguageModel, sample: Sample) -> None:
        """Run one sample and keep the largest differences."""
        begin = time.perf_counter()
        found = analyse_prompt(model, sample.kept, sample.neuron, sample.token_id, None, self._spec)
        stored, where = sample.stored, f"prompt {sample.prompt_id}"
        for name in ("heads", "mlps", "embedding", "bias", "ln_scale"):
            self._parts.add(where, getattr(found, name), stored[name])
        self._activations.add(where, found.pre_activation, stored["pre_activation"])
        self._activations.add(where, found.activation, stored["truncated_activation"])
        self._chances.add(where, found.target.probability, stored["probability"])
        low, high = _rank_bounds(found)
        if not low <= stored["token_rank"] <= high:
            self._ranks.append(f"{where}: {stored['token_rank']}, recomputed {found.target.rank}")
        self._seconds += time.perf_counter() - begin

    def checks(self) -> list[Check]:
        """What all samples say, once each has been compared."""
        n = len(self.samples)
        if not n:
            return _left_out(self._why, *AGAIN)
        ranks = Finding.ok(f"{n:,} prompts")
        if self._ranks:
            ranks = Finding.failed(
                f"{len(self._ranks):,} of {n:,} prompts differ, for example {self._ranks[0]}"
            )
        worst = (self._parts, self._activations, self._chances)
        findings = (*(each.finding(n) for each in worst), ranks)
        return [
            Check(*name, finding.state, finding.reason, self._seconds / len(AGAIN))
            for name, finding in zip(AGAIN, findings, strict=True)
        ]


def checks(store: Store, model: LanguageModel, n_samples: int, seed: int = 0) -> list[Check]:
    """Recompute `n_samples` prompts with the run's model, drawn with the seed."""
    recomputed = Recomputed(store, n_samples, seed)
    for sample in recomputed.samples:
        recomputed.compare(model, sample)
    return recomputed.checks()
