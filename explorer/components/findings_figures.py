"""The figures of Findings that compare runs: scores, depths of best neurons, P(token), the tables."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from explorer.charts.glossary import define
from explorer.charts.runs_table import (
    RunRow,
    references_data,
    references_table,
    runs_data,
    runs_table,
)
from explorer.components import frame
from explorer.components.figure import draw, heading
from explorer.resources import findings_figures
from explorer.resources.findings_cache import cached_removals
from explorer.resources.findings_figures import Compared


def scores_figure(runs: Sequence[Compared]) -> None:
    """The distribution of scores with the nulls drawn in."""
    found = findings_figures.scores_figure(runs)
    if any(len(run.found.scores.chosen) for run in runs):
        draw(found, key="findings-scores")
        return
    heading(found.title, found.data, key="findings-scores")
    frame.empty(
        "No run shown has a score: none was made with an explainer, or no test prompts held both "
        "classes. The contrast explainer needs no key."
    )


def chances_figure(runs: Sequence[Compared]) -> None:
    """P(token) on the truncated prompts, and the share of neurons that stay low."""
    found = findings_figures.chances_figure(runs)
    if any(len(run.found.probabilities(random=False)) for run in runs):
        draw(found, key="findings-chances")
        return
    heading(found.title, found.data, key="findings-chances")
    frame.empty("No prompt is kept in these runs.")


def depths_figure(runs: Sequence[Compared]) -> None:
    """In which layers tokens find their best neuron."""
    found = findings_figures.depths_figure(runs)
    if sum(found.data["tokens"].tolist()):
        draw(found, key="findings-depths")
        return
    heading(found.title, found.data, key="findings-depths")
    frame.empty("These runs list no neurons for their tokens.")


def _row(run: Compared) -> RunRow:
    scores, found = run.found.scores, run.found
    direct = cached_removals(run.store, "zero-last").agreement(active=False)
    return RunRow(
        run.name, scores.explainer, scores.n_studied, len(scores.chosen), scores.n_no_score,
        scores.mean, scores.random_mean, scores.high, direct.signs, direct.pearson, direct.spearman,
        found.mean_probability, found.low_neurons,
    )  # fmt: skip


def runs_figure(runs: Sequence[Compared]) -> None:
    """The runs side by side."""
    rows = [_row(run) for run in runs]
    heading(
        "Runs compared" if len(runs) > 1 else "The run in numbers",
        runs_data(rows),
        key="findings-runs",
        help=define("Interval", runs[0].found.manifest),
        caption="Chosen options and corpora are listed under About. Hover a column for its meaning.",
    )
    st.html(runs_table(rows))
    missing = sum(run.found.scores.n_unexplained for run in runs)
    texts = []
    if any(row.n_no_score for row in rows):
        texts.append(
            "No score: the test prompts held only one class, so no balanced accuracy exists."
        )
    if missing:
        texts.append(f"{missing:,} studied pairs have no tested explanation.")
    if texts:
        frame.empty(" ".join(texts))


def references_figure() -> None:
    """Published numbers to stand beside a run's."""
    heading(
        "Published numbers to stand beside",
        references_data(),
        key="findings-references",
        help="Neo, Cohen and Barez 2024 (arXiv 2402.15055). Other models, prompts, explainers and rules: "
        "to be compared with care.",
        caption="None of them was measured here: other models, other prompts, another explainer.",
    )
    st.html(references_table())
