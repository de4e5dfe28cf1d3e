"""Turning a component's dial: a head's value-weighted sum with some component activations changed.

A component's activation at a position is the coefficient of its output direction `v_i` in what the head
writes there (`components.component_activations`): `s_i u_i` along the attention-weighted mean of what the
head reads. An edit turns an activation `c` into `scale * c + shift` and leaves the head's other
components as they are, so that what the head writes changes along `v_i` alone:

    z' W_O = z W_O + ((scale - 1) c_i + shift) v_i.

Scaling a component at every position is the same as scaling its singular value in the weights. Removal
and scaling are the paper's interventions (Merullo, Eickhoff and Pavlick 2024), as is setting an
activation; this form of them is ours. Pure: tensors in, values out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from explorer.core.types import HeadId

_RANK_TOLERANCE = 1e-6
"""Singular values of W_O below this share of the largest are rounding of its float32 entries."""


@dataclass(frozen=True)
class ComponentBasis:
    """How a head's activations are read from `z`, and which change of `z` moves one of them alone."""

    readers: Float[Tensor, "component d_head"]
    """`z . readers[i]` is the activation of component i: `W_O v_i`."""
    steps: Float[Tensor, "component d_head"]
    """`steps[i] W_O = v_i`. Zero for a direction that W_O cannot write: it has no activation to move."""


def component_basis(
    w_o: Float[Tensor, "d_head d_model"], writes: Float[Tensor, "component d_model"]
) -> ComponentBasis:
    """The basis of orthonormal output directions: a head's OV components, or any others within what
    the head can write (random ones, for a control)."""
    inverse = torch.linalg.pinv(w_o.double(), rtol=_RANK_TOLERANCE)
    directions = writes.double()
    return ComponentBasis(directions @ w_o.double().mT, directions @ inverse)


def random_directions(
    writes: Float[Tensor, "component d_model"], n: int, seed: int
) -> Float[Tensor, "n d_model"]:
    """Control directions: orthonormal, random within the span of a head's components."""
    if not 1 <= n <= len(writes):
        raise ValueError(f"expected 1 to {len(writes)} directions, got {n}")
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(writes), n, generator=generator, dtype=torch.float64)
    mix = torch.linalg.qr(noise).Q.T.to(writes.device)
    return mix @ writes.double()


@dataclass(frozen=True)
class ComponentEdit:
    """What is done to one component's activation `c`: it becomes `scale * c + shift`.

    One number for all prompts, or one for each (`[row]`), so that a batch can hold a sweep.
    """

    head: HeadId
    component: int
    scale: float | Float[Tensor, " row"] = 1.0
    shift: float | Float[Tensor, " row"] = 0.0
    """In units of the residual stream."""

    @classmethod
    def removed(cls, head: HeadId, component: int) -> ComponentEdit:
        """The activation becomes 0."""
        return cls(head, component, scale=0.0)

    @classmethod
    def set_to(
        cls, head: HeadId, component: int, value: float | Float[Tensor, " row"]
    ) -> ComponentEdit:
        """The activation becomes `value`, whatever it was."""
        return cls(head, component, scale=0.0, shift=value)


def check_edits(edits: Sequence[ComponentEdit]) -> None:
    """Two edits of one component would depend on their order: refused."""
    places = [(edit.head, edit.component) for edit in edits]
    twice = next((place for place in places if places.count(place) > 1), None)
    if twice is not None:
        raise ValueError(
            f"expected one edit a component, got two of {twice[0]} component {twice[1]}"
        )


def _per_row(value: float | Tensor, like: Tensor) -> float | Tensor:
    """A number as it is; one for each row of `like` as `[row 1 ...]`."""
    if not isinstance(value, Tensor) or value.dim() == 0:
        return value
    if value.shape != like.shape[:1]:
        raise ValueError(f"expected one number for each of {len(like)} rows, got {value.shape}")
    return value.to(like).reshape(-1, *(1 for _ in like.shape[1:]))


def edited_z(
    z: Float[Tensor, "row *pos head d_head"],
    edits: Sequence[ComponentEdit],
    bases: Mapping[HeadId, ComponentBasis],
) -> Float[Tensor, "row *pos head d_head"]:
    """The heads' value-weighted sums in one layer with these edits of its heads made at all positions
    given. Every activation is read from `z` as it was, in float64."""
    check_edits(edits)
    result = z.clone()
    for edit in edits:
        basis, index = bases[edit.head], edit.head.index
        if not 0 <= edit.component < len(basis.steps):
            raise ValueError(
                f"expected component 0 to {len(basis.steps) - 1}, got {edit.component}"
            )
        activation = z[..., index, :].double() @ basis.readers[edit.component]
        scale, shift = _per_row(edit.scale, activation), _per_row(edit.shift, activation)
        change = (scale - 1) * activation + shift
        step = change[..., None] * basis.steps[edit.component]
        result[..., index, :] = result[..., index, :] + step.to(z.dtype)
    return result
