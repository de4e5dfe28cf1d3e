"""The pages' figures in a notebook: Altair charts of an open store, without Streamlit or the model.

Each function returns the very charts that a page draws, by short names, in the colours of `palette`
(`explorer.charts.style.LIGHT` or `DARK`). What a run does not hold is left out.
"""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt

from explorer.charts.figure import Figure
from explorer.charts.style import LIGHT, Palette
from explorer.core.runs import short_name
from explorer.core.store import Store
from explorer.core.types import ABLATION_KINDS, HeadId, NeuronId
from explorer.resources import findings_figures as compared
from explorer.resources import removal_figures as removed
from explorer.resources.findings_figures import Compared
from explorer.resources.findings_tables import run_findings
from explorer.resources.head_figures import dots_figure, removal_figure, served_figure
from explorer.resources.head_removals import QUANTITIES, first_kind, removals
from explorer.resources.head_tables import served_neurons_of
from explorer.resources.head_words import explained, prompt_texts
from explorer.resources.map_figure import map_figure as figure_of_map
from explorer.resources.map_tables import map_tables
from explorer.resources.neuron_figures import (
    heads_figure,
    shares_figure,
    tokens_figure,
    truncation_figure,
)
from explorer.resources.neuron_tables import neuron_tables
from explorer.resources.removal_tables import removal_data, removals_of, scatter_rows

Charts = dict[str, alt.TopLevelMixin]


def _charts(figures: Mapping[str, Figure], palette: Palette) -> Charts:
    return {name: figure.chart(palette) for name, figure in figures.items()}


def neuron_figures(
    store: Store, neuron: NeuronId, split: str = "train", palette: Palette = LIGHT
) -> Charts:
    """What makes a neuron fire: `tokens`, and of a studied one `heads`, `shares`, `truncation` (of the
    first prompt)."""
    tables = neuron_tables(store, neuron, split)
    figures = {"tokens": tokens_figure(store, neuron, None if tables is None else tables.token_id)}
    prompt = None if tables is None else tables.prompt(None)
    if tables is not None and prompt is not None:
        columns = tables.columns(None)
        if columns:
            rank, n = int(prompt["rank"]), tables.n_prompts
            figures["heads"] = heads_figure(store, tables, columns, rank, None, n)
            figures["shares"] = shares_figure(store, tables, columns, None)
        figures["truncation"] = truncation_figure(store, prompt)
    return _charts(figures, palette)


def head_figures(
    store: Store,
    neuron: NeuronId,
    head: HeadId,
    explainer: str | None = None,
    kind: str | None = None,
    palette: Palette = LIGHT,
) -> Charts:
    """When a head is active for a neuron, and whether it matters: `served`, and of a studied pair
    `dots` (of the `explainer`, by default the run's) and `removal` (by `kind`, by default
    `zero-last`)."""
    texts = prompt_texts(store, neuron)
    told = explained(store, neuron, head, explainer, texts)
    changed = removals(store, neuron, head, texts)
    figures: dict[str, Figure] = {}
    served = served_neurons_of(store, head, "train", None if told is None else told.explainer)
    if not served.empty:
        figures["served"] = served_figure(store, served, neuron, head, "train")
    if told is not None and told.score is not None and not told.verdicts.empty:
        figures["dots"] = dots_figure(store, told, told.score, None)
    if changed is not None:
        quantity = QUANTITIES["activation"]
        figures["removal"] = removal_figure(
            store, changed, first_kind(changed, kind), quantity, None
        )
    return _charts(figures, palette)


def findings_figures(store: Store, kind: str = "zero-last", palette: Palette = LIGHT) -> Charts:
    """What holds across a run's neurons: `scores`, `chances` (of the neurons' tokens), `depths`, and of
    removals by `kind` the `scatter` of direct against measured, the `curves` and the `joint` removals."""
    model = str(store.manifest.get("model_name") or short_name(str(store.manifest["model"])))
    corpus = str(store.manifest.get("corpus_name") or short_name(str(store.manifest["corpus"])))
    found = run_findings(store, model, corpus)
    runs = [Compared(model, store, found)]
    figures: dict[str, Figure] = {}
    if len(found.scores.chosen):
        figures["scores"] = compared.scores_figure(runs)
    if len(found.probabilities(random=False)):
        figures["chances"] = compared.chances_figure(runs)
    figures["depths"] = compared.depths_figure(runs)
    return _charts(figures | _removal_figures(store, kind, model), palette)


def _removal_figures(store: Store, kind: str, model: str) -> dict[str, Figure]:
    by_kind = {name: removals_of(store, name) for name in ABLATION_KINDS}
    chosen = by_kind[kind]
    if chosen.rows.empty:
        return {}
    pick, texts = (None, None, None), store.token_texts
    rows, data = scatter_rows(chosen, texts, pick), removal_data(chosen, texts)
    measures = removed.curve_data(by_kind)
    figures = {
        "scatter": removed.scatter_figure(chosen, rows, data, pick, model, store.manifest),
        "curves": removed.curves_figure(chosen, measures, "pre-activation", model, store.manifest),
    }
    if not chosen.joint.empty:
        figures["joint"] = removed.joint_figure(chosen, model, store.manifest)
    return figures


def map_figure(
    store: Store, measure: str = "share", split: str = "train", palette: Palette = LIGHT
) -> alt.TopLevelMixin:
    """All heads against all studied neurons, by `share`, `contribution`, `score` or `effect`."""
    tables = map_tables(store, split, measure, "layer", "layer")
    return figure_of_map(tables, measure, store.manifest, None, None).chart(palette)
