"""Prompts as strips of tokens, right-aligned so that their peak tokens share one column.

`strips_html` gives the rows, `strips_css` their style for both themes at once (`light-dark`). Rows
are 29 px under a 36 px heading, to stand beside a heatmap with `alt.Step(29)` rows.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest

from explorer.charts.style import DARK, LIGHT, number
from explorer.charts.token_text import ending, passage, token_html

ROW_HEIGHT = 29
HEADING_HEIGHT = 36
WHITE = "#ffffff"
"""On the middle tints of the dark theme its ink is too faint for text."""
_REMOVED_SHOWN = 40
"""Characters of the removed prefix that are shown, its end."""


@dataclass(frozen=True)
class Strip:
    """One prompt as a row; `values` tint its kept tokens, None leaves them plain."""

    prompt_id: int
    rank: int
    removed: str
    """Text that truncation removed, before the cut."""
    tokens: tuple[str, ...]
    """Texts of the kept tokens; the last one is the peak."""
    values: tuple[float, ...] | None = None
    numbers: tuple[str, ...] = ()
    """What stands right of the row, formatted."""
    start_share: float | None = None
    """Attention to the hidden start token, 0 to 1."""
    right: bool | None = None
    """Whether an explanation was right about the prompt; takes the rank's place."""

    def __post_init__(self) -> None:
        if self.values is not None and len(self.values) != len(self.tokens):
            raise ValueError(f"expected {len(self.tokens)} values, got {len(self.values)}")


@dataclass(frozen=True)
class StripColumns:
    """What the columns and tints of a block of strips mean. Headings are HTML."""

    value_name: str
    """What the tint shows, for the hover text: `activation`, `attention`."""
    limit: float
    """The value that gets the darkest tint."""
    numbers: tuple[str, ...] = ()
    start: bool = False
    """Whether a first column shows the share of attention on the hidden start token."""
    removed: bool = True
    """Whether the removed prefix is written out, or only marked by `…`."""


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """WCAG contrast ratio of two `#rrggbb` colours, 1 to 21."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def text_on(background: str, choices: Sequence[str]) -> str:
    """The most readable of some text colours on a background."""
    return max(choices, key=lambda colour: contrast(background, colour))


def tint_step(value: float, limit: float) -> int | None:
    """Which of the ten tints a value gets; None (no tint) for what is not positive."""
    if not math.isfinite(value) or value <= 0 or limit <= 0:
        return None
    return min(9, int(10 * value / limit))


def _tint_css() -> str:
    rules = []
    for step, (light, dark) in enumerate(zip(LIGHT.amounts, DARK.amounts, strict=True)):
        on_light = text_on(light, (LIGHT.ink, LIGHT.page))
        on_dark = text_on(dark, (DARK.ink, DARK.page, WHITE))
        text = f"light-dark({on_light}, {on_dark})"
        rules.append(f".t{step}{{background:light-dark({light},{dark});color:{text}}}")
        if step > 2:
            rules.append(f".t{step} .sp{{color:inherit;opacity:.75}}")
    return "\n".join(rules)


@cache
def strips_css() -> str:
    """Style of the strips, both themes."""
    ink, muted = f"light-dark({LIGHT.ink},{DARK.ink})", f"light-dark({LIGHT.muted},{DARK.muted})"
    border = f"light-dark({LIGHT.border},{DARK.border})"
    removed = f"light-dark({LIGHT.removed},{DARK.removed})"
    panel = f"light-dark({LIGHT.panel},{DARK.panel})"
    code = "var(--st-code-font, 'Source Code Pro'), 'Source Code Pro', monospace"
    fade = "linear-gradient(to right, transparent 0, #000 36px)"
    stops = [f"light-dark({a},{b})" for a, b in zip(LIGHT.amounts, DARK.amounts, strict=True)]
    return f"""
.strips{{color:{ink};font-size:13px;outline:none;border-radius:4px}}
.strips:focus-visible{{box-shadow:0 0 0 2px {ink}}}
.row,.top{{display:grid;align-items:center;column-gap:10px;box-sizing:border-box;
  padding:0 6px 0 3px;border-left:3px solid transparent}}
.top{{height:{HEADING_HEIGHT}px;color:{muted};font-size:12px;align-items:end;padding-bottom:5px}}
.row{{height:{ROW_HEIGHT}px}}
.row[data-id]{{cursor:pointer}}
.row[data-id]:hover{{background:{panel}}}
.row.chosen{{border-left-color:{ink};background:{panel}}}
.n,.v{{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap;color:{muted}}}
.v{{color:{ink}}}
.top .v{{color:{muted}}}
.n.wrong{{color:{ink};font-weight:700}}
.chosen .n{{color:{ink};font-weight:600}}
.text{{overflow-x:auto;scrollbar-width:none;-webkit-mask-image:{fade};mask-image:{fade}}}
.line{{display:flex;width:max-content;min-width:100%;justify-content:flex-end;align-items:center;
  font-family:{code};font-size:13px;line-height:19px;white-space:pre;padding-left:36px;
  box-sizing:border-box}}
.top .text{{text-align:right}}
.gone{{color:{removed}}}
.cut{{width:2px;height:19px;margin:0 2px 0 1px;background:{ink};flex:none}}
.tok{{padding:0;border-radius:2px}}
.peak{{padding:0 3px;margin:0 1px 0 1px;border-radius:4px;box-shadow:0 0 0 1.5px {ink} inset}}
.sp{{color:{muted}}}
.start{{font-size:11px;border-radius:4px;padding:0 4px;text-align:center;line-height:19px;
  font-variant-numeric:tabular-nums}}
