"""A page to send by mail: one HTML file that needs no network, no script and no other file.

Pieces named `Html` are finished HTML, made by functions that escape; everything else is text and is
escaped here. The page forbids itself scripts and connections (Content-Security-Policy), so that a
text that slipped through could do nothing.
"""

from __future__ import annotations

import html
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NewType

from explorer.charts.export import bare_svg
from explorer.charts.figure import Figure
from explorer.charts.glossary import define
from explorer.charts.prompt_strips import strips_css
from explorer.charts.style import LIGHT, style_variables
from explorer.core.types import visible

Html = NewType("Html", str)
"""Finished HTML: every text in it is escaped."""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
_SVG = "http://www.w3.org/2000/svg"
_ELEMENTS = {"svg", "g", "path", "rect", "line", "text", "tspan", "defs", "clipPath", "linearGradient",
             "stop"}  # fmt: skip
_LONG = re.compile(r"\d+\.\d{3,}")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_STYLE_SHEET = Path(__file__).with_name("standalone.css")
_WRITERS_OWN = ("out", "force")
"""Options that say where a run was written, not what is in it."""


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    title: str
    body: Html


# --- pieces -----------------------------------------------------------------------------------


def plain(text: str) -> Html:
    """Any text as HTML; control characters are made visible, spaces and line ends stay."""
    lines = text.replace("\r\n", "\n").split("\n")
    shown = "\n".join(" ".join(visible(part) for part in line.split(" ")) for line in lines)
    return Html(html.escape(shown))


def joined(*pieces: str) -> Html:
    """Pieces of finished HTML, one after the other."""
    return Html("\n".join(piece for piece in pieces if piece))


def small(text: Html) -> Html:
    """A caption or remark."""
    return Html(f'<p class="small">{text}</p>') if text else Html("")


def part(title: str, *pieces: str) -> Html:
    """A heading below a section's, and what stands under it."""
    return joined(f"<h3>{plain(title)}</h3>", *pieces)


def table(columns: Sequence[str], rows: Iterable[Sequence[str | Html]], numbers: int = 0) -> Html:
    """A table of texts; the last `numbers` columns hold numbers. Cells are HTML: escape them."""
    first = len(columns) - numbers

    def line(tag: str, cells: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{' class=num' if at >= first else ''}>{cell}</{tag}>"
            for at, cell in enumerate(cells)
        )

    body = "".join(f"<tr>{line('td', row)}</tr>" for row in rows)
    head = f"<thead><tr>{line('th', [plain(name) for name in columns])}</tr></thead>"
    return Html(f'<div class="wide"><table>{head}<tbody>{body}</tbody></table></div>')


def folded(title: str, text: str) -> Html:
    """A long text, shown as it is once its heading is opened; nothing without a text."""
    if not text:
        return Html("")
    return Html(f"<details><summary>{plain(title)}</summary><pre>{plain(text)}</pre></details>")


def inline_svg(svg: str, prefix: str) -> Html:
    """A drawing inside a page. Its names get a `prefix`, so that two drawings never share a clip or a
    gradient; what each mark says to a screen reader is shown on hover as well. Refuses what no drawing
    of ours holds: scripts, links, foreign content."""
    root = ElementTree.fromstring(svg)
    for element in list(root.iter()):
        name = str(element.tag).removeprefix(f"{{{_SVG}}}")
        if name not in _ELEMENTS:
            raise ValueError(f"expected a drawing of {sorted(_ELEMENTS)}, got <{name}>")
        element.tag = name
        for key, value in list(element.attrib.items()):
            if key.startswith("on") or key.rpartition("}")[2] == "href":
                raise ValueError(f"expected a drawing without {key}, got {value[:40]!r}")
            if key == "id":
                element.set(key, prefix + value)
            elif key == "d":  # hundredths of a pixel are enough
                element.set(key, _LONG.sub(lambda match: f"{float(match[0]):.2f}", value))
            elif not key.startswith("aria-"):
                element.set(key, _REFERENCE.sub(rf"url(#{prefix}\1)", value))
        if element.get("role") == "graphics-symbol" and "aria-label" in element.attrib:
            hover = ElementTree.Element("title")
            hover.text = element.attrib.pop("aria-label")
            element.insert(0, hover)
    root.set("xmlns", _SVG)
    return Html(ElementTree.tostring(root, encoding="unicode"))


