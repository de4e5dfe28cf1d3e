"""Tokens and messages as a person reads them: visible spaces, chips, emphasis.

Texts of a model or corpus are hostile: every function here that returns HTML or markdown has
escaped them.
"""

from __future__ import annotations

import html
import re

from explorer.core.plain_text import one_line
from explorer.core.types import NEWLINE_MARK, SPACE_MARK, TAB_MARK, visible

_MARKS = re.compile(f"[{SPACE_MARK}{NEWLINE_MARK}{TAB_MARK}]+")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|~>$:<&^=\"'/@])")


def token_html(text: str) -> str:
    """A token's or prompt's text as HTML: escaped, white space visible and muted, never trimmed."""
    shown = html.escape(visible(text))
    return _MARKS.sub(lambda match: f'<span class="nt-space">{match[0]}</span>', shown)


def token_chip(text: str) -> str:
    """A token as a chip of HTML, as it stands in headings and sentences."""
    return f'<span class="nt-chip">{token_html(text)}</span>'


def token_code(text: str) -> str:
    """A token as inline code of markdown, for labels of widgets and links."""
    shown = visible(text)
    longest = max((len(run) for run in re.findall("`+", shown)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if longest else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def plain_markdown(text: str) -> str:
    """Any text so that markdown shows it as it is."""
    return _MARKDOWN.sub(r"\\\1", visible(text).replace(SPACE_MARK, " "))


def unmarked(text: str) -> str:
    """Markdown of ours as plain text, for files: what `plain_markdown` escaped, as it was."""
    return re.sub(r"\\(.)", r"\1", text)


def emphasised(text: str) -> str:
    """A message as HTML: escaped, and what stands between asterisks emphasised."""
    return re.sub(r"\*(.+?)\*", r"<em>\1</em>", html.escape(one_line(text)))
