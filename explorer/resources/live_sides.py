"""A prompt of Live with all heads on and with some off; two prompts and their difference.

`Side` keeps the two states of one prompt together, so that no number can stand beside another
prompt's. Nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from explorer.charts.live_difference import TokenChange
from explorer.charts.next_tokens import NextRow
from explorer.charts.waterfall import Part, waterfall_parts
from explorer.core.types import HeadId
from explorer.resources.live_values import LiveValue

N_NEXT = 8
"""Next tokens shown of one prompt, and of the difference of two."""


@dataclass(frozen=True)
class Removal:
    """Heads switched off, and what stands in for them (`zero-last` and its kin, as in the store)."""

    heads: tuple[HeadId, ...] = ()
    kind: str = "zero-last"

    def __bool__(self) -> bool:
        return bool(self.heads)


@dataclass(frozen=True)
class Side:
    """One prompt: its numbers with all heads on (`before`) and with the removed ones off (`now`)."""

    before: LiveValue
    now: LiveValue
    """`before` itself where nothing is removed."""
    removal: Removal = Removal()

    def __post_init__(self) -> None:
        one, other = self.before, self.now
        same = (one.text, one.token_ids, one.position, one.neuron, one.token) == (
            other.text, other.token_ids, other.position, other.neuron, other.token,
        )  # fmt: skip
        if not same:
            raise ValueError(
                "expected one prompt, position and neuron before and after the removal"
            )

    @property
    def off(self) -> frozenset[HeadId]:
        return frozenset(self.removal.heads)

    @property
    def predicted(self) -> float:
        """The pre-activation that the contributions alone predict for the removal.

        The removed heads' contributions exchanged for what stands in for them, at the layer-norm
        divisor observed before; all else as it was. What the re-run measures differs, since later
        parts react.
        """
        before, now = self.before, self.now
        rescaled = now.heads * (now.ln_scale / before.ln_scale)
        changes = [
            float(rescaled[head.layer, head.index]) - float(before.heads[head.layer, head.index])
            for head in self.removal.heads
        ]
        return before.pre_activation + sum(changes)

    def next_now(self) -> tuple[tuple[NextRow, ...], NextRow]:
        """The most probable next tokens now and the neuron's token, each with its probability
        before the removal where there is one."""
        known = self.before.probabilities if self.removal else None
        if known is None:
            return self.now.next_tokens, self.now.target

        def with_before(row: NextRow) -> NextRow:
            assert row.token_id is not None, "the model's own rows know their token"
            return replace(row, before=float(known[row.token_id]))

        return tuple(map(with_before, self.now.next_tokens)), with_before(self.now.target)


def parts_of(
    value: LiveValue, named: tuple[HeadId, ...], mlps_by_layer: bool = False
) -> tuple[Part, ...]:
    """The parts of a value's pre-activation, these heads by name and the others summed."""
    return waterfall_parts(
        embedding=value.embedding, mlps=value.mlps, heads=value.heads, bias=value.bias,
        neuron_layer=value.neuron.layer, n_reaching_layers=value.n_reaching_layers,
        mlps_by_layer=mlps_by_layer, named=named,
    )  # fmt: skip


def difference(a: LiveValue, b: LiveValue) -> LiveValue:
    """B − A, part by part: every contribution of `b` less that of `a`, both now.

    What has no difference (prompt, tokens, what is active, attention) is B's or empty.
    """
    if a.neuron != b.neuron:
        raise ValueError(f"expected one neuron on both sides, got {a.neuron} and {b.neuron}")
    return replace(
        b,
        text=f"{b.text} − {a.text}",
        heads=b.heads.astype(np.float64) - a.heads.astype(np.float64),
        mlps=b.mlps.astype(np.float64) - a.mlps.astype(np.float64),
        embedding=b.embedding - a.embedding,
        bias=b.bias - a.bias,
        pre_activation=b.pre_activation - a.pre_activation,
        activation=b.activation - a.activation,
        active=frozenset(),
        next_tokens=(),
        attention=None,
        probabilities=None,
    )


def token_changes(a: LiveValue, b: LiveValue, texts: list[str]) -> tuple[TokenChange, ...]:
    """The next tokens whose probability differs most between two prompts, most first; the neuron's
    own token is always among them. Empty where either is stored, without probabilities."""
    if a.probabilities is None or b.probabilities is None or a.target.token_id is None:
        return ()
    change = b.probabilities.astype(np.float64) - a.probabilities.astype(np.float64)
    own = a.target.token_id
    order = [int(i) for i in np.argsort(-np.abs(change), kind="stable")[:N_NEXT]]
    if own not in order:
        order = [*order, own]
    return tuple(
        TokenChange(texts[i], float(a.probabilities[i]), float(b.probabilities[i]), i == own)
        for i in order
    )
