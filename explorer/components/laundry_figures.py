"""Figures of live task runs, drawn from one result each."""

from __future__ import annotations

import html
from functools import partial
from itertools import product

import pandas as pd
import streamlit as st

from explorer.charts.accuracy_text import in_words, whole_percent
from explorer.charts.next_tokens import percent
from explorer.charts.style import number, signed
from explorer.charts.task_charts import (
    accuracy_dots,
    accuracy_lines,
    item_bars,
    score_bars,
    winner_grid,
)
from explorer.components import frame
from explorer.components.chips import plain_markdown
from explorer.components.figure import figure
from explorer.core.accuracy import Accuracy
from explorer.core.tasks import LAUNDRY_LIST
from explorer.resources.task_values import Scores, SteeringRun, TaskRun, written

_AS_IS, _DIALLED = "as it is", "dialled"
_EXAMPLE = "laundry-example"
_N_BARS = 14
_STEERING_HELP = (
    "Each place takes the cell that was right most often on one half of the prompts; counted on the other. "
    "It looks at the answer's place to choose, so it is steering and never an accuracy. Controls are fitted "
    "alike, with steps of equal norm: random directions that the same heads can write, and other components "
    "of those heads. Halves and controls are ours."
)


def run_words(run: TaskRun) -> None:
    """The run's accuracy in words; where the model cannot do the task, that instead of a mechanism."""
    found, asked = run.overall, run.asked
    what = f"lists of {asked.n}" if asked.task == LAUNDRY_LIST else "these sentences"
    condition = html.escape(run.condition)
    top1 = f"top-1 over the vocabulary {run.n_top1:,} of {found.n:,}"
    if not found.beats_chance:
        frame.note(
            f"On {what} ({condition}) the model is not better than chance: {in_words(found)}; {top1}. It "
            "cannot do the task here, so no mechanism is shown."
        )
        return
    text = f"On {what} ({condition}): {in_words(found)}; {top1}."
    dialled = run.overall_dialled
    if dialled is not None:
        names = html.escape(written(asked.components))
        text += f" With {names} times {number(asked.factor)}: {in_words(dialled)}."
    frame.empty(text)


def _place_rows(run: TaskRun) -> pd.DataFrame:
    rows = []
    lines = [(_AS_IS, run.clean)] + ([(_DIALLED, run.dialled)] if run.dialled else [])
    for line, places in lines:
        for place, found in enumerate(places, start=1):
            low, high = found.interval
            rows.append(
                {"line": line, "x": place, "share": found.share, "low": low, "high": high,
                 "n_right": found.n_right, "n_prompts": found.n, "chance": found.chance}
            )  # fmt: skip
    return pd.DataFrame(rows)


def _example_rows(run: TaskRun, index: int) -> pd.DataFrame:
    example, rows = run.examples[index], []
    for place, word in enumerate(example.words):
        before = example.clean[place]
        now = before if example.dialled is None else example.dialled[place]
        rows.append(
            {"key": f"{place:02d}\t{word}", "label": word, "place": place + 1, "probability": now,
             "before": None if example.dialled is None else before, "words": percent(now),
             "words_before": percent(before), "answer": place == example.position}
        )  # fmt: skip
    return pd.DataFrame(rows)


def run_figures(run: TaskRun) -> None:
    """One prompt's items, and accuracy by place."""
    left, right = st.columns([42, 58], gap="large")
    with left:
        places = len(run.examples)
        index = min(int(st.session_state.get(_EXAMPLE, 1)), places) - 1
        rows = _example_rows(run, index)
        figure(
            "Probability of each item",
            partial(item_bars, rows),
            rows.loc[:, ["label", "place", "probability", "before", "answer"]],
            key="laundry-items-figure",
            help="Of the item's token to come next, among the whole vocabulary. Tick: with the components "
            "as they are.",
            caption=plain_markdown(f"{run.examples[index].text} …"),
        )
        if places > 1:
            st.slider("Missing item's place", 1, places, key=_EXAMPLE)
    with right:
        data = _place_rows(run)
        lines = list(dict.fromkeys(data["line"].tolist()))
        figure(
            "Accuracy in this run",
            partial(accuracy_lines, data, lines=lines, x_title="place of the missing item"),
            data.rename(columns={"x": "place", "share": "share right"}),
            key="laundry-run-figure",
            help="Share of prompts in which the missing item outscores the other items; dashed: chance; "
            "bars: 95 % Wilson intervals. Every prompt gets the same factor.",
            caption=f"{run.overall.n:,} fresh prompts of this sentence, seed 1.",
        )


