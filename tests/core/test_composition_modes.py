"""The random level holds for whole heads as it does for their components."""

from __future__ import annotations

import pytest
import torch

from explorer.core.components import ov_components
from explorer.core.composition import component_composition, head_composition, reading_matrix
from explorer.core.composition_modes import random_level

D_MODEL, D_HEAD, N = 48, 6, 120


def test_whole_heads_that_write_in_random_directions_score_the_random_level() -> None:
    generator = torch.Generator().manual_seed(3)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    sent = ov_components(random(N, D_MODEL, D_HEAD), random(N, D_HEAD, D_MODEL))
    left, right = random(1, D_MODEL, D_HEAD), random(1, D_HEAD, D_MODEL)
    scores = component_composition(sent.writes, reading_matrix(left, right))
    whole = head_composition(scores, sent.singular_values)
    level = random_level(D_MODEL)
    assert float(whole.square().mean().sqrt()) == pytest.approx(level, rel=0.05)
    assert float(scores.square().mean().sqrt()) == pytest.approx(level, rel=0.05)
    # Whole heads lie closer to it: a mean over components.
    assert float(whole.std()) < float(scores.std())

    # A head that writes what the receiver reads is far above it.
    aligned = ov_components(random(1, D_MODEL, D_HEAD), left.mT)
    scores = component_composition(aligned.writes, reading_matrix(left, right))
    assert float(head_composition(scores, aligned.singular_values)) > 2 * level
