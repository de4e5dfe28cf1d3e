"""Explanations held against one prompt, as a table of HTML; every text is escaped."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

from explorer.charts.style import number

_LONGEST = 220


@dataclass(frozen=True)
class ExplainedRow:
    """One explanation: its head, words, what it says here and what is so."""

    head: str
    explainer: str
    text: str
    says: bool | None
    because: str
    active: bool
    score: float | None


def verdict_words(row: ExplainedRow) -> str:
    """`says active ✓ (it is)`, `says active ✗ (it is not)`, `says inactive ✗ (it is active)`."""
    if row.says is None:
        return "not applied"
    is_right = row.says == row.active
    said = "active" if row.says else "inactive"
    if row.says:
        fact = "it is" if is_right else "it is not"
    else:
        fact = "it is not active" if is_right else "it is active"
    return f"says {said} {'✓' if is_right else '✗'} ({fact})"


def explained_html(rows: Sequence[ExplainedRow]) -> str:
    """The table: head, what the explanation says here, why, its words, its score."""
    lines = []
    for row in rows:
        text = row.text if len(row.text) <= _LONGEST else row.text[:_LONGEST] + "…"
        cells = (
            f'<td class="nt-head">{html.escape(row.head)}</td>',
            f"<td><b>{html.escape(verdict_words(row))}</b><br>"
            f'<span class="nt-why">{html.escape(row.because)}</span></td>',
            f"<td>{html.escape(text)}<br>"
            f'<span class="nt-why">{html.escape(row.explainer)}, '
            f"score {number(row.score)}</span></td>",
        )
        lines.append(f"<tr>{''.join(cells)}</tr>")
    head = "<tr><th>Head</th><th>On this prompt</th><th>Explanation</th></tr>"
    return f'<table class="nt-table nt-explained">{head}{"".join(lines)}</table>'


def right_words(rows: Sequence[ExplainedRow]) -> str:
    """How many of the explanations that could be applied are right."""
    applied = [row for row in rows if row.says is not None]
    if not applied:
        return "None of them can be applied to a typed prompt."
    right = sum(row.says == row.active for row in applied)
    return f"Right for {right} of {len(applied)} heads."