def _grid_rows(run: SteeringRun) -> pd.DataFrame:
    rows = []
    for cell, values in enumerate(product(*run.axes)):
        shares = run.shares[cell]
        x, y, panel = (*values, 0.0, 0.0)[:3]
        rows.append(
            {"x": x, "y": y, "panel": panel, "place": int(shares.argmax()) + 1,
             "share": float(shares.max())}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _dots(rows: tuple[tuple[str, Accuracy], ...]) -> pd.DataFrame:
    found = []
    for name, own in rows:
        low, high = own.interval
        found.append(
            {"name": name, "share": own.share, "low": low, "high": high, "n_right": own.n_right,
             "n_prompts": own.n, "chance": own.chance, "counts": f"{own.n_right} of {own.n}"}
        )  # fmt: skip
    return pd.DataFrame(found)


def _steering_words(run: SteeringRun) -> str:
    """What steering does beside its controls, also where that is nothing."""
    share = {name: own.share or 0.0 for name, own in run.rows}
    controls = [own.share or 0.0 for _, own in run.rows[2:]]
    text = (
        f"Steered by place: <b>{whole_percent(share['steered'])}</b> right on the other half, as it is "
        f"{whole_percent(share['as it is'])}; controls {whole_percent(min(controls))} to "
        f"{whole_percent(max(controls))}."
    )
    gains = share["steered"] > max(*controls, share["as it is"])
    return text if gains else f"{text} These components steer no better than the controls."


def steering_figures(run: SteeringRun) -> None:
    """The grid of winners, and steering beside its controls."""
    frame.empty(_steering_words(run))
    left, right = st.columns([58, 42], gap="large")
    names = [f"{head}.{component}" for head, component in run.asked.components]
    grid, dots = _grid_rows(run), _dots(run.rows)
    used = ["x", "y", "panel"][: len(names)]
    table = grid.loc[:, [*used, "place", "share"]].rename(
        columns=dict(zip(used, names, strict=True))
    )
    with left:
        figure(
            "Which place wins",
            partial(winner_grid, grid, names=names),
            table,
            key="laundry-grid",
            help="Activations at the last position are set to these values (mean over prompts ± 3 SD, "
            "or as far as 0). Number: place in the list whose item outscores the others most often; deeper: "
            "in a larger share of prompts.",
            caption=f"Lists of {run.asked.n}. Place counts from 1.",
        )
    with right:
        figure(
            "Steering by place, and its controls",
            partial(accuracy_dots, dots),
            dots.drop(columns=["counts"]),
            key="laundry-steering-figure",
            help=_STEERING_HELP,
            caption="Right on the half that was not fitted; dashed: 1/n. Steering, not accuracy.",
        )


def _score_rows(scores: Scores) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"name": f"{head}.{component}", "score": score, "low": score - 1.96 * error,
             "high": score + 1.96 * error}
            for head, component, score, error in scores.rows
        ]
    )  # fmt: skip


def score_figure(scores: Scores) -> None:
    """The components without which the receiver looks less at the answer, best first."""
    rows = _score_rows(scores)
    sizes = sorted(abs(score) for *_, score, _ in scores.rows)
    middle = sizes[len(sizes) // 2]
    top = rows.iloc[0]
    frame.empty(
        f"Without <b>{html.escape(str(top['name']))}</b> the receiver {scores.receiver.label} loses "
        f"{signed(float(top['score']))} of its attention gap of {signed(scores.gap)}. Median size over all "
        f"{len(rows):,} components: {number(middle, 3)}."
    )
    figure(
        "Inhibition score of components",
        partial(score_bars, rows.head(_N_BARS)),
        rows,
        key="laundry-score-figure",
        help="Attention of the receiver from the last token to the answer's first mention, less that to the "
        "other name's: clean minus with the component removed at the last token, mean over prompts, 95 % "
        "interval. The score is ours; that one or two components of a head carry it is the paper's finding.",
        caption=f"Receiver {scores.receiver.label}; the {min(_N_BARS, len(rows))} highest of {len(rows):,}; "
        f"{scores.n_prompts} prompts. The Components field of the Laundry List begins with the first three.",
    )