def chart(figure: Figure, name: str, caption: bool = True) -> Html:
    """A figure's drawing on a light card, its caption above; `name` is its own on the page. The
    caption is read as text: a neuron's and a head's hold no markdown."""
    drawing = inline_svg(bare_svg(figure.draw(palette=LIGHT)), f"{name}-")
    above = small(plain(figure.caption)) if caption else ""
    return joined(above, f'<div class="chart">{drawing}</div>')


def numbers(metrics: Iterable[tuple[str, str, str]]) -> Html:
    """Names, values and what they are of, in a row."""
    cells = "".join(
        f"<div><dt>{plain(name)}</dt><dd>{plain(value)}"
        + (f"<small>{plain(of)}</small>" if of else "")
        + "</dd></div>"
        for name, value, of in metrics
    )
    return Html(f'<dl class="numbers">{cells}</dl>')


# --- what every page ends with ----------------------------------------------------------------


def definitions(names: Sequence[str], manifest: Mapping[str, Any]) -> Section:
    """What the page's numbers mean, by the thresholds of its run."""
    terms = "".join(
        f"<dt>{plain(name)}</dt><dd>{plain(define(name, manifest))}</dd>" for name in names
    )
    return Section("What the numbers mean", Html(f'<dl class="terms">{terms}</dl>'))


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def facts(run_id: str, manifest: Mapping[str, Any]) -> Section:
    """The run that the numbers come from: model, text, weights, and every option."""
    names = ("model_name", "model", "revision", "weights_sha256", "corpus", "test_corpus", "explainer",
             "end", "code_version")  # fmt: skip
    lines = [("run", run_id)]
    lines += [(name, _shown(manifest[name])) for name in names if manifest.get(name) is not None]
    rest = {k: v for k, v in sorted(manifest.items()) if k not in (*_WRITERS_OWN, *names)}
    rows = [(plain(name.replace("_", " ")), plain(value)) for name, value in lines]
    every = "\n".join(f"{name}: {_shown(value)}" for name, value in rest.items())
    body = joined(table(("fact", "value"), rows), folded("All options and counts", every))
    return Section("Where the numbers come from", body)


def _footer(link: str, date: str) -> str:
    shown = plain(link)
    if link.startswith(("http://", "https://")):
        shown = f'<a href="{html.escape(link)}" rel="noreferrer noopener">{shown}</a>'
    return (
        f'<footer class="small">Saved {plain(date)}. The same view, where the explorer runs: '
        f"{shown}</footer>"
    )


@cache
def _style() -> str:
    sheet = _STYLE_SHEET.read_text(encoding="utf-8")
    return f"{style_variables()}\n{strips_css()}\n{sheet}"


def _document(title: str, body: str) -> str:
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{plain(title)}</title>
<style>
{_style()}
</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def small_page(title: str, lines: Sequence[str], drawing: Html) -> str:
    """One figure of HTML as a file, with `lines` (caption, run, link, date) beneath its title."""
    words = "".join(small(plain(line)) for line in lines)
    return _document(title, f"<h2>{plain(title)}</h2>\n{words}\n{drawing}")


def page(
    *,
    title: str,
    heading: Html,
    answer: Html,
    metrics: Iterable[tuple[str, str, str]],
    sections: Iterable[Section],
    link: str,
    date: str,
) -> str:
    """The whole file. `title` is text; `heading` and `answer` are finished HTML."""
    body = "\n".join(
        f"<section><h2>{plain(section.title)}</h2>\n{section.body}</section>"
        for section in sections
    )
    return _document(
        title,
        f'<h1>{heading}</h1>\n<p class="answer">{answer}</p>\n{numbers(metrics)}\n{body}\n'
        + _footer(link, date),
    )
