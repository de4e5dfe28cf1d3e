"""Colours and scales of every figure: hue is data, the interface is ink.

Charts take a `Palette` (`LIGHT` or `DARK`), so that a figure is a pure function of its data and its
palette, and an export is the same call with `LIGHT`. Teal is a one-sided amount; orange raises and
blue lowers, always centred on zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import altair as alt


@dataclass(frozen=True)
class Palette:
    """The colours of one theme, by role."""

    page: str
    panel: str
    ink: str
    muted: str
    border: str
    teal: str
    """Flat marks for one-sided amounts."""
    teal_soft: str
    """The same, for marks that stand back."""
    lowers: str
    raises: str
    removed: str
    """Text of a prompt's removed prefix."""
    zero: str
    """A signed cell whose value is nothing."""
    amounts: tuple[str, ...]
    """One-sided scale, little to much."""
    signed: tuple[str, ...]
    """Signed scale, lowers to raises, its middle neutral."""
    runs: tuple[str, ...]
    """Identity of compared runs."""


LIGHT = Palette(
    page="#ffffff", panel="#f7f6f3", ink="#25242a", muted="#66646d", border="#dedbd4",
    teal="#12766a", teal_soft="#8dcabb", lowers="#1f63ad", raises="#b0500a", removed="#77757e",
    zero="#eeedec",
    amounts=("#eef6f3", "#d6ece5", "#b5ddd2", "#8dcabb", "#63b4a3", "#3f9c8b", "#228374",
             "#106a5d", "#075248", "#033b34"),
    signed=("#0f3f78", "#2468b0", "#5b96d2", "#9cc2e8", "#eaedf0", "#f1eeea", "#f2bf8d",
            "#e08d43", "#b8560b", "#7a3403"),
    runs=("#25242a", "#8a4f9e", "#857000", "#8b8993"),
)  # fmt: skip
DARK = Palette(
    page="#15171c", panel="#1e2128", ink="#e9e7e3", muted="#a5a3ab", border="#383c46",
    teal="#6fd0bd", teal_soft="#277c71", lowers="#86b9f0", raises="#f0a765", removed="#8b8c96",
    zero="#2b2b2b",
    amounts=("#1c2b2b", "#1d3d3b", "#1f504b", "#22655d", "#277c71", "#329486", "#48ae9d",
             "#6bc7b5", "#97dfcf", "#c8f4e8"),
    signed=("#b5d6fb", "#7fb3ec", "#4c8bd0", "#2b5f9b", "#262b33", "#302b28", "#8a531d",
            "#c67a30", "#f0a765", "#fdd3a8"),
    runs=("#e9e7e3", "#c79bda", "#cdb44a", "#8d8b95"),
)  # fmt: skip


def palette(dark: bool) -> Palette:
    return DARK if dark else LIGHT


def style_variables() -> str:
    """Every role of the palette as a CSS variable, light and dark at once."""
    roles = ("page", "panel", "ink", "muted", "border", "teal", "teal_soft", "lowers", "raises",
             "removed", "zero")  # fmt: skip
    lines = [
        f"--nt-{role.replace('_', '-')}: light-dark({getattr(LIGHT, role)}, {getattr(DARK, role)});"
        for role in roles
    ]
    lines += [
        f"--nt-amount-{step}: light-dark({LIGHT.amounts[step]}, {DARK.amounts[step]});"
        for step in range(len(LIGHT.amounts))
    ]
    return ":root {" + " ".join(lines) + "}"


def round_up_125(value: float) -> float:
    """The smallest of 1, 2 or 5 times a power of ten that is not below `value`; 1 for 0."""
    if not math.isfinite(value) or value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-9))


def signed_limit(values: Iterable[float]) -> float:
    """Half the width of a signed scale: the 98th percentile of sizes, rounded up to 1, 2 or 5."""
    sizes = sorted(abs(v) for v in values if math.isfinite(v))
    if not sizes:
        return 1.0
    return round_up_125(sizes[min(len(sizes) - 1, math.ceil(0.98 * len(sizes)) - 1)])


def signed_scale(limit: float, colours: Palette) -> alt.Scale:
    """Blue lowers, orange raises, zero neutral. Lab interpolation keeps the middle from tinting
    green; clamping keeps extremes from turning black."""
    return alt.Scale(
        domain=[-limit, limit],
        domainMid=0,
        range=list(colours.signed),
        interpolate="lab",
        clamp=True,
    )


def amount_scale(limit: float, colours: Palette) -> alt.Scale:
    """Little to much, from 0 to `limit`."""
    return alt.Scale(domain=[0, limit], range=list(colours.amounts), interpolate="lab", clamp=True)


def amount_colour(value: float, limit: float, colours: Palette) -> str:
    """The one-sided colour of a value for HTML pieces: the nearest step of the scale."""
    if limit <= 0 or value <= 0:
        return colours.amounts[0]
    return colours.amounts[min(9, int(10 * value / limit))]


def signed(value: float, digits: int = 2) -> str:
    """A signed number with its sign, a true minus and fixed digits: `+0.42`, `−0.15`, `0.00`."""
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0:
        return text
    return ("+" if value > 0 else "−") + text


def number(value: float | None, digits: int = 2) -> str:
    """A number with a true minus and fixed digits; what rounds to nothing is `0.00`, without
    a sign; what is missing is `–`, never 0."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")
