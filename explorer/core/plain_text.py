"""Text from outside made safe for a terminal and for one line of a message."""

from __future__ import annotations

_JOINERS = "\u200d\ufe0f"
"""Invisible, and needed inside emoji; they move nothing and hide nothing."""


def named_controls(text: str) -> str:
    """`text` with its lines and tabs, every other control character named instead of obeyed: `<0x1B>`."""
    return "".join(
        c if c.isprintable() or c in _JOINERS or c in "\n\t" else f"<0x{ord(c):02X}>" for c in text
    )


def one_line(text: str) -> str:
    """`text` on one line, every control character named instead of obeyed.

    Line ends become spaces. Escape codes, characters that turn the direction of writing, NUL and lone
    halves of surrogate pairs cannot reach a terminal this way; letters of any script stay.
    """
    return named_controls(" ".join(text.splitlines())).replace("\t", "<0x09>")
