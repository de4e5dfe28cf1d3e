"""A pair of neuron and head as a page to send: its words, their test, its prompts, its removal."""

from __future__ import annotations

import html
from collections.abc import Collection, Mapping, Sequence

from explorer.charts import standalone
from explorer.charts.explanation_text import clauses_html, explanation_html, raw_text
from explorer.charts.prompt_strips import strips_html
from explorer.charts.standalone import Html, Section
from explorer.charts.style import number
from explorer.components.chips import token_chip, token_html
from explorer.components.export import today
from explorer.components.head_answer import answer, pair_numbers
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from explorer.resources.head_figures import (
    LOOKS_TITLE,
    ONE_CLASS,
    REMOVAL_TITLE,
    beside_removal,
    dots_figure,
    looks_caption,
    looks_columns,
    removal_figure,
    removal_help,
    served_figure,
)
from explorer.resources.head_removals import QUANTITIES, Removals, first_kind, removals
from explorer.resources.head_tables import attention_of, served_neurons_of
from explorer.resources.head_words import Explained, PairScore, explained, prompt_texts
from explorer.resources.missing_stages import failed, why_unexplained, why_untested
from explorer.resources.neuron_tables import NeuronTables, neuron_tables
from explorer.resources.prompt_rows import attention_strips

TERMS = ("Score", "Nulls", "Active", "Share active", "Studied", "Contribution", "Pre-activation",
         "Attention", "Removing it", "Switches on", "Activation", "P(token)", "Congruence")  # fmt: skip


# --- words ------------------------------------------------------------------------------------


def _counts(score: PairScore) -> Html:
    """The confusion table."""
    rows = [
        ("Active", str(score.tp), str(score.fn)),
        ("Inactive", str(score.fp), str(score.tn)),
    ]
    columns = ("Test prompts: the head is", "predicted active", "predicted inactive")
    missing = f"{score.n_missing} more had no verdict." if score.n_missing else ""
    return standalone.joined(
        standalone.table(columns, rows, numbers=2), standalone.small(Html(missing))
    )


def _references(told: Explained) -> Html:
    """The score beside what it must beat."""
    rows = [
        (html.escape(r.name), html.escape(r.meaning), html.escape(r.shown)) for r in told.references
    ]
    return standalone.table(("Verdicts of", "what it is", "score"), rows, numbers=1)


def tested(told: Explained) -> Html:
    """The score with its interval, what it must beat, and the counts behind it."""
    if told.score is None:
        return standalone.small(Html("This explanation has not been held against test prompts."))
    beside = _references(told) if told.references else standalone.small(Html(ONE_CLASS))
    return standalone.joined(beside, _counts(told.score))


def _asked(told: Explained) -> Html:
    """What the words rest on, what was asked, and what was answered."""
    return standalone.joined(
        clauses_html(told.evidence),
        standalone.folded("Request", raw_text(told.request, nothing="")),
        standalone.folded("Reply", raw_text(told.reply, nothing="")),
    )


def _explanations(
    store: Store, tables: NeuronTables, head: HeadId, told: Explained | None,
    texts: Mapping[int, str],
) -> Section:  # fmt: skip
    """Every explainer's words, the chosen one's first."""
    failures = standalone.small(Html(failed(store, tables.neuron, head)))
    if told is None:
        missing = why_unexplained(store, tables.neuron, head, head.label in tables.studied)
        return Section("When is it active?", standalone.small(Html(missing)))
    pieces: list[str] = []
    for at, name in enumerate(sorted(told.explainers, key=lambda name: name != told.explainer)):
        one = told if name == told.explainer else explained(store, tables.neuron, head, name, texts)
        assert one is not None, "an explainer that is listed has explained the pair"
        drawn = ""
        if one.score is not None and not one.verdicts.empty:
            drawn = standalone.chart(dots_figure(store, one, one.score, None), f"dots{at}")
        pieces.append(
            standalone.part(f"Explainer: {name}", explanation_html(one.text), drawn, tested(one))
        )
        pieces.append(_asked(one))
    return Section("When is it active?", standalone.joined(*pieces, failures))


# --- prompts and removal ----------------------------------------------------------------------


def looks(
    tables: NeuronTables,
    head: HeadId,
    weights: dict[int, Sequence[float]],
    right: Mapping[int, bool],
    only: Collection[int] | None = None,
) -> Html:
    """The prompts of one split in which the head is active, and the others: tint is its attention
    (`attention_of`). `right` and `only` as in `attention_strips`."""
    pieces: list[str] = []
    for title, active in (("Active", True), ("Inactive", False)):
        strips = attention_strips(tables, head, weights, active, right, only)
        label = f"{title} in {len(strips)} {tables.split} prompt{'' if len(strips) == 1 else 's'}"
        drawn = strips_html(strips, looks_columns(weights), label=label, still=True)
        pieces.append(standalone.part(label, drawn if strips else ""))
    return standalone.joined(*pieces)


