"""Where one head looks from the position studied: the prompt's tokens tinted by attention, as HTML.

Every text is escaped.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

from explorer.charts.style import Palette, amount_colour
from explorer.charts.token_strip import readable_ink
from explorer.charts.token_text import token_html

START = "start"
"""What the hidden start token is called."""


def share(weight: float) -> str:
    """A share of attention for reading: `42 %`, and `< 1 %` for what rounds to nothing."""
    if 0 < weight < 0.005:
        return "< 1 %"
    return f"{100 * weight:.0f} %"


def attention_html(
    tokens: Sequence[str], weights: Sequence[float], *, position: int, palette: Palette, label: str
) -> str:
    """A row of tokens, the start token first, each with its share of attention.

    `weights` has one entry for the start token and one for each of `tokens` up to `position`; they
    sum to 1. Tokens after the position cannot be attended to and stand back.
    """
    if len(weights) != position + 2:
        raise ValueError(f"expected {position + 2} weights, got {len(weights)}")
    cells = []
    for place, text in enumerate((START, *tokens)):
        is_start, is_later = place == 0, place > position + 1
        weight = 0.0 if is_later else float(weights[place])
        fill = amount_colour(weight, 1.0, palette)
        classes = "nt-att" + (" start" if is_start else "") + (" later" if is_later else "")
        classes += " here" if place == position + 1 else ""
        style = (
            "" if is_later else f' style="background:{fill};color:{readable_ink(fill, palette)}"'
        )
        shown = html.escape(text) if is_start else token_html(text) or "∅"
        value = "" if is_later else f"<i>{html.escape(share(weight))}</i>"
        cells.append(f'<span class="{classes}"><b{style}>{shown}</b>{value}</span>')
    name = html.escape(label, quote=True)
    return f'<div class="nt-att-strip" role="img" aria-label="{name}">{"".join(cells)}</div>'


def attention_label(head: str, tokens: Sequence[str], weights: Sequence[float]) -> str:
    """The strip in one sentence, for those who cannot see it: the three tokens attended to most."""
    names = [START, *tokens]
    order = sorted(range(len(weights)), key=lambda i: -weights[i])[:3]
    most = ", ".join(f"{names[i].strip() or '∅'} {share(float(weights[i]))}" for i in order)
    return f"Attention of {head}. Most: {most}."
