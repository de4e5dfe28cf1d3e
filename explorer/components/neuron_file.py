"""A studied neuron as a page to send: its prompts, its heads and their words, its truncation."""

from __future__ import annotations

import html
from collections.abc import Mapping

import pandas as pd

from explorer.charts import standalone
from explorer.charts.explanation_text import explanation_html
from explorer.charts.standalone import Html, Section
from explorer.charts.style import signed
from explorer.components.chips import token_chip
from explorer.components.export import today
from explorer.components.head_answer import answer as head_answer
from explorer.components.neuron_answer import answer, neuron_numbers
from explorer.components.pair_file import tested
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId, visible
from explorer.resources.head_removals import removals
from explorer.resources.head_words import explained, prompt_texts
from explorer.resources.missing_stages import why_unexplained
from explorer.resources.neuron_figures import (
    STRIPS_CAPTION,
    STRIPS_TITLE,
    heads_figure,
    prompt_strips,
    shares_figure,
    tokens_figure,
    truncation_figure,
)
from explorer.resources.neuron_tables import NeuronTables, neuron_tables

TERMS = ("Congruence", "Activation", "P(token)", "Tokens kept", "Contribution", "Pre-activation", "Active",
         "Share active", "Studied", "Score", "Nulls", "Removing it", "Switches on")  # fmt: skip


def _prompts(splits: tuple[NeuronTables, ...]) -> Section:
    pieces: list[str] = [standalone.small(standalone.plain(STRIPS_CAPTION))]
    for tables in splits:
        title = f"{tables.split.capitalize()}, {tables.n_prompts} prompts"
        drawn = prompt_strips(tables, still=True) if tables.n_prompts else ""
        pieces.append(standalone.part(title, drawn))
    return Section(STRIPS_TITLE, standalone.joined(*pieces))


def _head_rows(train: NeuronTables, test: NeuronTables) -> Html:
    """Every head that can reach the neuron: how often it is active, and what it adds."""

    def active(tables: NeuronTables, label: str) -> str:
        row = tables.activity_of(HeadId.parse(label))
        return "–" if row is None else f"{int(row['n_active'])} of {int(row['n_prompts'])}"

    rows = []
    for row in train.activity.to_dict("records"):
        label, mean = row["label"], row["mean_attribution"]
        rows.append(
            (label, "yes" if row["studied"] else "no", active(train, label), active(test, label),
             "–" if pd.isna(mean) else signed(float(mean)))
        )  # fmt: skip
    columns = ("head", "studied", "active, train", "active, test", "mean contribution, train")
    every = standalone.table(columns, rows, numbers=3)
    return Html(f"<details><summary>All {len(rows)} heads</summary>{every}</details>")


def _heads(store: Store, first: NeuronTables, rank: int, every: Html) -> list[Section]:
    """What heads add to the prompts of a split, that of `rank` outlined, and `every` head in a table."""
    columns = first.columns(None)
    if not columns:
        return []
    shares = shares_figure(store, first, columns, None)
    adds = heads_figure(store, first, columns, rank, None, first.n_prompts)
    return [
        Section(adds.title, standalone.chart(adds, "heads")),
        Section(
            shares.title,
            standalone.joined(standalone.chart(shares, "shares"), every),
        ),
    ]


def _studied(store: Store, train: NeuronTables, texts: Mapping[int, str]) -> Section:
    """Each studied head: whether it switches the neuron on, and when it is said to be active."""
    pieces: list[str] = []
    for label in train.studied:
        head = HeadId.parse(label)
        told = explained(store, train.neuron, head, None, texts)
        removed = removals(store, train.neuron, head, texts)
        found = head_answer(store, train, removed, train.neuron, head)
        missing = why_unexplained(store, train.neuron, head, studied=True)
        pieces.append(
            standalone.part(
                f"Does {label} switch it on?",
                f'<p class="answer">{found}</p>',
                *(
                    (standalone.small(Html(missing)),)
                    if told is None
                    else (
                        standalone.small(
                            Html(f"When it is active, by {html.escape(told.explainer)}:")
                        ),
                        explanation_html(told.text),
                        tested(told),
                    )
                ),
            )
        )
    none = "No head is active in 25–75 % of its train prompts, so none is studied."
    return Section("Its studied heads", standalone.joined(*pieces) or standalone.small(Html(none)))


def neuron_page(
    store: Store, neuron: NeuronId, *, split: str, prompt: int | None, link: str
) -> str:
    """The whole file for a studied neuron. `split` comes first, and of it the `prompt` whose truncation
    is drawn (a prompt id; None: the first)."""
    train, test = (neuron_tables(store, neuron, name) for name in ("train", "test"))
    if train is None or test is None:
        raise ValueError(f"expected a studied neuron of {store.run_id}, got {neuron}")
    first, second = (test, train) if split == "test" else (train, test)
    sections = [_prompts((first, second))]
    chosen = first.prompt(prompt)
    if chosen is not None:
        sections += _heads(store, first, int(chosen["rank"]), _head_rows(train, test))
        cut = truncation_figure(store, chosen)
        sections.append(Section(cut.title, standalone.chart(cut, "truncation")))
    tokens = tokens_figure(store, neuron, train.token_id)
    sections += [
        _studied(store, train, prompt_texts(store, neuron)),
        Section(tokens.title, standalone.chart(tokens, "tokens")),
        standalone.definitions(TERMS, store.manifest),
        standalone.facts(store.run_id, store.manifest),
    ]
    return standalone.page(
        title=f"{neuron.label}, the {visible(train.token)} neuron",
        heading=Html(f"{neuron.label}, the {token_chip(train.token)} neuron"),
        answer=Html(answer(first)),
        metrics=[m[:3] for m in neuron_numbers(store, first)],
        sections=sections,
        link=link,
        date=today(),
    )
