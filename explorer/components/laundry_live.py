"""Live runs of a task: what is asked, *Run* with progress, and what comes back.

Results stay in the session until others are asked for; each carries what it was asked, and where that is
no longer what the widgets say, the page says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import streamlit as st

from explorer import selection
from explorer.charts.style import signed
from explorer.components import frame, laundry_figures
from explorer.components.chips import plain_markdown
from explorer.core.store import Store
from explorer.core.tasks import LAUNDRY_LIST, NAME_INHIBITION
from explorer.core.types import HeadId
from explorer.resources import task_live
from explorer.resources.task_values import (
    Asked,
    Component,
    Scores,
    Sentence,
    SteeringRun,
    TaskRun,
    parse_components,
    written,
)

_SENTENCE, _COMPONENTS, _FACTOR = "laundry-sentence", "laundry-components", "laundry-factor"
_RECEIVER = "laundry-receiver"
_RUN, _SCORES, _STEERING = "laundry-run", "laundry-scores", "laundry-steering"
_LOW, _HIGH, _STEP = -4.0, 6.0, 0.25
T = TypeVar("T")


def _key(store: Store, name: str) -> str:
    """Where a result stays in the session: those of one run are not those of another."""
    return f"{name}-{store.run_id}"


def sentences_for(store: Store, task: str) -> tuple[Sentence, ...]:
    """What can be asked of the model, once it is at hand."""
    return task_live.sentences(store, task)


def _with_progress(work: Callable[[task_live.Progress], T], words: str) -> T:
    """Do long work under a bar that says how far it is and how long it takes."""
    bar, drawn = st.progress(0.0, words), 0.0

    def tell(done: float, left: float | None) -> None:
        nonlocal drawn
        if time.monotonic() - drawn > 0.2 or done >= 1:
            drawn = time.monotonic()
            rest = "" if left is None else f", about {left:.0f} s left"
            bar.progress(min(1.0, done), f"{words}: {100 * done:.0f} %{rest}")

    try:
        return work(tell)
    finally:
        bar.empty()


def _label(sentence: Sentence) -> str:
    filled = sentence.template.format(
        A="A", B="B", S="A", T="B", o="thing", p="place", all="…", rest="…"
    )
    return f"{sentence.group[:1].upper()}{sentence.group[1:]}: {filled} …"


def _sentence_input(sentences: tuple[Sentence, ...], n: int) -> Sentence:
    fitting = [s for s in sentences if s.longest >= n] or list(sentences)
    key = f"{_SENTENCE}-{fitting[0].longest}-{len(fitting)}-{fitting[0].template[:12]}"
    return st.selectbox("Sentence", fitting, format_func=_label, key=key)


def _first_components(store: Store) -> tuple[Component, ...]:
    """What to dial first: the best of the last scores, else the component chosen on the page."""
    scores: Scores | None = st.session_state.get(_key(store, _SCORES))
    if scores is not None:
        return tuple((head, component) for head, component, *_ in scores.rows[:3])
    chosen = selection.current()
    return ((chosen.src or HeadId(0, 0), chosen.comp or 0),)


def _components_input(store: Store) -> tuple[Component, ...]:
    shape = store.shape
    st.session_state.setdefault(_COMPONENTS, written(_first_components(store)))
    text = st.text_input(
        "Components, up to three", key=_COMPONENTS,
        help="A head and the number of one of its OV components, such as L0H5.1; commas between. "
        "Name inhibition scores all of them.",
    )  # fmt: skip
    try:
        return parse_components(text, shape.n_layers, shape.n_heads, shape.d_head)
    except ValueError as error:
        st.caption(plain_markdown(f"{error}."))
        return ()


def _factor_input() -> float:
    strength = selection.current().strength
    shown = 0.0 if strength is None else min(_HIGH, max(_LOW, strength))

    def moved() -> None:
        selection.choose(strength=float(st.session_state[_FACTOR]))

    st.session_state[_FACTOR] = shown
    st.slider(
        "Component strength, a factor", _LOW, _HIGH, step=_STEP, format="%.2f", key=_FACTOR,
        on_change=moved, help="Their activations at the last position times this: 0 removes them, 1 "
        "leaves them. The same for every prompt.",
    )  # fmt: skip
    return shown


def _stale(asked: object, now: object) -> None:
    if asked != now:
        frame.empty("Settings have changed since this run: run again to see them.")


def _list_live(store: Store, sentences: tuple[Sentence, ...], n: int) -> None:
    left, middle, right, side = st.columns([44, 22, 24, 10], gap="medium")
    with left:
        sentence = _sentence_input(sentences, n)
    with middle:
        components = _components_input(store)
    with right:
        factor = _factor_input()
    asked = Asked(LAUNDRY_LIST, sentence, min(n, sentence.longest), components, factor)
    run: TaskRun | None = st.session_state.get(_key(store, _RUN))
    with side:
        st.space("small")
        pressed = st.button("Run", key="laundry-run-button", type="primary")
    if pressed:
        run = _with_progress(lambda tell: task_live.run_task(store, asked, tell), "Running")
        st.session_state[_key(store, _RUN)] = run
    if run is None:
        return
    _stale(run.asked, asked)
    laundry_figures.run_words(run)
    laundry_figures.run_figures(run)
    if run.overall.beats_chance and components:
        _steering(store, asked)


def _steering(store: Store, asked: Asked) -> None:
    found: SteeringRun | None = st.session_state.get(_key(store, _STEERING))
    if st.button(
        "Fit steering", key="laundry-steer-button",
        help="Sets the components to a grid of values and takes, for each place, the cell that was "
        "right most often on one half of the prompts; then counts on the other half.",
    ):  # fmt: skip
        found = _with_progress(lambda tell: task_live.steer_task(store, asked, tell), "Fitting")
        st.session_state[_key(store, _STEERING)] = found
    if found is not None:
        _stale((found.asked.sentence, found.asked.n, found.asked.components),
               (asked.sentence, asked.n, asked.components))  # fmt: skip
        laundry_figures.steering_figures(found)


def _receiver_input(gaps: tuple[tuple[HeadId, float], ...]) -> HeadId:
    able = {head: gap for head, gap in gaps if head.layer > 0}
    st.session_state.setdefault(_RECEIVER, next(iter(able)))
    if st.session_state[_RECEIVER] not in able:
        st.session_state[_RECEIVER] = next(iter(able))
    return st.selectbox(
        "Receiver", list(able), key=_RECEIVER,
        format_func=lambda head: f"{head.label}  (gap {signed(able[head])})",
        help="Gap: its attention from the last token to the answer's first mention, less that to the "
        "other name's; mean over prompts. Sorted by it.",
    )  # fmt: skip


def _names_live(store: Store, sentences: tuple[Sentence, ...]) -> None:
    left, middle, side = st.columns([56, 26, 18], gap="medium", vertical_alignment="bottom")
    with left:
        sentence = _sentence_input(sentences, 2)
    key = _key(store, f"laundry-clean-{sentence.template}-{sentence.words}")
    clean: TaskRun | None = st.session_state.get(key)
    if clean is None:
        asked = Asked(NAME_INHIBITION, sentence, 2)
        clean = _with_progress(lambda tell: task_live.run_task(store, asked, tell), "Running")
        st.session_state[key] = clean
    laundry_figures.run_words(clean)
    if not clean.overall.beats_chance:
        return
    with middle:
        receiver = _receiver_input(task_live.receivers(store, sentence))
    scores: Scores | None = st.session_state.get(_key(store, _SCORES))
    with side:
        pressed = st.button("Score components", key="laundry-score-button", type="primary")
    if pressed:
        scores = _with_progress(
            lambda tell: task_live.score_components(store, sentence, receiver, tell), "Scoring"
        )
        st.session_state[_key(store, _SCORES)] = scores
        st.session_state.pop(_COMPONENTS, None)  # the list begins with the best of them
    if scores is not None:
        _stale((scores.receiver, scores.sentence), (receiver, sentence))
        laundry_figures.score_figure(scores)


def live(store: Store, task: str, sentences: tuple[Sentence, ...], n: int) -> None:
    """Everything that needs the model."""
    st.html('<h2 class="nt-heading">Run it</h2>')
    if not sentences:
        frame.empty(
            "This model's vocabulary has too few names or nouns as single tokens, or its context is too "
            "short: the task cannot be asked of it."
        )
        return
    if task == LAUNDRY_LIST:
        _list_live(store, sentences, n)
    else:
        _names_live(store, sentences)
