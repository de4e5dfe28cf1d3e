"""A component's activation at each token of a prompt, as HTML. Every text is escaped."""

from __future__ import annotations

import html
from collections.abc import Sequence

from explorer.charts.style import Palette, number
from explorer.charts.token_strip import readable_ink
from explorer.charts.token_text import token_html


def signed_colour(value: float, limit: float, colours: Palette) -> str:
    """The signed colour of a value for HTML pieces: the nearest step of the scale."""
    n = len(colours.signed)
    if limit <= 0:
        return colours.panel
    step = int(n * (value + limit) / (2 * limit))
    return colours.signed[min(n - 1, max(0, step))]


def component_strip_html(
    tokens: Sequence[str], values: Sequence[float], *, palette: Palette, label: str
) -> str:
    """A row of tokens, each with the activation there; the last one, which is studied, is boxed."""
    if len(tokens) != len(values):
        raise ValueError(f"expected a value a token, got {len(values)} for {len(tokens)}")
    limit = max((abs(float(v)) for v in values), default=0.0)
    cells = []
    for place, (text, value) in enumerate(zip(tokens, values, strict=True)):
        fill = signed_colour(float(value), limit, palette)
        here = " here" if place == len(tokens) - 1 else ""
        style = f"background:{fill};color:{readable_ink(fill, palette)}"
        cells.append(
            f'<span class="nt-att{here}"><b style="{style}">{token_html(text) or "∅"}</b>'
            f"<i>{number(float(value), 1)}</i></span>"
        )
    name = html.escape(label, quote=True)
    return f'<div class="nt-att-strip" role="img" aria-label="{name}">{"".join(cells)}</div>'
