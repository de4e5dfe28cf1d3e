"""What is put in the place of a removed head: four kinds of replacement, and the means that two need.

A head is removed by replacing its value-weighted sum (value biases folded away): by 0 or by a mean,
at the last position or at all of them. The model is then run on with layer norms recomputed, so that
unlike direct attribution the effect holds what every later part makes of the change.

The means are over kept train prompts of all *other* neurons of a run: each last position weighs the
same (`mean-last`), or each position but BOS (`mean-all`); a prompt kept by several neurons counts for
each. Sums stream in float64: `update(batch)` -> `merge(other)` -> `result()`. Pure: no model here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from explorer.core.types import ABLATION_KINDS, HeadId, NeuronId

KINDS = ABLATION_KINDS
MEAN_KINDS = ("mean-last", "mean-all")
ZERO_KINDS = ("zero-last", "zero-all")
NEURON = "neuron"
"""Kind of a removal that takes no head but the neuron: its post-activation is 0 at the last position."""


def is_everywhere(kind: str) -> bool:
    """Whether a kind replaces at all positions (`-all`) rather than at the last one alone."""
    return kind in ("zero-all", "mean-all")


@dataclass(frozen=True)
class Removal:
    """One re-run of one prompt: what is taken out, and of which neuron and token the effect is read."""

    prompt: tuple[int, ...]
    """Token ids, BOS not among them; the last one is the position studied."""
    neuron: NeuronId
    token_id: int
    kind: str
    heads: tuple[HeadId, ...] = ()
    """Removed together, each with its own replacement; none for the kind `neuron`."""

    def __post_init__(self) -> None:
        if self.kind not in (*KINDS, NEURON):
            raise ValueError(f"expected one of {', '.join((*KINDS, NEURON))}, got {self.kind!r}")
        if (self.kind == NEURON) == bool(self.heads):
            raise ValueError(f"expected heads for all kinds but {NEURON}, got {self.heads}")
        if not self.prompt:
            raise ValueError("expected a prompt of at least one token")

    @property
    def first_layer(self) -> int:
        """The lowest layer that the removal changes."""
        return min((head.layer for head in self.heads), default=self.neuron.layer)


@dataclass(frozen=True)
class HeadMeans:
    """What the mean kinds put in the place of heads, layers from 0."""

    last: Float[Tensor, "layer head d_head"]
    """Mean over last positions."""
    everywhere: Float[Tensor, "layer head d_head"]
    """Mean over all positions but BOS."""

    def __post_init__(self) -> None:
        if self.last.shape != self.everywhere.shape:
            raise ValueError(f"expected one shape, got {self.last.shape}, {self.everywhere.shape}")
        if not bool(torch.isfinite(self.last).all() & torch.isfinite(self.everywhere).all()):
            raise ValueError("expected finite means")


@dataclass
class _Sums:
    """One neuron's sums over its prompts, float64."""

    last: Float[Tensor, "layer head d_head"]
    everywhere: Float[Tensor, "layer head d_head"]
    n_prompts: int
    n_positions: int

    def add(self, other: _Sums) -> None:
        self.last = self.last + other.last
        self.everywhere = self.everywhere + other.everywhere
        self.n_prompts += other.n_prompts
        self.n_positions += other.n_positions


class ReplacementSums:
    """Sums of the heads' value-weighted sums over prompts, apart for each neuron that kept them."""

    def __init__(self) -> None:
        self._sums: dict[NeuronId, _Sums] = {}

    def update(
        self,
        neurons: Sequence[NeuronId],
        last: Float[Tensor, "batch layer head d_head"],
        total: Float[Tensor, "batch layer head d_head"],
        n_positions: Sequence[int],
    ) -> None:
        """Take in prompts, one row each: the neuron that kept it, `z` at its last position, the sum
        of `z` over its positions but BOS, and how many these are."""
        for i, neuron in enumerate(neurons):
            self.add(neuron, last[i], total[i], 1, n_positions[i])

    def add(
        self,
        neuron: NeuronId,
        last: Float[Tensor, "layer head d_head"],
        everywhere: Float[Tensor, "layer head d_head"],
        n_prompts: int,
        n_positions: int,
    ) -> None:
        """Take in one neuron's sums over `n_prompts` prompts with `n_positions` positions."""
        if n_prompts < 0 or n_positions < n_prompts:
            raise ValueError(
                f"expected a position or more a prompt, got {n_prompts}, {n_positions}"
            )
        new = _Sums(last.double().cpu(), everywhere.double().cpu(), n_prompts, n_positions)
        if neuron in self._sums:
            self._sums[neuron].add(new)
        else:
            self._sums[neuron] = new

    def merge(self, other: ReplacementSums) -> None:
        for neuron, sums in other._sums.items():
            self.add(neuron, sums.last, sums.everywhere, sums.n_prompts, sums.n_positions)

    def of(self, neuron: NeuronId) -> _Sums | None:
        """One neuron's sums, for writing them down."""
        return self._sums.get(neuron)

    def result(self) -> ReplacementMeans:
        return ReplacementMeans(dict(sorted(self._sums.items())))


