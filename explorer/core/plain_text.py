"""Text from outside made safe for a terminal and for one line of a message."""

from __future__ import annotations

_JOINERS = "\u200d\ufe0f"
"""Invisible, and needed inside emoji; they move nothing and hide nothing."""


def one_line(text: str) -> str:
    """`text` on one line, every control character named instead of obeyed: `<0x1B>`.

    Line ends become spaces. Escape codes, characters that turn the direction of writing, NUL and lone
    halves of surrogate pairs cannot reach a terminal this way; letters of any script stay.
    """
    joined = " ".join(text.splitlines())
    return "".join(c if c.isprintable() or c in _JOINERS else f"<0x{ord(c):02X}>" for c in joined)