def _captioned(store: Store, tables: NeuronTables, head: HeadId, told: Explained | None) -> Html:
    weights = attention_of(store, tables.neuron, head)
    right = told.right if told is not None and tables.split == "test" else {}
    caption = standalone.small(Html(looks_caption(bool(weights), bool(right))))
    return standalone.joined(caption, looks(tables, head, weights, right))


def _medians(removed: Removals) -> Html:
    """Median changes by kind of removal, where the head is active and where it is not."""
    rows = []
    for kind in removed.kinds:
        cells = [kind]
        for quantity in QUANTITIES.values():
            for active in (True, False):
                value = removed.median(kind, quantity, active)
                cells.append("–" if value is None else quantity.shown(value))
        rows.append(cells)
    names = [f"{q.name}, {w}" for q in QUANTITIES.values() for w in ("active", "inactive")]
    return standalone.table(("Removal", *names), rows, numbers=len(names))


def _removal(
    store: Store, tables: NeuronTables, head: HeadId, removed: Removals | None, kind: str
) -> Section:
    if removed is None:
        why = why_untested(store, head.label in tables.studied)
        return Section(REMOVAL_TITLE, standalone.small(Html(why)))
    pieces: list[str] = [standalone.small(standalone.plain(removal_help(store)))]
    for at, (name, quantity) in enumerate(QUANTITIES.items()):
        shown = removal_figure(store, removed, kind, quantity, None)
        pieces.append(
            standalone.part(
                f"{kind}: {name}",
                standalone.chart(shown, f"removal{at}"),
                standalone.small(Html(beside_removal(removed, kind, quantity))),
            )
        )
    pieces.append(standalone.part("Medians of every kind of removal", _medians(removed)))
    return Section(REMOVAL_TITLE, standalone.joined(*pieces))


def _served(store: Store, neuron: NeuronId, head: HeadId, explainer: str | None) -> Section:
    served = served_neurons_of(store, head, "train", explainer)
    shown = served_figure(store, served, neuron, head, "train")
    rows = [
        (token_html(row["label"]), f"{row['n_active']} of {row['n_prompts']}", row["contribution"],
         "yes" if row["studied"] else "no", number(row["score"]))
        for row in served.to_dict("records")
    ]  # fmt: skip
    columns = ("neuron", "prompts active", "mean contribution", "studied", "score")
    every = standalone.table(columns, rows, numbers=4)
    body = standalone.joined(
        standalone.chart(shown, "served"),
        f"<details><summary>All {len(rows)} neurons</summary>{every}</details>",
    )
    return Section(shown.title, body)


# --- the page ---------------------------------------------------------------------------------


def pair_page(
    store: Store,
    neuron: NeuronId,
    head: HeadId,
    *,
    explainer: str | None,
    kind: str | None,
    link: str,
) -> str:
    """The whole file for a studied neuron and a head. `explainer` and `kind` choose what comes first."""
    train, test = (neuron_tables(store, neuron, split) for split in ("train", "test"))
    if train is None or test is None:
        raise ValueError(f"expected a studied neuron of {store.run_id}, got {neuron}")
    texts = prompt_texts(store, neuron)
    told = explained(store, neuron, head, explainer, texts)
    removed = removals(store, neuron, head, texts)
    shown = first_kind(removed, kind)
    sections = []
    if train.activity_of(head) is not None:
        looks = [
            standalone.part(
                f"{tables.split.capitalize()} prompts", _captioned(store, tables, head, told)
            )
            for tables in (train, test)
        ]
        sections = [
            _explanations(store, train, head, told, texts),
            _removal(store, train, head, removed, shown),
            Section(LOOKS_TITLE, standalone.joined(*looks)),
            _served(store, neuron, head, None if told is None else told.explainer),
        ]
    sections += [
        standalone.definitions(TERMS, store.manifest),
        standalone.facts(store.run_id, store.manifest),
    ]
    score = None if told is None else told.score
    return standalone.page(
        title=f"{head.label} and {neuron.label}",
        heading=Html(
            f"Does {head.label} switch on {neuron.label}, the {token_chip(train.token)} neuron?"
        ),
        answer=Html(answer(store, train, removed, neuron, head)),
        metrics=[m[:3] for m in pair_numbers(store, train, head, score, removed, shown)],
        sections=sections,
        link=link,
        date=today(),
    )
