"""Does a head switch a neuron on? The answer that its removal gives, by a stated rule [ours].

Measured on the pre-activation, since a non-linearity can hide a change. `lost` is minus the median
change when the head is removed (`zero-last`), as a share of the median clean pre-activation of the
same prompts: 0.30 means that the removal takes 30 % of what the neuron receives; negative, that it
gives the neuron more.

- yes: it takes at least `CLEAR` where the head is active, and at least `CONTRAST` times what it takes
  where the head is inactive;
- no: it takes less than `SLIGHT` where the head is active;
- hardly: anything between, either too little or as much where the head is inactive.

Thresholds and wording are this project's; the papers state none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

CLEAR = 0.10
SLIGHT = 0.02
CONTRAST = 2.0


@dataclass(frozen=True)
class Verdict:
    """The answer with what it rests on. Shares are of the clean pre-activation."""

    answer: str
    """`yes`, `hardly` or `no`."""
    lost_active: float
    lost_inactive: float | None
    """None without an inactive prompt, or where their clean pre-activation is not positive."""
    n_active: int
    n_inactive: int

    @property
    def everywhere(self) -> bool:
        """Hardly because the removal takes about as much where the head is inactive."""
        return self.answer == "hardly" and self.lost_active >= CLEAR


def lost_share(
    delta: Float[np.ndarray, " prompt"], clean: Float[np.ndarray, " prompt"]
) -> float | None:
    """Minus the median change over the median clean pre-activation; None without a prompt or where
    the latter is not positive. `delta` is removed minus clean, in pre-activation units."""
    if delta.shape != clean.shape:
        raise ValueError(f"expected one clean value a change, got {clean.shape} for {delta.shape}")
    if not len(delta):
        return None
    received = float(np.median(clean))
    return -float(np.median(delta)) / received if received > 0 else None


def verdict(
    delta: Float[np.ndarray, " prompt"],
    clean: Float[np.ndarray, " prompt"],
    active: Bool[np.ndarray, " prompt"],
) -> Verdict | None:
    """The answer for one pair from its removal on the kept prompts (see the module); None where the
    head is active in no prompt, or the neuron receives nothing there."""
    lost = lost_share(delta[active], clean[active])
    if lost is None:
        return None
    elsewhere = lost_share(delta[~active], clean[~active])
    if lost < SLIGHT:
        answer = "no"
    elif lost >= CLEAR and (elsewhere is None or lost >= CONTRAST * elsewhere):
        answer = "yes"
    else:
        answer = "hardly"
    n_active = int(active.sum())
    return Verdict(answer, lost, elsewhere, n_active, len(active) - n_active)
