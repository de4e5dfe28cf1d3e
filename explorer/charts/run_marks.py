"""How compared runs are told apart: a colour, a marker and a name each, at most four."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from explorer.charts.style import Palette

GLYPHS = ("●", "■", "▲", "◆")
"""Markers of compared runs in text, in order."""
SHAPES = ("circle", "square", "triangle-up", "diamond")
"""The same in charts."""


def run_names(runs: Sequence[tuple[str, str, str]]) -> list[str]:
    """Short names of runs given as (run id, model, corpus): the model alone where that tells them
    apart, with the corpus where it does not, with the run id where even that does not."""
    models = [model for _, model, _ in runs]
    both = [f"{model} · {corpus}" for _, model, corpus in runs]
    names = []
    for (run_id, model, _), pair in zip(runs, both, strict=True):
        if models.count(model) == 1:
            names.append(model)
        else:
            names.append(pair if both.count(pair) == 1 else f"{model} · {run_id}")
    return names


def run_colour(names: Sequence[str], palette: Palette) -> alt.Color:
    """Each run's own colour, without a legend."""
    scale = alt.Scale(domain=list(names), range=list(palette.runs[: len(names)]))
    return alt.Color("run:N", scale=scale, legend=None)


def run_shape(names: Sequence[str]) -> alt.Shape:
    """Each run's own marker, without a legend."""
    scale = alt.Scale(domain=list(names), range=list(SHAPES[: len(names)]))
    return alt.Shape("run:N", scale=scale, legend=None)
