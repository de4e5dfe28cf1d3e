"""How compared runs are told apart: a colour, a marker and a name each, at most four."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

import altair as alt

from explorer.charts.style import Palette

GLYPHS = ("●", "■", "▲", "◆")
"""Markers of compared runs in text, in order."""
SHAPES = ("circle", "square", "triangle-up", "diamond")
"""The same in charts."""


def _shared_start(names: Sequence[str]) -> str:
    """What all names begin with, up to a hyphen, so that only whole parts of a name are left out."""
    columns = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    start = "".join(letters[0] for letters in columns)
    return start[: start.rfind("-") + 1]


def run_names(runs: Sequence[tuple[str, str, str]]) -> list[str]:
    """Short names of runs given as (run id, model, corpus): the model alone where that tells them
    apart, with the corpus where it does not, and where even that does not with the run id, less what
    all such ids begin with."""
    models = [model for _, model, _ in runs]
    both = [f"{model} · {corpus}" for _, model, corpus in runs]
    names = []
    for (run_id, model, _), pair in zip(runs, both, strict=True):
        if models.count(model) == 1:
            names.append(model)
        else:
            alike = [other for (other, *_), p in zip(runs, both, strict=True) if p == pair]
            own = run_id.removeprefix(_shared_start(alike)) or run_id
            names.append(pair if len(alike) == 1 else f"{model} · {own}")
    return names


def run_colour(names: Sequence[str], palette: Palette) -> alt.Color:
    """Each run's own colour, without a legend."""
    scale = alt.Scale(domain=list(names), range=list(palette.runs[: len(names)]))
    return alt.Color("run:N", scale=scale, legend=None)


def run_shape(names: Sequence[str]) -> alt.Shape:
    """Each run's own marker, without a legend."""
    scale = alt.Scale(domain=list(names), range=list(SHAPES[: len(names)]))
    return alt.Shape("run:N", scale=scale, legend=None)
