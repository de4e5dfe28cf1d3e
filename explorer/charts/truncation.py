"""How much of a prompt a neuron needs: its activation against the number of tokens kept.

The same figure serves a stored prompt (some suffixes evaluated) and a typed one (every suffix). All
marks read one table (`truncation_rows`), and the specification does not depend on its values: a page
that redraws while somebody types keeps the specification and swaps the rows.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

import altair as alt
import pandas as pd

from explorer.charts.channels import channels
from explorer.charts.glossary import percent
from explorer.charts.style import Palette, number

_LOG_FROM = 60
"""Prompts longer than this many tokens get a logarithmic axis, or the end would be squashed."""
_HEADROOM = 1.22
"""The y axis reaches this many times the highest activation, so that words fit above the curve."""
_LOG_TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)


def _ticks(longest: int) -> list[int]:
    """Numbers of tokens to name under the axis: both ends and round ones between."""
    if longest > _LOG_FROM:
        return [n for n in _LOG_TICKS if n < longest * 0.7] + [longest]
    step = next(s for s in (1, 2, 5, 10) if longest <= 7 * s)
    return sorted(
        {1, longest, *(n for n in range(step, longest, step) if longest - n >= step * 0.7)}
    )


def _words_side(kept: int, longest: int) -> str:
    """Which way the words at the cut run: to the right where there is room, else to the left."""
    if longest > _LOG_FROM:
        return "right" if kept**2 > longest else "left"
    return "right" if kept - 1 > 0.45 * (longest - 1) else "left"


def truncation_rows(
    curve: pd.DataFrame,
    *,
    kept: int | None,
    whole_activation: float,
    keep_ratio: float,
    line_label: str | None = None,
    ring_label: str | None = None,
    prompt: str = "",
) -> pd.DataFrame:
    """The marks of the figure, one a row: `role tokens_kept activation least text`.

    `curve` has one row per suffix evaluated: `tokens_kept` (1 or more) and `activation` (post
    non-linearity). `kept` is the chosen cut, None where no suffix keeps `keep_ratio` of
    `whole_activation`. Where the whole prompt's activation is not positive there is nothing to
    keep: neither line nor ring. `prompt` is what the curve belongs to, for screen readers.
    """
    if curve.empty:
        raise ValueError("expected at least one suffix, got none")
    values = {
        int(n): float(a) for n, a in zip(curve["tokens_kept"], curve["activation"], strict=True)
    }
    longest = max(values)
    rows: list[dict[str, Any]] = [
        {"role": "point", "tokens_kept": n, "activation": values[n]} for n in sorted(values)
    ]
    rows += [{"role": "tick", "tokens_kept": n, "text": str(n)} for n in _ticks(longest)]
    if whole_activation > 0:
        threshold = keep_ratio * whole_activation
        words = line_label or f"{percent(keep_ratio)} of the full prompt = "
        rows.append(
            {"role": "line", "tokens_kept": longest, "activation": threshold,
             "text": words + number(threshold)}
        )  # fmt: skip
    if kept is not None and kept in values:
        if kept > 1:
            rows.append({"role": "band", "tokens_kept": kept, "least": 1})
        if kept > 0.25 * longest and kept > 2:
            rows.append({"role": "band_words", "tokens_kept": 1, "text": "too short"})
        unit = "token" if kept == 1 else "tokens"
        label = ring_label or f"kept: last {kept} {unit}, {number(values[kept])}"
        ring = {"tokens_kept": kept, "activation": values[kept]}
        rows.append({"role": "ring", **ring})
        rows.append({"role": f"ring_{_words_side(kept, longest)}", **ring, "text": label})
    room = max(0.1, *values.values()) * _HEADROOM
    shown = f"Shown for the prompt: {prompt}"
    rows.append({"role": "room", "tokens_kept": 1, "activation": room, "text": shown})
    return pd.DataFrame(rows, columns=["role", "tokens_kept", "activation", "least", "text"])


def _longest(curve: pd.DataFrame) -> int:
    return max(int(n) for n in curve["tokens_kept"])


def is_long(curve: pd.DataFrame) -> bool:
    """Whether the curve's prompt is long enough for a logarithmic axis."""
    return _longest(curve) > _LOG_FROM


def _x(long: bool, palette: Palette) -> alt.X:
    """Tokens kept, descending: the whole prompt at the left, one token at the right.

    The numbers under the axis are marks of their own, since they follow the rows.
    """
    axis = alt.Axis(
        title="tokens kept (log scale)" if long else "tokens kept", titlePadding=26, labels=False,
        ticks=False, grid=False, domainColor=palette.border, titleColor=palette.muted,
        titleFontWeight="normal", titleFontSize=12,
    )  # fmt: skip
    scale = alt.Scale(type="log" if long else "linear", reverse=True, nice=False, zero=False)
    return alt.X("tokens_kept:Q", scale=scale, axis=axis)


