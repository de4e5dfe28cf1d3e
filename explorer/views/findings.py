"""Findings: what holds across neurons, and across runs."""

from __future__ import annotations

import streamlit as st

from explorer import selection
from explorer.charts.findings_text import (
    EffectFacts,
    ScoreFacts,
    Sentence,
    effect_sentence,
    high_sentence,
    score_sentence,
)
from explorer.charts.run_marks import run_names
from explorer.components import findings_figures, frame, removal_figures, run_pills
from explorer.components.chips import emphasised
from explorer.core.errors import StoreError
from explorer.core.runs import RunInfo
from explorer.core.store import Store
from explorer.core.types import ABLATION_KINDS
from explorer.resources.findings_cache import cached_findings, cached_removals
from explorer.resources.findings_figures import Compared
from explorer.resources.removal_tables import MEASURES
from explorer.resources.stores import current_runs, open_run
from explorer.selection import Selection


def _opened(first: Store, chosen: Selection) -> list[tuple[RunInfo, Store]]:
    """The runs of the comparison that are there, the page's own first; the others are said."""
    runs = current_runs()
    found: list[tuple[RunInfo, Store]] = []
    for run_id in dict.fromkeys((first.run_id, *(chosen.others or ()))):
        info = runs.find(run_id)
        if info is None:
            frame.note(emphasised(f"There is no run *{run_id}* here to compare with."))
            continue
        try:
            found.append((info, first if run_id == first.run_id else open_run(run_id)))
        except StoreError as error:
            frame.note(emphasised(str(error)))
    return found


def _compared(first: Store, chosen: Selection) -> list[Compared]:
    opened = _opened(first, chosen)
    names = run_names([(info.run_id, info.model, info.corpus) for info, _ in opened])
    return [
        Compared(name, store, cached_findings(store, info.model, info.corpus))
        for name, (info, store) in zip(names, opened, strict=True)
    ]


def _sentences(run: Compared) -> tuple[Sentence, ...]:
    scores = run.found.scores
    facts = ScoreFacts(
        run.name, scores.explainer, scores.mean, scores.random_mean, scores.above_random, scores.high,
        scores.beats_shuffles, scores.n_studied,
    )  # fmt: skip
    removals = cached_removals(run.store, "zero-last")
    every, active = removals.agreement(active=False), removals.agreement(active=True)
    effects = EffectFacts(
        run.name, every.n, every.pearson, active.pearson, every.signs, every.chance
    )
    return score_sentence(facts), high_sentence(facts), effect_sentence(effects)


def _show_sentences(run: Compared) -> None:
    parts = "".join(f"<div><h2>{s.headline}</h2><p>{s.text}</p></div>" for s in _sentences(run))
    st.html(f'<div class="nt-sentences">{parts}</div>')


def render() -> None:
    names = ("others", "token", "neuron", "head", "prompt", "kind", "measure")
    store, chosen = frame.page("findings", names)
    run_pills.apply_style()
    runs = _compared(store, chosen)
    there = tuple(run.store.run_id for run in runs[1:]) or None
    if there != chosen.others:
        selection.choose(others=there)
    run_pills.run_pills(current_runs(), {run.store.run_id: run.name for run in runs})
    _show_sentences(runs[0])
    left, right = st.columns(2, gap="large")
    with left:
        findings_figures.scores_figure(runs)
    with right:
        removal_figures.scatter_figure(runs[0], chosen)
    left, right = st.columns(2, gap="large")
    with left:
        findings_figures.depths_figure(runs)
    with right:
        findings_figures.runs_figure(runs)
    kind = chosen.kind or ABLATION_KINDS[0]
    measure = chosen.measure if chosen.measure in MEASURES else next(iter(MEASURES))
    removal_figures.removal_controls(kind, measure)
    left, right = st.columns(2, gap="large")
    with left:
        removal_figures.curves_figure(runs[0], kind, measure)
    with right:
        removal_figures.joint_figure(runs[0], kind)
    left, right = st.columns(2, gap="large")
    with left:
        findings_figures.chances_figure(runs)
    with right:
        findings_figures.references_figure()
