"""A figure as a value: its words, its drawing for any palette, and the table behind it.

Pages, notebooks and files to send show the same figure from the same value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import altair as alt
import pandas as pd

from explorer.charts.export import dressed
from explorer.charts.style import LIGHT, Palette


class Draws(Protocol):
    """A chart as a function of the palette, such as `partial(layer_bars, layers)`."""

    def __call__(self, *, palette: Palette) -> alt.TopLevelMixin: ...


@dataclass(frozen=True)
class Figure:
    """What a page, a notebook or a file shows under one heading."""

    title: str
    """Markdown, escaped."""
    draw: Draws
    data: pd.DataFrame
    """The numbers shown, as a person may want them in a table: units in the column names."""
    help: str
    """Definitions of the numbers, from the glossary."""
    caption: str
    """Markdown, escaped."""

    def chart(self, palette: Palette = LIGHT) -> alt.TopLevelMixin:
        """The chart to stand alone, as in a notebook: with its title, the page's colours and a width."""
        return dressed(self.draw(palette=palette), palette, self.title)
