"""The figures of Findings that compare runs, as the page and a notebook show them: scores, depths of
best neurons, P(token).

Pure functions; Streamlit and the model are not needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import pandas as pd

from explorer.charts.depth_lines import depth_lines
from explorer.charts.figure import Figure
from explorer.charts.findings_text import share_text, shown
from explorer.charts.glossary import define
from explorer.charts.score_histograms import Ridge, RidgeScale, score_histograms
from explorer.core.findings import Estimate
from explorer.core.store import Store
from explorer.resources.findings_tables import EDGES, HIGH_SCORE, Bins, RunFindings


class Compared(NamedTuple):
    """A run of the comparison: its name there, its store, and what was found in it."""

    name: str
    store: Store
    found: RunFindings


_SCORES = RidgeScale(EDGES, 0.5, "guessing", HIGH_SCORE, "score (balanced accuracy)", "pairs")
_CHANCES = RidgeScale(EDGES, 0.1, "0.10", None, "P(token) after the prompt", "prompts")

Mark = tuple[str, float, float | None, float | None]


def _mark(what: str, estimate: Estimate | None) -> list[Mark]:
    return [] if estimate is None else [(what, estimate.value, estimate.low, estimate.high)]


def _score_ridge(run: Compared) -> Ridge:
    scores = run.found.scores
    mine, random = Bins.of(scores.chosen), Bins.of(scores.random)
    nulls = [mark for name, null in scores.nulls.items() for mark in _mark(name, null)]
    n = len(scores.chosen)
    return Ridge(
        run.name, f"{n:,} pair{'' if n == 1 else 's'}" if n else "no score",
        mine.shares, mine.counts, random.shares, random.counts,
        (*_mark("mean", scores.mean), *_mark("random", scores.random_mean), *nulls),
        (shown(scores.mean), f"rand. {shown(scores.random_mean)}"),
    )  # fmt: skip


def _bins_data(ridges: Sequence[Ridge], unit: str) -> pd.DataFrame:
    rows = []
    for ridge in ridges:
        for name, counts, shares in (
            ("next-token and requested", ridge.counts, ridge.shares),
            ("random", ridge.outline_counts, ridge.outline_shares),
        ):
            for i, count in enumerate(counts):
                rows.append((ridge.name, name, EDGES[i], EDGES[i + 1], count, shares[i]))
    return pd.DataFrame(rows, columns=["run", "neurons", "from", "to", unit, "share"])


def scores_figure(runs: Sequence[Compared]) -> Figure:
    """The distribution of scores with the nulls drawn in; to be drawn where some run has a score."""
    ridges = tuple(_score_ridge(run) for run in runs)
    return Figure(
        "How well explanations hold on new prompts",
        partial(score_histograms, ridges, scale=_SCORES),
        _bins_data(ridges, "pairs"),
        help=define("Score", runs[0].found.manifest)
        + " "
        + define("Nulls", runs[0].found.manifest),
        caption="Share of head–neuron pairs by score. Filled: next-token neurons (▲ mean, bar: its "
        "interval). Outline: random neurons (△). Nulls: ◇ another head's verdicts, ✛ shuffled activity.",
    )


def _chance_ridge(run: Compared) -> Ridge:
    chosen, random = run.found.probabilities(False), run.found.probabilities(True)
    mine, outline = Bins.of(chosen), Bins.of(random)
    return Ridge(
        run.name, f"{len(chosen):,} prompts", mine.shares, mine.counts, outline.shares, outline.counts,
        tuple(_mark("mean", run.found.mean_probability)),
        (shown(run.found.mean_probability), f"{share_text(run.found.low_neurons)} < 0.10"),
    )  # fmt: skip


def chances_figure(runs: Sequence[Compared]) -> Figure:
    """P(token) on the truncated prompts, and the share of neurons that stay low."""
    ridges = tuple(_chance_ridge(run) for run in runs)
    first = runs[0].found
    low = first.low_neurons
    text = ""
    if low is not None:
        which = "the first run" if len(runs) > 1 else "this run"
        text = (
            f" In {which} {round(low.value * low.n)} of {low.n} neurons stay below 0.10 on average."
        )
    return Figure(
        "Does the model say the neuron's token?",
        partial(score_histograms, ridges, scale=_CHANCES),
        _bins_data(ridges, "prompts"),
        help=define("P(token)", first.manifest)
        + " Right: the mean, and the share of neurons whose mean over their prompts is below 0.10.",
        caption="Truncated prompts by P(token), train and test. Filled: next-token neurons. Outline: "
        f"random neurons.{text}",
    )


def depths_figure(runs: Sequence[Compared]) -> Figure:
    """In which layers tokens find their best neuron."""
    rows = pd.concat([run.found.depths.assign(run=run.name) for run in runs], ignore_index=True)
    return Figure(
        "Where each token's best neuron sits",
        partial(
            depth_lines,
            rows,
            runs=[run.name for run in runs],
            studied=runs[0].found.studied_depths,
        ),
        rows.rename(columns={"n": "tokens"}),
        help="A token's best neuron is the one with the highest congruence over all layers. Depth is the "
        "middle of the layer's part of the model, so that models of different depth can be compared. "
        + define("Congruence", runs[0].found.manifest),
        caption="Share of the vocabulary's tokens by depth of their best neuron. Shaded: layers studied "
        f"in {'the first run' if len(runs) > 1 else 'the run'}.",
    )