class ReplacementMeans:
    """The finished sums: the mean over all neurons' prompts, or over those of all but one."""

    def __init__(self, sums: dict[NeuronId, _Sums]) -> None:
        self._sums = sums
        self._total: _Sums | None = None
        for one in sums.values():
            if self._total is None:
                self._total = _Sums(one.last, one.everywhere, one.n_prompts, one.n_positions)
            else:
                self._total.add(one)

    def over_all(self) -> HeadMeans | None:
        """Over every prompt taken in; None without any."""
        return self._mean(None)

    def without(self, neuron: NeuronId) -> HeadMeans | None:
        """Over the prompts of all other neurons; None where no other neuron has any."""
        return self._mean(self._sums.get(neuron))

    def _mean(self, own: _Sums | None) -> HeadMeans | None:
        total = self._total
        n_own = 0 if own is None else own.n_prompts
        if total is None or total.n_prompts == n_own:
            return None
        if own is None:
            last, everywhere, n_positions = total.last, total.everywhere, total.n_positions
        else:
            last, everywhere = total.last - own.last, total.everywhere - own.everywhere
            n_positions = total.n_positions - own.n_positions
        return HeadMeans(
            (last / (total.n_prompts - n_own)).float(), (everywhere / n_positions).float()
        )


class Replacements:
    """Every vector that may be put in a head's place in some re-runs, looked up by row: row 0 is
    zero, then two rows for each neuron with means."""

    def __init__(
        self,
        n_layers: int,
        n_heads: int,
        d_head: int,
        means: Iterable[tuple[NeuronId, HeadMeans]],
        device: torch.device,
    ) -> None:
        rows = [torch.zeros(n_layers, n_heads, d_head)]
        self._row: dict[tuple[NeuronId, str], int] = {}
        for neuron, mean in means:
            for kind, value in (("mean-last", mean.last), ("mean-all", mean.everywhere)):
                self._row[(neuron, kind)] = len(rows)
                whole = torch.zeros(n_layers, n_heads, d_head)
                whole[: len(value)] = value
                rows.append(whole)
        self._vectors: Float[Tensor, "row layer head d_head"] = torch.stack(rows).to(device)

    def row(self, removal: Removal) -> int:
        """Where a removal's replacements stand. A mean kind without means is the caller's mistake."""
        if removal.kind not in MEAN_KINDS:
            return 0
        found = self._row.get((removal.neuron, removal.kind))
        if found is None:
            raise ValueError(f"expected means for {removal.neuron}, {removal.kind}; got none")
        return found

    def take(
        self, rows: Int[Tensor, " edit"], layer: int, heads: Int[Tensor, " edit"]
    ) -> Float[Tensor, "edit d_head"]:
        return self._vectors[rows, layer, heads]


@dataclass(frozen=True)
class HeadEdits:
    """What to replace in one layer of a batch of runs: one entry for each run and head."""

    rows: Int[Tensor, " edit"]
    heads: Int[Tensor, " edit"]
    values: Float[Tensor, "edit d_head"]
    keeps_bos: Bool[Tensor, " edit"]
    """True for `mean-all`, which leaves BOS, position 0, as it is."""


def replaced(
    z: Float[Tensor, "row pos head d_head"], edits: HeadEdits, first_position: int
) -> Float[Tensor, "row pos head d_head"]:
    """`z` with the edits made at all its positions; `first_position` says which position the first
    of them is (0: BOS)."""
    new = edits.values[:, None].expand(-1, z.shape[1], -1).clone()
    if first_position == 0:
        bos = z[edits.rows, 0, edits.heads]
        new[:, 0] = torch.where(edits.keeps_bos[:, None], bos, new[:, 0])
    z = z.clone()
    z[edits.rows, :, edits.heads] = new
    return z
