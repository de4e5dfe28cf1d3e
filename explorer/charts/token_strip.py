"""A prompt as a strip of tokens, each tinted by a neuron's activation, for Live.

Tokens are data, never markup: the page's script writes them as text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from explorer.charts.style import Palette, amount_colour, number
from explorer.core.types import visible

_INVERT_FROM = 6
"""From this step of the one-sided scale on, text takes the page's colour to stay readable."""


def _ink(colour: str, palette: Palette) -> str:
    steps = palette.amounts
    return palette.page if steps.index(colour) >= _INVERT_FROM else palette.ink


def settled(value: float) -> str:
    """A number for reading; what rounds to nothing is `0.00`, without a sign."""
    return number(value if abs(value) >= 0.005 else 0.0)


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
                "value": settled(activation),
                "fill": fill,
                "ink": _ink(fill, palette),
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