.start:not([class*=" t"]){{box-shadow:0 0 0 1px {border} inset}}
.foot{{display:flex;gap:24px;align-items:flex-start;justify-content:space-between;color:{muted};
  font-size:12px;padding:10px 6px 2px}}
.key{{display:flex;gap:10px;margin-left:auto}}
.bar{{width:160px;height:10px;background:linear-gradient(to right,{",".join(stops)})}}
.ends{{display:flex;justify-content:space-between;font-variant-numeric:tabular-nums}}
{_tint_css()}
"""


def _tint_class(value: float | None, limit: float) -> str:
    step = None if value is None else tint_step(value, limit)
    return "" if step is None else f" t{step}"


def _tokens_html(strip: Strip, columns: StripColumns) -> str:
    spans = []
    values = strip.values or (None,) * len(strip.tokens)
    for i, (text, value) in enumerate(zip(strip.tokens, values, strict=True)):
        kind = "tok peak" if i == len(strip.tokens) - 1 else "tok"
        hover = "" if value is None else f"{columns.value_name} {number(value)}"
        spans.append(
            f'<span class="{kind}{_tint_class(value, columns.limit)}" title="{html.escape(hover)}">'
            f"{token_html(text)}</span>"
        )
    return "".join(spans)


def _first_cell(strip: Strip) -> str:
    """The prompt's rank; or whether the explanation was right about it."""
    if strip.right is None:
        return f'<span class="n">{strip.rank}</span>'
    word, mark = ("right", "✓") if strip.right else ("wrong", "✗")
    hover = f"prompt {strip.rank}: the explanation was {word} about it"
    return f'<span class="n {word}" title="{hover}" role="img" aria-label="{hover}">{mark}</span>'


def _named(name: str) -> str:
    return f' data-name="{html.escape(name)}"' if name else ""


def _row_html(strip: Strip, columns: StripColumns, selected: bool, style: str, still: bool) -> str:
    removed = passage(strip.removed)
    shown = ending(removed, _REMOVED_SHOWN) if columns.removed else ("…" if removed else "")
    gone = f'<span class="gone">{html.escape(shown)}</span>'
    cells = [_first_cell(strip)]
    if columns.start:
        share = strip.start_share
        tint = _tint_class(share, columns.limit)
        text = "–" if share is None else f"{share * 100:.0f} %"
        cells.append(
            f'<span class="start{tint}" title="attention to the start token">{text}</span>'
        )
    cut = '<span class="cut"></span>' if removed else ""
    cells.append(
        f'<div class="text"><div class="line">{gone}{cut}{_tokens_html(strip, columns)}</div></div>'
    )
    names = columns.numbers if still else ()  # a narrow page writes them beside the numbers
    cells += [
        f'<span class="v"{_named(name)}>{html.escape(text)}</span>'
        for text, name in zip_longest(strip.numbers, names, fillvalue="")
    ]
    chosen = " chosen" if selected else ""
    if still:
        return f'<div class="row{chosen}" role="listitem" style="{style}">{"".join(cells)}</div>'
    return (
        f'<div class="row{chosen}" role="option" aria-selected="{str(selected).lower()}" '
        f'data-id="{strip.prompt_id}" style="{style}">{"".join(cells)}</div>'
    )


def _foot_html(columns: StripColumns, hint: str) -> str:
    ends = "".join(f"<span>{number(v, 1 if v else 0)}</span>" for v in (0, columns.limit))
    key = (
        f'<div class="key"><span>{html.escape(columns.value_name)}</span>'
        f'<div><div class="bar"></div><div class="ends">{ends}</div></div></div>'
    )
    return f'<div class="foot"><span>{html.escape(hint)}</span>{key if columns.limit > 0 else ""}</div>'


def strips_html(
    strips: Sequence[Strip],
    columns: StripColumns,
    *,
    selected: int | None = None,
    label: str = "Prompts",
    hint: str = "",
    foot: bool = True,
    still: bool = False,
) -> str:
    """Rows of prompts, best rank first. `selected` is a prompt id; `label` names the list for
    screen readers; `still`: to be read, not to be picked from. All text is escaped."""
    tracks = ["22px"] + (["46px"] if columns.start else []) + ["minmax(0,1fr)"]
    tracks += ["52px"] * len(columns.numbers)
    style = f"grid-template-columns:{' '.join(tracks)}"
    marked = any(strip.right is not None for strip in strips)
    top = [f'<span class="n">{"" if marked else "#"}</span>']
    top += ['<span style="text-align:center">start</span>'] if columns.start else []
    top.append('<span class="text">peak token ↓</span>')
    top += [f'<span class="v">{heading}</span>' for heading in columns.numbers]
    rows = [_row_html(s, columns, s.prompt_id == selected, style, still) for s in strips]
    role = 'role="list"' if still else 'tabindex="0" role="listbox"'
    return (
        f'<div class="strips" {role} aria-label="{html.escape(label)}">'
        f'<div class="top" style="{style}">{"".join(top)}</div>{"".join(rows)}'
        f"{_foot_html(columns, hint) if foot else ''}</div>"
    )
