"""Compared runs as a table, and published numbers as another: HTML, texts escaped."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from explorer.charts.findings_text import (
    REFERENCES,
    interval,
    share_interval,
    share_text,
    shown,
)
from explorer.charts.run_marks import GLYPHS
from explorer.charts.style import DARK, LIGHT
from explorer.core.findings import Estimate


@dataclass(frozen=True)
class RunRow:
    """One run's numbers; None where it has none."""

    name: str
    explainer: str | None
    n_studied: int
    n_scored: int
    n_no_score: int
    mean: Estimate | None
    random: Estimate | None
    high: Estimate | None
    signs: Estimate | None
    pearson: Estimate | None
    spearman: Estimate | None
    probability: Estimate | None
    low_neurons: Estimate | None


_COLUMNS = (
    ("Run", "Model, and the explainer whose scores are shown."),
    ("Pairs", "Studied pairs of head and chosen neuron (next-token and requested); below, how many "
     "of them have a score."),
    ("Mean score", "Balanced accuracy on test prompts, mean over the scored pairs, with its interval."),
    ("Random", "The same for the run's random neurons."),
    ("≥ 0.80", "Share of the scored pairs that reach 0.80."),
    ("Sign agrees", "Share of removals (zero-last) in which direct contribution and measured effect "
     "have one sign."),
    ("r", "Pearson's correlation of direct contribution and measured effect (zero-last)."),
    ("No score", "Pairs whose test prompts hold one class alone, so that no balanced accuracy exists."),
)  # fmt: skip


def _cell(main: str, small: str = "") -> str:
    return (
        f"<td>{html.escape(main)}"
        + (f"<small>{html.escape(small)}</small>" if small else "")
        + "</td>"
    )


def _number_cell(estimate: Estimate | None) -> str:
    return _cell(shown(estimate), "" if estimate is None else interval(estimate))


def _share_cell(estimate: Estimate | None) -> str:
    return _cell(share_text(estimate), "" if estimate is None else share_interval(estimate))


def runs_table(rows: Sequence[RunRow]) -> str:
    """The table of compared runs."""
    head = "".join(
        f'<th title="{html.escape(title, quote=True)}">{name}</th>' for name, title in _COLUMNS
    )
    body = ""
    for place, row in enumerate(rows):
        colour = f"light-dark({LIGHT.runs[place]}, {DARK.runs[place]})"
        name = (
            f'<td><span style="color:{colour}">{GLYPHS[place]}</span> {html.escape(row.name)}'
            f"<small>{html.escape(row.explainer or 'no explainer')}</small></td>"
        )
        cells = (
            name, _cell(f"{row.n_studied:,}", f"{row.n_scored:,} scored"), _number_cell(row.mean),
            _number_cell(row.random), _share_cell(row.high), _share_cell(row.signs),
            _number_cell(row.pearson), _cell(f"{row.n_no_score:,}"),
        )  # fmt: skip
        first = ' class="nt-first"' if place == 0 and len(rows) > 1 else ""
        body += f"<tr{first}>{''.join(cells)}</tr>"
    return (
        f'<div class="nt-scroll"><table class="nt-runs"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _parts(name: str, estimate: Estimate | None) -> dict[str, float | int | None]:
    if estimate is None:
        return {name: None, f"{name} low": None, f"{name} high": None, f"{name} n": None}
    return {
        name: estimate.value, f"{name} low": estimate.low, f"{name} high": estimate.high,
        f"{name} n": estimate.n,
    }  # fmt: skip


def runs_data(rows: Sequence[RunRow]) -> pd.DataFrame:
    """Every number of the compared runs with its interval and n, to take away."""
    return pd.DataFrame(
        [
            {
                "run": row.name, "explainer": row.explainer, "studied pairs": row.n_studied,
                "scored pairs": row.n_scored, "pairs without a score": row.n_no_score,
            }
            | _parts("mean score", row.mean) | _parts("random neurons' mean score", row.random)
            | _parts("share at 0.80 or more", row.high) | _parts("share of agreeing signs", row.signs)
            | _parts("Pearson r", row.pearson) | _parts("Spearman r", row.spearman)
            | _parts("mean P(token)", row.probability)
            | _parts("share of neurons below 0.10", row.low_neurons)
            for row in rows
        ]
    )  # fmt: skip


def references_table() -> str:
    """Published numbers, each with where it is from."""
    body = "".join(
        f'<tr><td>{html.escape(r.what)}</td><td class="nt-words">{html.escape(r.value)}</td>'
        f'<td class="nt-words">{html.escape(r.source)}</td></tr>'
        for r in REFERENCES
    )
    return (
        '<div class="nt-scroll"><table class="nt-runs nt-references"><thead><tr><th>What</th>'
        '<th class="nt-words">Published</th><th class="nt-words">Source</th></tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def references_data() -> pd.DataFrame:
    """The same to take away."""
    return pd.DataFrame(REFERENCES)