def _y(palette: Palette) -> alt.Y:
    axis = alt.Axis(
        title=None, grid=True, gridColor=palette.border, gridOpacity=0.6, domain=False, ticks=False,
        labelColor=palette.muted, labelFontSize=12, tickCount=4,
    )  # fmt: skip
    return alt.Y("activation:Q", axis=axis, scale=alt.Scale(zero=True, nice=False))


def _words(chart: alt.Chart, role: str, **style: Any) -> alt.Chart:
    """Text of one role at its own place, unless a layer says otherwise."""
    return _of(chart, role).mark_text(**style).encode(**channels(text="text:N"))


def _of(chart: alt.Chart, role: str) -> alt.Chart:
    return chart.transform_filter(f"datum.role == '{role}'")


def _layers(long: bool, palette: Palette) -> list[alt.Chart]:
    x, y = _x(long, palette), _y(palette)
    flat = alt.Chart().encode(**channels(x=x))
    placed = flat.encode(**channels(y=y))
    muted: dict[str, Any] = {"color": palette.muted, "fontSize": 12}
    strong: dict[str, Any] = {
        "color": palette.ink,
        "fontSize": 12.5,
        "fontWeight": 600,
        "baseline": "top",
    }
    tooltip = [
        alt.Tooltip("tokens_kept:Q", title="Tokens kept", format="d"),
        alt.Tooltip("activation:Q", title="Activation", format=".2f"),
    ]
    points, top = _of(placed, "point"), alt.value(2)
    return [
        _of(flat, "band").mark_rect(color=palette.panel).encode(**channels(x2="least:Q")),
        _words(flat, "band_words", align="right", baseline="bottom", dx=-4, dy=-4, **muted).encode(**channels(
            y=alt.value("height")
        )),
        _words(flat, "tick", baseline="top", dy=6, **muted).encode(**channels(y=alt.value("height"))),
        _of(alt.Chart(), "line").mark_rule(strokeDash=[5, 3], color=palette.ink).encode(**channels(y=y)),
        _words(alt.Chart(), "line", align="left", baseline="top", dx=4, dy=5, **muted).encode(**channels(
            x=alt.value(0), y=y
        )),
        _of(placed, "room").mark_point(opacity=0, size=1, tooltip=None).encode(
            **channels(description="text:N")
        ),
        _of(placed, "ring").mark_rule(strokeDash=[1, 2], color=palette.muted).encode(
            **channels(y2=alt.value(16))
        ),
        points.mark_line(color=palette.teal, strokeWidth=2),
        points.mark_point(color=palette.teal, filled=True, size=26, opacity=1),
        points.mark_point(size=300, opacity=0, filled=True).encode(**channels(tooltip=tooltip)),
        _of(placed, "ring").mark_point(
            shape="circle", size=130, filled=True, fill=palette.page, stroke=palette.ink,
            strokeWidth=2, opacity=1,
        ),
        _words(flat, "ring_right", align="left", dx=-5, **strong).encode(**channels(y=top)),
        _words(flat, "ring_left", align="right", dx=5, **strong).encode(**channels(y=top)),
    ]  # fmt: skip


def truncation_figure(
    rows: pd.DataFrame, *, long: bool, palette: Palette, height: int = 150, description: str = ""
) -> alt.LayerChart:
    """The figure of `truncation_rows`; `long` chooses the logarithmic axis."""
    drawn = _drawing(long, palette).properties(data=rows, height=height, description=description)
    return cast(alt.LayerChart, drawn)


@lru_cache(maxsize=4)
def _drawing(long: bool, palette: Palette) -> alt.LayerChart:
    """The layers without rows: composing them takes longer than all else on the page."""
    return cast(alt.LayerChart, alt.layer(*_layers(long, palette)))


def describe_truncation(curve: pd.DataFrame, kept: int | None, whole: float) -> str:
    """The figure in one sentence, for alt text."""
    longest = _longest(curve)
    start = f"Activation against tokens kept, from {longest} down to 1; {number(whole)} with all."
    if kept is None:
        return start + " No ending keeps enough of it."
    return start + f" The last {kept} are enough."


def truncation_chart(
    curve: pd.DataFrame,
    *,
    kept: int | None,
    whole_activation: float,
    keep_ratio: float,
    palette: Palette,
    height: int = 150,
) -> alt.LayerChart:
    """Activation at the prompt's last token against tokens kept, descending (see the module)."""
    rows = truncation_rows(
        curve, kept=kept, whole_activation=whole_activation, keep_ratio=keep_ratio
    )
    words = describe_truncation(curve, kept, whole_activation)
    return truncation_figure(
        rows, long=is_long(curve), palette=palette, height=height, description=words
    )
