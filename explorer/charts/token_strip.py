"""A prompt as a strip of tokens, each tinted by a neuron's activation, for Live.

Tokens are data, never markup: the page's script writes them as text.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from explorer.charts.style import Palette, amount_colour, number
from explorer.core.types import visible

_READABLE = 4.5
"""Least contrast of text against what it stands on (WCAG 2, level AA)."""


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours, 1 to 21, as WCAG 2 defines it."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


@lru_cache(maxsize=64)
def readable_ink(fill: str, palette: Palette) -> str:
    """Text colour on a tint: ink where it can be read, else the page's colour, else white."""
    choices = (palette.ink, palette.page, "#ffffff")
    return next((c for c in choices if contrast(fill, c) >= _READABLE), palette.ink)


def strip_tokens(
    tokens: Sequence[str], activations: Sequence[float], *, limit: float, palette: Palette
) -> list[dict[str, Any]]:
    """One entry a token: `text value fill ink`. `limit` is the activation of the deepest tint."""
    entries = []
    for text, activation in zip(tokens, activations, strict=True):
        fill = amount_colour(activation, limit, palette)
        entries.append(
            {
                "text": visible(text) or "∅",
                "value": number(activation),
                "fill": fill,
                "ink": readable_ink(fill, palette),
            }
        )
    return entries


def legend_html(limit: float, palette: Palette, n_cut: int, n_used: int) -> str:
    """The one-sided scale as a small bar of HTML with its ends named; what was cut is said below."""
    top = f"{limit:g}"
    cut = f'<p class="nt-cut">Only the last {n_used:,} tokens are used.</p>' if n_cut else ""
    return (
        '<div class="nt-scale"><span>activation</span><span class="nt-scale-bar" style="background:'
        f'linear-gradient(to right,{",".join(palette.amounts)})"></span>'
        f'<span class="nt-scale-ends"><span>0</span><span>{top}</span></span></div>{cut}'
    )
