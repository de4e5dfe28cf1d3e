"""Many prompts run once, then run on again and again with components' dials turned.

The clean run keeps the residual stream that enters the lowest layer to be edited, and keys and values
from there on. An edit at the last position changes nothing before it in a causal model, so that a re-run
carries that position alone over the clean keys and values. An edit at all positions (a singular value in
the weights) runs all of them on from that layer. Layer norms are recomputed. Callers hold the model's lock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from explorer.core.component_edit import (
    ComponentBasis,
    ComponentEdit,
    check_edits,
    component_basis,
    edited_z,
)
from explorer.core.components import component_activations, ov_components
from explorer.core.model_blocks import Block, Blocks, Rotary
from explorer.core.types import HeadId, NeuronId


@dataclass(frozen=True)
class EditedRuns:
    """What re-runs left at each prompt's last position, in the order of the prompts."""

    logits: Float[Tensor, "prompt vocab"]
    """Without columns where the runs stopped at the receiver."""
    attention: Float[Tensor, "prompt pos"] | None
    """Of the receiver, over BOS and the prompt's tokens, 0 after its end; None without a receiver."""
    pre_activation: Float[Tensor, " prompt"] | None
    """Of the neuron; None without one."""
    activation: Float[Tensor, " prompt"] | None
    """Its post-activation."""


@dataclass(frozen=True)
class _Readout:
    receiver: HeadId | None
    neuron: NeuronId | None
    stops: bool
    """Whether nothing after the receiver's attention is wanted."""


@dataclass
class _Group:
    """Prompts of one length after their clean run."""

    places: Int[Tensor, " row"]
    """Where the rows stand among all prompts."""
    x: Float[Tensor, "row pos d_model"]
    """The clean stream that enters the lowest layer to be edited."""
    rotary: Rotary | None
    keys: list[Float[Tensor, "row head before d_head"]]
    """Of that layer and those above, at the positions before the last."""
    values: list[Float[Tensor, "row head before d_head"]]
    z: list[Float[Tensor, "row head d_head"]]
    """Clean value-weighted sums at the last position, same layers."""

    def edit_of(self, edit: ComponentEdit) -> ComponentEdit:
        """The edit with the numbers of these rows."""
        mine = {
            name: value[self.places.to(value.device)]
            for name in ("scale", "shift")
            if isinstance(value := getattr(edit, name), Tensor) and value.dim() == 1
        }
        return replace(edit, **mine)


class ComponentDials:
    """Components of a model's heads whose activations can be read and changed."""

    def __init__(self, blocks: Blocks) -> None:
        self.blocks = blocks
        self._writes: dict[int, Float[Tensor, "head component d_model"]] = {}
        self._bases: dict[HeadId, ComponentBasis] = {}

    def writes(self, head: HeadId) -> Float[Tensor, "component d_model"]:
        """Unit output directions of a head's OV components."""
        model = self.blocks.model
        if head.layer not in self._writes:
            self._writes[head.layer] = ov_components(
                model.w_v[head.layer], model.w_o[head.layer]
            ).writes
        return self._writes[head.layer][head.index]

    def basis(self, head: HeadId) -> ComponentBasis:
        """The basis of a head's OV components."""
        if head not in self._bases:
            w_o = self.blocks.model.w_o[head.layer, head.index]
            self._bases[head] = component_basis(w_o, self.writes(head))
        return self._bases[head]

    def along(self, prompt: Sequence[int], head: HeadId) -> Float[Tensor, "token component"]:
        """A head's component activations at each token of a prompt, BOS not among them."""
        model = self.blocks.model
        tokens, _ = model.batch([prompt])
        with torch.no_grad():
            start = self.blocks.start(tokens)
            x = start.x
            for block in self.blocks.blocks[: head.layer]:
                x = _through(block, x, _attend(block, x, start.rotary))[0]
            z = _attend(self.blocks.blocks[head.layer], x, start.rotary)
        w_o = model.w_o[head.layer, head.index]
        return component_activations(z[0, 1:, head.index], w_o, self.writes(head))

    def clean(self, prompts: Sequence[Sequence[int]], first_layer: int) -> CleanRuns:
        """Run prompts of any lengths once; layers from `first_layer` up can then be edited."""
        if not 0 <= first_layer < len(self.blocks.blocks):
            raise ValueError(
                f"expected a layer of 0 to {len(self.blocks.blocks) - 1}, got {first_layer}"
            )
        if not prompts:
            raise ValueError("expected at least one prompt")
        by_length: dict[int, list[int]] = {}
        for place, prompt in enumerate(prompts):
            by_length.setdefault(len(prompt), []).append(place)
        with torch.no_grad():
            groups = [
                self._clean_group([prompts[i] for i in places], places, first_layer)
                for _, places in sorted(by_length.items())
            ]
        return CleanRuns(self, groups, len(prompts), first_layer)

    def _clean_group(
        self, prompts: list[Sequence[int]], places: list[int], first_layer: int
    ) -> _Group:
        tokens, _ = self.blocks.model.batch(prompts)
        start = self.blocks.start(tokens)
        x = start.x
        for block in self.blocks.blocks[:first_layer]:
            x = _through(block, x, _attend(block, x, start.rotary))[0]
        at = torch.tensor(places, device=x.device)
        group = _Group(at, x, start.rotary, [], [], [])
        for block in self.blocks.blocks[first_layer:]:
            q, k, v = block.qkv(x, start.rotary, 0)
            z = block.attend(q, k, v, causal=True)
            group.keys.append(k[:, :, :-1].contiguous())
            group.values.append(v[:, :, :-1].contiguous())
            group.z.append(z[:, -1].clone())
            x = _through(block, x, z)[0]
        return group


