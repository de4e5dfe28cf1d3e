"""An explanation in words, as a reader meets it: set in serif beside a bar of ink, and escaped."""

from __future__ import annotations

import html
from collections.abc import Sequence

from explorer.core.types import visible

MAX_SHOWN = 20_000
"""Characters of a request or reply that are shown; the table to take away has all of them."""


def _lines(text: str) -> str:
    """Escaped, line breaks kept, control characters made visible."""
    return "<br>".join(
        html.escape(" ".join(visible(part) for part in line.split(" ")))
        for line in text.replace("\r\n", "\n").split("\n")
    )


def explanation_html(text: str) -> str:
    """The explanation itself. A long one scrolls within its own height."""
    return f'<blockquote class="nt-explanation" tabindex="0">{_lines(text.strip())}</blockquote>'


def clauses_html(clauses: Sequence[str], summary: str = "What it rests on") -> str:
    """The evidence for each clause of a rule, as a list under the explanation."""
    if not clauses:
        return ""
    items = "".join(f"<li>{_lines(clause)}</li>" for clause in clauses)
    return f'<p class="nt-small">{html.escape(summary)}</p><ul class="nt-clauses">{items}</ul>'


def raw_text(text: str | None, nothing: str = "Nothing was stored.") -> str:
    """A request or reply as plain text for a block that shows text as it is."""
    if not text:
        return nothing
    if len(text) <= MAX_SHOWN:
        return text
    return f"{text[:MAX_SHOWN]}\n… {len(text) - MAX_SHOWN:,} more characters"
