"""Editing activations of components: truths on random heads."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from explorer.core.component_edit import (
    ComponentEdit,
    component_basis,
    edited_z,
    random_directions,
)
from explorer.core.components import component_activations, components
from explorer.core.types import HeadId

D_MODEL, D_HEAD, N_HEADS = 24, 6, 2
HEAD = HeadId(0, 1)


@pytest.fixture
def weights() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return (
        torch.randn(N_HEADS, D_MODEL, D_HEAD, generator=generator),
        torch.randn(N_HEADS, D_HEAD, D_MODEL, generator=generator),
    )


@pytest.fixture
def z() -> Tensor:
    return torch.randn(5, 3, N_HEADS, D_HEAD, generator=torch.Generator().manual_seed(1))


def edit(z: Tensor, weights: tuple[Tensor, Tensor], *edits: ComponentEdit) -> Tensor:
    found = components(*weights)
    bases = {HeadId(0, h): component_basis(weights[1][h], found.writes[h]) for h in range(N_HEADS)}
    return edited_z(z, edits, bases)


def activations(z: Tensor, weights: tuple[Tensor, Tensor], head: int) -> Tensor:
    found = components(*weights)
    return component_activations(z[..., head, :], weights[1][head], found.writes[head])


def test_an_edit_changes_the_output_along_its_direction_alone(
    z: Tensor, weights: tuple[Tensor, Tensor]
) -> None:
    after = edit(z, weights, ComponentEdit(HEAD, 2, scale=3.0, shift=0.5))
    before_c, after_c = activations(z, weights, 1), activations(after, weights, 1)
    expected = before_c.clone()
    expected[..., 2] = 3 * before_c[..., 2] + 0.5
    assert torch.allclose(after_c, expected, atol=1e-5)
    assert torch.equal(after[..., 0, :], z[..., 0, :])
    written = (after - z)[..., 1, :] @ weights[1][1]
    direction = components(*weights).writes[1, 2].float()
    along = (written @ direction)[..., None] * direction
    assert torch.allclose(written, along, atol=1e-4)
    assert float(written.norm(dim=-1).min()) > 0.1


def test_scale_1_is_no_change_to_the_bit(z: Tensor, weights: tuple[Tensor, Tensor]) -> None:
    assert torch.equal(edit(z, weights, *(ComponentEdit(HEAD, i) for i in range(D_HEAD))), z)
    assert torch.equal(edit(z, weights), z)


def test_removing_all_components_leaves_nothing(z: Tensor, weights: tuple[Tensor, Tensor]) -> None:
    removed = [ComponentEdit.removed(HEAD, i) for i in range(D_HEAD)]
    assert edit(z, weights, *removed)[..., 1, :].abs().max() < 1e-5
    assert edit(z, weights, *removed[:-1])[..., 1, :].abs().max() > 0.1


def test_setting_forgets_what_was(z: Tensor, weights: tuple[Tensor, Tensor]) -> None:
    values = torch.arange(5.0)
    after = activations(edit(z, weights, ComponentEdit.set_to(HEAD, 4, values)), weights, 1)
    assert torch.allclose(after[..., 4], values[:, None].double().expand(5, 3), atol=1e-5)
    twice = ComponentEdit.set_to(HEAD, 4, 7.0)
    assert torch.allclose(
        edit(edit(z, weights, ComponentEdit(HEAD, 4, shift=3.0)), weights, twice),
        edit(z, weights, twice),
        atol=1e-5,
    )


def test_edits_of_one_head_do_not_meet(z: Tensor, weights: tuple[Tensor, Tensor]) -> None:
    first, second = ComponentEdit(HEAD, 0, scale=-1.0), ComponentEdit(HEAD, 3, shift=2.0)
    together = edit(z, weights, first, second)
    in_turn = edit(edit(z, weights, second), weights, first)
    assert torch.allclose(together, in_turn, atol=1e-5)


def test_what_a_head_cannot_write_is_not_moved(z: Tensor, weights: tuple[Tensor, Tensor]) -> None:
    weights[1][1, D_HEAD // 2 :] = weights[1][1, : D_HEAD // 2]
    after = edit(z, weights, ComponentEdit.set_to(HEAD, D_HEAD - 1, 9.0))
    assert torch.allclose(after, z, atol=1e-5)
    moved = edit(z, weights, ComponentEdit.set_to(HEAD, 0, 9.0))
    assert torch.allclose(
        activations(moved, weights, 1)[..., 0], torch.tensor(9.0).double(), atol=1e-4
    )


def test_mistakes_are_said(z: Tensor, weights: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(ValueError, match="one edit a component, got two of L0H1 component 2"):
        edit(z, weights, ComponentEdit(HEAD, 2), ComponentEdit.removed(HEAD, 2))
    with pytest.raises(ValueError, match="expected component 0 to 5, got 6"):
        edit(z, weights, ComponentEdit(HEAD, 6))
    with pytest.raises(ValueError, match="one number for each of 5 rows"):
        edit(z, weights, ComponentEdit(HEAD, 1, scale=torch.ones(4)))


def test_random_directions_lie_in_the_heads_span_and_hang_on_the_seed(
    weights: tuple[Tensor, Tensor],
) -> None:
    writes = components(*weights).writes[0]
    found = random_directions(writes, 3, seed=1)
    assert torch.allclose(found @ found.T, torch.eye(3).double(), atol=1e-12)
    assert torch.allclose(found @ writes.T @ writes, found, atol=1e-12)
    assert torch.equal(found, random_directions(writes, 3, seed=1))
    assert not torch.allclose(found, random_directions(writes, 3, seed=2), atol=0.1)
    with pytest.raises(ValueError, match="1 to 6"):
        random_directions(writes, 7, seed=1)