class CleanRuns:
    """Prompts after their clean run, ready to be run on with edits."""

    def __init__(
        self, dials: ComponentDials, groups: list[_Group], n_prompts: int, first_layer: int
    ) -> None:
        self._dials, self._groups = dials, groups
        self.n_prompts, self.first_layer = n_prompts, first_layer

    def activations(self, head: HeadId) -> Float[Tensor, "prompt component"]:
        """A head's component activations at each prompt's last position, clean."""
        self._check_layer(head.layer)
        w_o = self._dials.blocks.model.w_o[head.layer, head.index]
        writes = self._dials.writes(head)
        parts = [
            component_activations(g.z[head.layer - self.first_layer][:, head.index], w_o, writes)
            for g in self._groups
        ]
        return self._in_order(parts)

    @torch.no_grad()
    def edited(
        self,
        edits: Sequence[ComponentEdit],
        *,
        receiver: HeadId | None = None,
        neuron: NeuronId | None = None,
        everywhere: bool = False,
        bases: Mapping[HeadId, ComponentBasis] | None = None,
        stop_at_receiver: bool = False,
    ) -> EditedRuns:
        """Run on with the edits made at the last position, or at all positions, BOS included.

        Without edits it is the clean run. `bases` replaces the heads' own components by other
        directions, such as random ones. `stop_at_receiver` runs nothing after its attention.
        """
        check_edits(edits)
        for part in (*(edit.head for edit in edits), receiver, neuron):
            if part is not None:
                self._check_layer(part.layer)
        heads = {edit.head for edit in edits}
        found = {h: (bases or {}).get(h) or self._dials.basis(h) for h in heads}
        if stop_at_receiver and (receiver is None or neuron is not None):
            raise ValueError("expected a receiver alone to stop at")
        readout = _Readout(receiver, neuron, stop_at_receiver)
        parts = [
            _run_on(self._dials.blocks, g, self.first_layer, edits, found, readout, everywhere)
            for g in self._groups
        ]
        n_pos = max(g.x.shape[1] for g in self._groups)
        attention = [
            functional.pad(p.attention, (0, n_pos - p.attention.shape[1]))
            for p in parts
            if p.attention is not None
        ]
        return EditedRuns(
            self._in_order([p.logits for p in parts]),
            self._in_order(attention) if receiver is not None else None,
            *(
                self._in_order([getattr(p, name) for p in parts]) if neuron is not None else None
                for name in ("pre_activation", "activation")
            ),
        )

    def _check_layer(self, layer: int) -> None:
        if layer < self.first_layer:
            raise ValueError(
                f"expected a layer from {self.first_layer} on, where the clean run was kept; "
                f"got {layer}"
            )

    def _in_order(self, parts: list[Tensor]) -> Tensor:
        joined = torch.cat(parts)
        order = torch.cat([g.places for g in self._groups])
        return joined[order.argsort()]


def _attend(
    block: Block, x: Float[Tensor, "row pos d_model"], rotary: Rotary | None
) -> Float[Tensor, "row pos head d_head"]:
    q, k, v = block.qkv(x, rotary, 0)
    return block.attend(q, k, v, causal=True)


def _through(
    block: Block, x: Float[Tensor, "row pos d_model"], z: Float[Tensor, "row pos head d_head"]
) -> tuple[Tensor, Tensor, Tensor]:
    """The rest of a block after attention: the stream that leaves it, pre- and post-activations."""
    written = block.attention_out(z)
    pre = block.pre_activations(block.mlp_reads(x, written))
    post = block.activations(pre)
    return x + written + block.mlp_out(post), pre, post


def _weights_of(block: Block, q: Tensor, k: Tensor, head: int) -> Float[Tensor, "row pos"]:
    """Attention of one head from the last query: one-hot values come out as the weights."""
    one_hot = torch.eye(k.shape[2], device=k.device, dtype=k.dtype)
    at = slice(head, head + 1)
    values = one_hot.expand(len(k), 1, -1, -1)
    return block.attend(q[:, at, -1:], k[:, at], values, causal=False)[:, 0, 0]


def _run_on(
    blocks: Blocks,
    group: _Group,
    first_layer: int,
    edits: Sequence[ComponentEdit],
    bases: Mapping[HeadId, ComponentBasis],
    readout: _Readout,
    everywhere: bool,
) -> EditedRuns:
    """One group on from its lowest layer, at all positions or at the last one alone."""
    before = group.x.shape[1] - 1
    x = group.x if everywhere else group.x[:, -1:]
    attention = pre_activation = activation = None
    for depth, block in enumerate(blocks.blocks[first_layer:]):
        layer = first_layer + depth
        q, k, v = block.qkv(x, group.rotary, 0 if everywhere else before)
        if not everywhere:
            k = torch.cat([group.keys[depth], k], dim=2)
            v = torch.cat([group.values[depth], v], dim=2)
        z = block.attend(q, k, v, causal=everywhere)
        mine = [group.edit_of(edit) for edit in edits if edit.head.layer == layer]
        z = edited_z(z, mine, bases) if mine else z
        if readout.receiver is not None and readout.receiver.layer == layer:
            attention = _weights_of(block, q, k, readout.receiver.index)
            if readout.stops:
                return EditedRuns(x.new_zeros(len(x), 0), attention, None, None)
        x, pre, post = _through(block, x, z)
        if readout.neuron is not None and readout.neuron.layer == layer:
            pre_activation = pre[:, -1, readout.neuron.index]
            activation = post[:, -1, readout.neuron.index]
    logits = blocks.logits(blocks.final(x[:, -1]))
    return EditedRuns(logits, attention, pre_activation, activation)
