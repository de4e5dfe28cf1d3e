"""Composition against the whole products, its random level, and z by median and MAD."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from explorer.core.components import ov_components
from explorer.core.composition import (
    MODES,
    Mode,
    component_composition,
    component_cosine,
    head_composition,
    random_level,
    reading_matrices,
    reading_matrix,
    robust_z,
)
from tests.core.conftest import Pair

N_HEADS, D_MODEL, D_HEAD = 4, 48, 6


class Heads:
    """Random weights of one layer of heads."""

    def __init__(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape: int) -> Tensor:
            return torch.randn(N_HEADS, *shape, generator=generator, dtype=torch.float64)

        self.q, self.k, self.v = (draw(D_MODEL, D_HEAD) for _ in range(3))
        self.o = draw(D_HEAD, D_MODEL)

    @property
    def ov(self) -> Tensor:
        return self.v @ self.o

    @property
    def qk(self) -> Tensor:
        return self.q @ self.k.mT

    def readers(self) -> dict[Mode, Tensor]:
        return reading_matrices(self.q, self.k, self.v, self.o)


def whole(mode: Mode, sender_ov: Tensor, qk: Tensor, ov: Tensor) -> float:
    """The score as it is defined, through `d_model x d_model` products."""
    read = {"Q": qk, "K": qk.mT, "V": ov}[mode]
    norm = torch.linalg.matrix_norm
    return float(norm(sender_ov @ read) / (norm(sender_ov) * norm(read)))


@pytest.fixture
def first() -> Heads:
    return Heads(0)


@pytest.fixture
def second() -> Heads:
    return Heads(1)


def scores_of(first: Heads, second: Heads, mode: Mode) -> tuple[Tensor, Tensor]:
    """Heads `[receiver sender]` and components `[receiver sender component]`."""
    found = ov_components(first.v, first.o)
    scores = component_composition(found.writes, second.readers()[mode])
    return head_composition(scores, found.singular_values), scores


@pytest.mark.parametrize("mode", MODES)
def test_head_scores_are_those_of_the_whole_products(
    first: Heads, second: Heads, mode: Mode
) -> None:
    heads, _ = scores_of(first, second, mode)
    for receiver in range(N_HEADS):
        for sender in range(N_HEADS):
            expected = whole(mode, first.ov[sender], second.qk[receiver], second.ov[receiver])
            assert float(heads[receiver, sender]) == pytest.approx(expected, abs=1e-12)


def test_the_modes_differ(first: Heads, second: Heads) -> None:
    q, k, v = (scores_of(first, second, mode)[0] for mode in MODES)
    assert not torch.allclose(q, k, atol=1e-3) and not torch.allclose(q, v, atol=1e-3)


@pytest.mark.parametrize("mode", MODES)
def test_component_scores_replace_ov_by_the_unit_direction(
    first: Heads, second: Heads, mode: Mode
) -> None:
    _, scores = scores_of(first, second, mode)
    for receiver, sender, i in ((0, 0, 0), (1, 3, 2), (3, 2, D_HEAD - 1)):
        _, _, vh = np.linalg.svd(first.ov[sender].numpy())
        direction = torch.from_numpy(vh[i][None])
        expected = whole(mode, direction, second.qk[receiver], second.ov[receiver])
        assert float(scores[receiver, sender, i]) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("mode", MODES)
def test_rescaling_and_rotating_inside_heads_change_nothing(
    first: Heads, second: Heads, mode: Mode
) -> None:
    before = scores_of(first, second, mode)
    generator = torch.Generator().manual_seed(2)
    rotation = torch.linalg.qr(torch.randn(D_HEAD, D_HEAD, generator=generator).double()).Q
    first.v, first.o = 7 * first.v @ rotation, rotation.T @ first.o / 7
    second.q, second.k = second.q @ rotation / 30, 30 * second.k @ rotation
    second.v, second.o = second.v @ rotation, 5 * rotation.T @ second.o
    for old, new in zip(before, scores_of(first, second, mode), strict=True):
        assert torch.allclose(old, new, atol=1e-10)
    first.v = first.v @ torch.diag(torch.linspace(1, 9, D_HEAD).double())
    assert not torch.allclose(before[0], scores_of(first, second, mode)[0], atol=1e-3)


def test_scores_lie_between_0_and_1_and_reach_both() -> None:
    """A receiver that reads one direction alone: written exactly, or not at all."""
    direction = torch.zeros(1, D_MODEL, dtype=torch.float64)
    direction[0, 5] = 2.0
    reads = reading_matrix(direction.T[None], torch.ones(1, 1, D_MODEL).double())
    writes = torch.eye(D_MODEL).double()[None, [5, 6]]
    scores = component_composition(writes, reads)
    assert scores.flatten().tolist() == pytest.approx([1.0, 0.0], abs=1e-12)


def test_a_head_that_reads_or_writes_nothing_scores_0(first: Heads, second: Heads) -> None:
    first.o[1] = 0.0
    second.q[2] = 0.0
    heads, scores = scores_of(first, second, "Q")
    assert torch.isfinite(scores).all()
    assert heads[:, 1].abs().max() == 0 and heads[2].abs().max() == 0
    assert float(heads[0, 0]) > 0.05


def test_isotropic_directions_score_the_random_level(second: Heads) -> None:
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(1, 4000, D_MODEL, generator=generator, dtype=torch.float64)
    writes = noise / noise.norm(dim=2, keepdim=True)
    for mode in MODES:
        scores = component_composition(writes, second.readers()[mode])[:, 0]
        level = scores.square().mean(1).sqrt()
        assert torch.allclose(level, torch.tensor(random_level(D_MODEL)).double(), rtol=0.03)
    assert random_level(768) == pytest.approx(0.036, abs=1e-4)
    # Directions that are not isotropic: those that the receiver reads score far above it.
    reader = second.readers()["Q"]
    along = torch.linalg.svd(reader[0]).U[:, :1].T[None]
    assert float(component_composition(along, reader)[0]) > 3 * random_level(D_MODEL)


def test_single_precision_is_within_a_millionth(pair: Pair) -> None:
    model = pair.model
    found = ov_components(model.w_v[0], model.w_o[0])
    weights = (model.w_q[2], model.w_k[2], model.w_v[2], model.w_o[2])
    qk = weights[0].double() @ weights[1].double().mT
    ov = weights[2].double() @ weights[3].double()
    sender = model.w_v[0].double() @ model.w_o[0].double()
    for mode, reader in reading_matrices(*weights).items():
        scores = component_composition(found.writes.float(), reader)
        heads = head_composition(scores, found.singular_values.float())
        assert scores.dtype == heads.dtype == torch.float32
        for s in range(model.shape.n_heads):
            for r in range(model.shape.n_heads):
                expected = whole(mode, sender[s], qk[r], ov[r])
                assert float(heads[r, s]) == pytest.approx(expected, abs=1e-6)


def test_at_gpt2_smalls_size_it_is_20_times_faster_than_whole_products() -> None:
    """CPU seconds, after what depends on one head alone has been made for both."""
    generator = torch.Generator().manual_seed(9)
    v, q, k = (0.02 * torch.randn(4, 768, 64, generator=generator) for _ in range(3))
    o = 0.02 * torch.randn(4, 64, 768, generator=generator)
    found, reader = ov_components(v, o), reading_matrix(q, k.mT).float()
    writes, singular_values = found.writes.float(), found.singular_values.float()
    ov, qk = v @ o, q @ k.mT
    norm = torch.linalg.matrix_norm

    def through_cores() -> Tensor:
        return head_composition(component_composition(writes, reader), singular_values)

    def products() -> Tensor:
        rows = [torch.stack([norm(a @ b) / (norm(a) * norm(b)) for a in ov]) for b in qk]
        return torch.stack(rows)

    def seconds(act: Callable[[], Tensor]) -> float:
        begin = time.process_time()
        act()
        return time.process_time() - begin

    assert torch.allclose(through_cores(), products(), atol=1e-5)
    fast, slow = (min(seconds(act) for _ in range(3)) for act in (through_cores, products))
    assert 20 * fast < slow


def test_cosine_of_components_has_no_sign() -> None:
    writes = torch.tensor([[1.0, 0.0], [0.6, -0.8]])
    reads = torch.tensor([[-1.0, 0.0], [0.0, 1.0], [0.8, 0.6]])
    expected = torch.tensor([[1.0, 0.0, 0.8], [0.6, 0.8, 0.0]])
    assert torch.allclose(component_cosine(writes, reads), expected, atol=1e-7)


# --- z ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_z_is_by_median_and_mad(n: int) -> None:
    values = torch.rand(3, n, generator=torch.Generator().manual_seed(n))
    found = robust_z(values)
    rows = values.double().numpy()
    middle = np.median(rows, axis=1, keepdims=True)
    mad = 1.4826 * np.median(np.abs(rows - middle), axis=1, keepdims=True)
    if n == 1:
        assert bool(found.isnan().all())
    else:
        assert np.allclose(found, (rows - middle) / mad, atol=1e-9)


def test_one_outlier_stands_out_and_moves_no_other() -> None:
    values = torch.rand(1, 200, generator=torch.Generator().manual_seed(5))
    before = robust_z(values)
    assert float(before.abs().max()) < 3
    far = values.clone()
    far[0, 7] = 1000.0
    after = robust_z(far)
    assert float(after[0, 7]) > 1000
    others = torch.arange(200) != 7
    assert torch.allclose(after[0, others], before[0, others], atol=0.2)
    plain = (far - far.mean()) / far.std()
    assert float(plain[0, 7]) < 20, "mean and SD would let the outlier hide itself"


def test_z_is_undefined_where_most_scores_are_equal() -> None:
    values = torch.tensor([[0.5, 0.5, 0.5, 0.9], [0.1, 0.2, 0.3, 0.9]])
    found = robust_z(values)
    assert bool(found[0].isnan().all())
    assert bool(found[1].isfinite().all())
    assert robust_z(torch.zeros(2, 0)).shape == (2, 0)
