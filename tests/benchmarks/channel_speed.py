"""Components and composition from the weights alone, and dials turned on many prompts."""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

from explorer.core.component_edit import ComponentEdit
from explorer.core.components import ov_components, qk_components
from explorer.core.composition import (
    MODES,
    component_composition,
    head_composition,
    reading_matrices,
    robust_z,
)
from explorer.core.model import load_model
from explorer.core.model_blocks import Blocks
from explorer.core.model_component_edit import ComponentDials
from explorer.core.types import HeadId, NeuronId
from tests.benchmarks.measure import Row, in_turn
from tests.benchmarks.model_speed import DEMO, bare

ROOT = Path(__file__).parents[2]
N_LAYERS, N_HEADS, D_MODEL, D_HEAD = 12, 12, 768, 64
"""GPT-2 small's."""
N_PROMPTS = 200


def _weights() -> list[Tensor]:
    """W_Q, W_K, W_V `[layer head d_model d_head]` and W_O `[layer head d_head d_model]`."""
    generator = torch.Generator().manual_seed(0)
    shape = (N_LAYERS, N_HEADS, D_MODEL, D_HEAD)
    q, k, v, o = (0.02 * torch.randn(shape, generator=generator) for _ in range(4))
    return [q, k, v, o.mT.contiguous()]


def _everything(weights: list[Tensor]) -> int:
    """All components of all heads; composition of all pairs, heads and components; every z."""
    q, k, v, o = weights
    writes, singular_values, n_scores = [], [], 0
    for layer in range(N_LAYERS):
        found, _ = ov_components(v[layer], o[layer]), qk_components(q[layer], k[layer])
        if layer:
            readers = reading_matrices(q[layer], k[layer], v[layer], o[layer])
            for mode in MODES:
                scores = torch.cat([component_composition(w, readers[mode]) for w in writes], dim=1)
                heads = head_composition(scores, torch.cat(singular_values))
                n_scores += heads.numel() + robust_z(scores.flatten(1)).numel()
        writes.append(found.writes.float())
        singular_values.append(found.singular_values.float())
    return n_scores


def _alone() -> None:
    """In a process of its own, for its peak memory."""
    torch.set_num_threads(2)
    weights = _weights()
    begin = time.perf_counter()
    n_scores = _everything(weights)
    found = {
        "seconds": time.perf_counter() - begin,
        "n_scores": n_scores,
        "gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }
    sys.stdout.write(json.dumps(found) + "\n")


def whole_model_row() -> Row:
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.channel_speed"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    note = f"{found['n_scores']:,} scores, peak memory {found['gb']:.2f} GB"
    return Row("all components and all composition scores, GPT-2 small's shape", "",
               found["seconds"], None, "30 s, 2 GB", note)  # fmt: skip


def core_row(repeats: int) -> Row:
    """All pairs of heads of two layers, equal within 1e-5. What depends on one head alone (components
    and reading matrices; OV and QK) is made once for its 132 pairs or more, and so beforehand here."""
    q, k, v, o = (w[[3, 8]] for w in _weights())
    kept: dict[str, Tensor] = {}
    norm = torch.linalg.matrix_norm

    def factored() -> tuple[Tensor, Tensor, Tensor]:
        found = ov_components(v[0], o[0])
        reader = reading_matrices(q[1], k[1], v[1], o[1])["Q"].float()
        return found.writes.float(), found.singular_values.float(), reader

    def formed() -> tuple[Tensor, Tensor]:
        return v[0] @ o[0], q[1] @ k[1].mT

    (writes, singular_values, reader), (ov, qk) = factored(), formed()

    def through_cores() -> None:
        kept["core"] = head_composition(component_composition(writes, reader), singular_values)

    def whole() -> None:
        products = torch.stack([torch.stack([norm(a @ b) for a in ov]) for b in qk])
        kept["whole"] = products / (norm(ov)[None] * norm(qk)[:, None])

    seconds, base = in_turn(through_cores, whole, repeats)
    before, base_before = in_turn(factored, formed, repeats)
    gap = float((kept["core"] - kept["whole"]).abs().max())
    assert gap < 1e-5, gap
    note = (f"largest difference {gap:.1e}; beforehand, for 24 heads, "
            f"{1000 * before:.0f} ms against {1000 * base_before:.0f} ms")  # fmt: skip
    return Row("composition of 144 pairs of heads through the small core",
               "the d_model x d_model products", seconds, base, "0.05", note)  # fmt: skip


def edit_row(folder: Path, name: str, repeats: int) -> Row:
    """One component removed at the last position of prompts of 20 to 28 tokens, a layer half-way up."""
    model, plain = load_model(folder, "cpu"), bare(folder)
    rng = random.Random(0)
    prompts = [[rng.randrange(1, 8192) for _ in range(20 + i % 9)] for i in range(N_PROMPTS)]
    batches = [
        model.batch(sorted(prompts, key=len)[at : at + 25])[0] for at in range(0, N_PROMPTS, 25)
    ]
    layer, top = model.shape.n_layers // 2, model.shape.n_layers - 1
    dials = ComponentDials(Blocks(model))
    clean = dials.clean(prompts, layer)
    edits = [ComponentEdit.removed(HeadId(layer, 1), 0)]

    def edit() -> None:
        clean.edited(edits, receiver=HeadId(top, 0), neuron=NeuronId(top, 0))

    def forwards() -> None:
        with torch.no_grad():
            for tokens in batches:
                _ = plain(tokens, use_cache=False).logits

    seconds, base = in_turn(edit, forwards, repeats)
    return Row(f"a component edit at the last position, {N_PROMPTS} prompts, {name}",
               "bare forwards over the same prompts", seconds, base, "0.6",
               "after one clean run")  # fmt: skip


def rows(gpt2_small: Path) -> list[Row]:
    """Lines of the table; `gpt2_small` is a folder with a model of GPT-2 small's shape."""
    return [
        whole_model_row(),
        core_row(5),
        edit_row(DEMO / "model", "demo model", 7),
        edit_row(gpt2_small, "GPT-2 small's shape", 3),
    ]


if __name__ == "__main__":
    _alone()
