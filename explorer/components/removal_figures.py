"""The figures of Findings about removed heads, of the first run shown: direct against measured,
active against inactive, one by one against together."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from explorer import selection
from explorer.charts.effect_scatter import PICK
from explorer.charts.findings_text import interval, ks_text, share_text
from explorer.charts.style import number, signed
from explorer.components import frame
from explorer.components.chips import plain_markdown, token_chip
from explorer.components.figure import draw, heading
from explorer.components.link_check import own_token
from explorer.components.reports import selected
from explorer.components.shown_key import shown_key
from explorer.core.findings import Estimate
from explorer.core.types import ABLATION_KINDS, HeadId, NeuronId
from explorer.resources import removal_figures as figures
from explorer.resources.findings_cache import (
    cached_removal_data,
    cached_removals,
    cached_scatter_rows,
)
from explorer.resources.findings_figures import Compared
from explorer.resources.removal_tables import (
    DIRECT_KINDS,
    MEASURES,
    Agreement,
    Pick,
    Removals,
    joint_rows,
)
from explorer.selection import Selection

_NONE = "This run holds no removal: its job ran no ablations, or no pair is studied."


def _kind_switch(name: str, kind: str, kinds: tuple[str, ...]) -> None:
    key = shown_key(name, kind)

    def choose() -> None:
        selection.choose(kind=st.session_state[key])

    st.segmented_control(
        "How a head is removed", kinds, key=key, required=True, on_change=choose,
        label_visibility="collapsed",
    )  # fmt: skip


def _correlations(found: Agreement, name: str) -> str:
    """The numbers of some rows as one line of HTML."""

    def r(estimate: Estimate | None) -> str:
        return "–" if estimate is None else f"<b>{number(estimate.value)}</b> {interval(estimate)}"

    chance = "" if found.chance is None else f" (by chance {100 * found.chance:.0f} %)"
    return (
        f"{name}, {found.n:,}: Pearson r {r(found.pearson)} · Spearman r {r(found.spearman)} · "
        f"same sign <b>{share_text(found.signs)}</b>{chance}"
    )


def _pick(run: Compared, key: str) -> None:
    picked = selected(key, PICK)
    if picked:
        neuron, head = NeuronId.parse(picked[0]["neuron"]), HeadId.parse(picked[0]["head"])
        token = own_token(run.store, neuron)
        selection.choose(neuron=neuron, head=head, token=token, prompt=int(picked[0]["prompt_id"]))


def _chosen_mark(rows: pd.DataFrame, pick: Pick, run: Compared) -> None:
    """The chosen mark in words, with its link to Live."""
    prompt_id, neuron, head = pick
    mine = rows.loc[
        (rows["prompt_id"] == prompt_id) & (rows["neuron"] == neuron) & (rows["head"] == head)
    ]
    if mine.empty:
        frame.empty("Click a mark to see which head, neuron and prompt it is.")
        return
    row = mine.to_dict("records")[0]
    token = token_chip(own_token(run.store, NeuronId.parse(str(neuron))) or "")
    state = "active" if row["active"] else "not active"
    with st.container(
        key="nt-card-links", horizontal=True, vertical_alignment="center", gap="medium"
    ):
        st.html(
            f'<p class="nt-small"><b style="color:var(--nt-ink)">{row["name"]}</b> {token} prompt '
            f"{prompt_id}: {row['direct']} direct, {row['lost']} measured; {state} here.</p>",
            width="content",
        )
        frame.link("live", "Try it live →", text=None, pos=None)


def scatter_figure(run: Compared, chosen: Selection) -> None:
    """Direct attribution against causal effect."""
    kind = chosen.kind if chosen.kind in DIRECT_KINDS else DIRECT_KINDS[0]
    removals = cached_removals(run.store, kind)
    if removals.rows.empty:
        heading(figures.SCATTER_TITLE, removals.rows, key="findings-scatter")
        frame.empty(_NONE)
        return
    pick: Pick = (
        chosen.prompt,
        None if chosen.neuron is None else str(chosen.neuron),
        None if chosen.head is None else str(chosen.head),
    )
    rows = cached_scatter_rows(run.store, kind, pick)
    data = cached_removal_data(run.store, kind)
    key = f"findings-scatter-{run.store.run_id}-{kind}-{'-'.join(map(str, pick))}"
    name = plain_markdown(run.name)
    draw(
        figures.scatter_figure(removals, rows, data, pick, name, run.found.manifest),
        key="findings-scatter",
        on_select=partial(_pick, run, key),
        selection_mode=PICK,
        chart_key=key,
        controls=partial(_kind_switch, "findings-direct-kind", kind, DIRECT_KINDS),
    )
    frame.empty(
        "<br>".join(
            _correlations(removals.agreement(active), name)
            for active, name in ((False, "All"), (True, "Active"))
        )
    )
    _chosen_mark(rows, pick, run)


def removal_controls(kind: str, measure: str) -> None:
    """How heads are removed and on what it is measured, for the two figures below."""
    key = shown_key("findings-measure", measure)

    def choose() -> None:
        selection.choose(measure=st.session_state[key])

    with st.container(key="nt-controls", horizontal=True, gap="large", vertical_alignment="center"):
        st.html('<h2 class="nt-heading">What removing heads does</h2>', width="content")
        _kind_switch("findings-kind", kind, ABLATION_KINDS)
        st.segmented_control(
            "Measured on", list(MEASURES), key=key, required=True, on_change=choose,
            label_visibility="collapsed",
        )  # fmt: skip


def _mean_words(removals: Removals, measure: str) -> str:
    digits = 2 if measure == "pre-activation" else 4
    parts = []
    for active, name in ((True, "active"), (False, "inactive")):
        found = removals.means[measure, active]
        if found is None:
            parts.append(f"{name} –")
        else:
            parts.append(f"{name} <b>{signed(found.value, digits)}</b> {interval(found, digits)}")
    return f"Mean change of {measure}: " + ", ".join(parts) + "."


def curves_figure(run: Compared, kind: str, measure: str) -> None:
    """Active against inactive removal, with the test of their difference."""
    removals = cached_removals(run.store, kind)
    data = figures.curve_data({kind: cached_removals(run.store, kind) for kind in ABLATION_KINDS})
    if removals.rows.empty:
        heading(figures.CURVES_TITLE, data, key="findings-curves")
        frame.empty(_NONE)
        return
    name = plain_markdown(run.name)
    found = figures.curves_figure(removals, data, measure, name, run.found.manifest)
    draw(found, key="findings-curves")
    frame.empty(f"{_mean_words(removals, measure)} {ks_text(removals.tests[measure])}")


def joint_figure(run: Compared, kind: str) -> None:
    """Whether heads stand in for each other."""
    removals = cached_removals(run.store, kind)
    rows = joint_rows(removals)
    text = (
        f"{len(removals.joint):,} of the {removals.n_joint:,} prompts with two active heads or more: those "
        "in which each of them is studied, so that its own removal is stored."
    )
    if rows.empty:
        heading(figures.JOINT_TITLE, rows, key="findings-joint")
        frame.empty(
            _NONE
            if removals.rows.empty
            else f"Nothing to compare: in none of the {removals.n_joint:,} prompts with two active heads or "
            "more is each of them studied, and only then are their single removals stored."
        )
        return
    found = figures.joint_figure(removals, plain_markdown(run.name), run.found.manifest)
    draw(found, key="findings-joint")
    more = removals.more_together
    words = "" if more is None else (
        f"Together they take <b>{signed(more.value)}</b> {interval(more)} more than one by one, on average "
        f"over {more.n:,} prompts of {more.n_clusters:,} neurons (one by one: mean "
        f"{shown_mean(rows['x'].tolist())}). "
    )  # fmt: skip
    frame.empty(words + text)


def shown_mean(values: list[float]) -> str:
    """A plain mean, for words."""
    return number(float(np.mean(values))) if values else "–"
