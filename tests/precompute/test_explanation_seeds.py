"""Random numbers of the explanations: one seed a pair and purpose."""

from __future__ import annotations

from typing import Any

from explorer.core.types import HeadId, NeuronId
from precompute.stages import explanations


def test_random_numbers_depend_on_the_pair_and_purpose_and_on_nothing_else() -> None:
    pair = (NeuronId(1, 2), HeadId(0, 3))

    def drawn(*of: Any) -> tuple[int, ...]:
        return tuple(explanations.generator_of(*of).integers(0, 1 << 30, 4))

    base = (0, *pair, "contrast", "bootstrap")
    others = [
        (1, *pair, "contrast", "bootstrap"), (0, *pair, "openai", "bootstrap"),
        (0, *pair, "contrast", "shuffle"), (0, NeuronId(2, 1), pair[1], "contrast", "bootstrap"),
        (0, pair[0], HeadId(3, 0), "contrast", "bootstrap"),
    ]  # fmt: skip
    assert drawn(*base) == drawn(*base)
    assert len({drawn(*of) for of in (base, *others)}) == 6
