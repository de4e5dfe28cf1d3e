"""Text of tokens on screen: white space made visible, everything escaped, labels kept apart."""

from __future__ import annotations

import html
from collections.abc import Iterable

from explorer.core.types import SPACE_MARK, visible

_DISTINCT = "\u200b"
"""Zero-width space: tells apart two tokens that read the same, without being seen."""


def token_html(text: str) -> str:
    """A token for HTML: escaped, its spaces drawn as a muted ␣ (class `sp`)."""
    return html.escape(visible(text)).replace(SPACE_MARK, f'<span class="sp">{SPACE_MARK}</span>')


def passage(text: str) -> str:
    """Running text: spaces stay spaces, line breaks, tabs and control characters become visible."""
    return " ".join(visible(part) for part in text.split(" "))


def ending(text: str, n_characters: int) -> str:
    """The last characters of a text, `…` where something was left out."""
    return text if len(text) <= n_characters else "…" + text[-n_characters:]


def distinct(labels: Iterable[str]) -> list[str]:
    """The labels, repeats made distinct invisibly, so that a chart gives each its own place."""
    seen: dict[str, int] = {}
    result = []
    for label in labels:
        n_before = seen.get(label, 0)
        seen[label] = n_before + 1
        result.append(label + _DISTINCT * n_before)
    return result
