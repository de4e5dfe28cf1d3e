"""How a head may read another one, and the level of chance. Needs no torch, so that pages can say it."""

from __future__ import annotations

from typing import Literal

Mode = Literal["Q", "K", "V"]
MODES: tuple[Mode, ...] = ("Q", "K", "V")
"""Through its queries, its keys or its values."""


def random_level(d_model: int) -> float:
    """The score of an isotropic random direction (root mean square): 0.036 at 768 wide.

    It is that of a whole head too, if all it writes lay in random directions: its squared score is a
    weighted mean of its components' squared scores.
    """
    return d_model**-0.5
