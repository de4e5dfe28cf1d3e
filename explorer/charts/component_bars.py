"""Bars about the singular components of one head: one a component, or one for each thing it meets."""

from __future__ import annotations

from typing import Any, cast

import altair as alt
import pandas as pd

from explorer.charts.channels import channels
from explorer.charts.style import Palette, number, signed
from explorer.charts.token_text import distinct

PICK = "pick"
"""Name of the selection: a list of `{component}`, of `{neuron}`, or of `{prompt_id}`."""
_MONO = "Source Code Pro, monospace"
_ROW = 18
_WORDS = 52
"""Room for numbers at the right of bars."""


def _component_axes(
    n: int, field: str, title: str, palette: Palette, domain: list[float]
) -> tuple[alt.X, alt.Y]:
    plain: dict[str, Any] = {
        "domain": False, "ticks": False, "labelColor": palette.muted, "labelFontSize": 11,
        "titleColor": palette.muted, "titleFontSize": 12, "titleFontWeight": "normal",
        "labelFlush": False,
    }  # fmt: skip
    step = 1 if n <= 16 else 4 if n <= 40 else 8
    across = alt.Axis(title="component", labelAngle=0, values=list(range(0, n, step)), titlePadding=2,
                      labelOverlap=False, **plain)  # fmt: skip
    up = alt.Axis(title=None, tickCount=4, gridColor=palette.border, gridOpacity=0.6, **plain)
    return (
        alt.X("component:O", axis=across,
              scale=alt.Scale(domain=list(range(n)), paddingInner=0.25, paddingOuter=0.2)),
        alt.Y(f"{field}:Q", axis=up, title=title, scale=alt.Scale(domain=domain, nice=False)),
    )  # fmt: skip


def _targets(base: alt.Chart, tooltip: list[alt.Tooltip]) -> alt.Chart:
    """The whole column can be clicked, however short its bar."""
    return (
        base.mark_rect(opacity=0, cursor="pointer")
        .encode(**channels(y=alt.value(0), y2=alt.value("height"), tooltip=tooltip))
        .add_params(alt.selection_point(name=PICK, fields=["component"], on="click"))
    )


def _chosen_column(x: alt.X, component: int, palette: Palette) -> alt.Chart:
    column = alt.Chart(pd.DataFrame({"component": [component]}))
    return column.mark_rect(fill=None, stroke=palette.ink, strokeWidth=1.5, cornerRadius=2).encode(
        **channels(x=x, y=alt.value(-3), y2=alt.value("height"))
    )


def singular_bars(
    values: pd.DataFrame,
    *,
    of: str,
    palette: Palette,
    component: int | None = None,
    height: int = 96,
) -> alt.LayerChart:
    """Singular values of the matrix `of`, largest first. `values` has `component singular_value`; the
    chosen `component` is drawn strong."""
    drawn = values.assign(shown=[number(v) for v in values["singular_value"]])
    top = max([0.0, *drawn["singular_value"].tolist()]) * 1.06 or 1.0
    x, y = _component_axes(len(drawn), "singular_value", "", palette, [0.0, top])
    base = alt.Chart(drawn).encode(**channels(x=x))
    tooltip = [
        alt.Tooltip("component:O", title="Component"),
        alt.Tooltip("shown:N", title="Singular value"),
    ]
    bars = base.mark_bar().encode(**channels(
        y=y,
        color=alt.condition(
            f"datum.component == {-1 if component is None else int(component)}",
            alt.value(palette.teal), alt.value(palette.teal_soft),
        ),
    ))  # fmt: skip
    layers: list[alt.Chart] = [bars, _targets(base, tooltip)]
    if component in set(drawn["component"]):
        layers.append(_chosen_column(x, int(component or 0), palette))
    first = drawn["shown"].tolist()[:1]
    return cast(alt.LayerChart, alt.layer(*layers)).properties(
        height=height,
        description=f"Singular values of {of}: {len(drawn)} components, the first "
        f"{first[0] if first else 'none'}.",
    )


def part_bars(
    parts: pd.DataFrame,
    *,
    total: float,
    palette: Palette,
    component: int | None = None,
    height: int = 132,
) -> alt.LayerChart:
    """What each component adds; all bars sum to `total`. `parts` has `component part value`: part in
    pre-activation units, and `v . w_in`."""
    drawn = parts.assign(
        shown=[signed(v) for v in parts["part"]], reads=[signed(v) for v in parts["value"]]
    )
    sizes = drawn["part"].tolist()
    room = 0.08 * (max([0.0, *sizes]) - min([0.0, *sizes]) or 1.0)
    domain = [min([0.0, *sizes]) - room, max([0.0, *sizes]) + room]
    x, y = _component_axes(len(drawn), "part", "", palette, domain)
    base = alt.Chart(drawn).encode(**channels(x=x))
    tooltip = [
        alt.Tooltip("component:O", title="Component"),
        alt.Tooltip("shown:N", title="Adds (pre-activation)"),
        alt.Tooltip("reads:N", title="v · w_in"),
    ]
    bars = base.mark_bar().encode(
        **channels(
            y=y,
            color=alt.condition(
                "datum.part < 0", alt.value(palette.lowers), alt.value(palette.raises)
            ),
        )
    )
    zero = (
        alt.Chart(pd.DataFrame({"part": [0.0]}))
        .mark_rule(color=palette.muted)
        .encode(**channels(y="part:Q"))
    )
    layers: list[alt.Chart] = [bars, zero, _targets(base, tooltip)]
    if component in set(drawn["component"]):
        layers.append(_chosen_column(x, int(component or 0), palette))
    order = drawn.sort_values("part", key=abs, ascending=False).to_dict("records")
    first = f", the largest component {order[0]['component']}, {order[0]['shown']}" if order else ""
    return cast(alt.LayerChart, alt.layer(*layers)).properties(
        height=height,
        description=f"Parts of {len(drawn)} components, summing to {signed(total)}{first}.",
    )


# --- rows -------------------------------------------------------------------------------------


def _row_axes(
    labels: list[str], field: str, domain: list[float], width: int, palette: Palette
) -> tuple[alt.X, alt.Y]:
    axis = alt.Axis(
        title=None, domain=False, ticks=False, labelFont=_MONO, labelFontSize=12, labelPadding=8,
        labelColor=palette.ink, labelLimit=width, labelFlush=False, labelOverlap=False,
        minExtent=width, maxExtent=width,
    )  # fmt: skip
    scale = alt.Scale(domain=domain, nice=False, range=[0, alt.ExprRef(f"width - {_WORDS}")])
    return (
        alt.X(f"{field}:Q", axis=None, scale=scale),
        alt.Y("label:N", sort=None, axis=axis,
              scale=alt.Scale(domain=labels, paddingInner=0.3)),
    )  # fmt: skip


def _zero(field: str, palette: Palette) -> alt.Chart:
    """Where what lowers and what raises meet."""
    return (
        alt.Chart(pd.DataFrame({field: [0.0]}))
        .mark_rule(color=palette.muted, strokeWidth=1)
        .encode(**channels(x=f"{field}:Q"))
    )


def _numbers(base: alt.Chart, palette: Palette) -> alt.Chart:
    return base.mark_text(align="right", dx=-5, fontSize=12, color=palette.ink).encode(
        **channels(x=alt.value("width"), text="shown:N")
    )


def token_rows(tokens: pd.DataFrame, *, title: str, palette: Palette) -> alt.LayerChart:
    """The tokens that one side of a component points at most, in the order given: `label value`."""
    labels = distinct(tokens["label"])
    drawn = tokens.assign(label=labels, shown=[number(v) for v in tokens["value"]])
    values = [0.0, *drawn["value"].tolist()]
    x, y = _row_axes(labels, "value", [min(values), max(values) or 1.0], 116, palette)
    base = alt.Chart(drawn).encode(**channels(y=y))
    bars = base.mark_bar(color=palette.teal_soft).encode(
        **channels(
            x=x,
            tooltip=[alt.Tooltip("label:N", title="Token"), alt.Tooltip("shown:N", title=title)],
        )
    )
    first = f", first {labels[0]}" if labels else ""
    return cast(alt.LayerChart, alt.layer(bars, _numbers(base, palette))).properties(
        height=_ROW * max(1, len(drawn)), description=f"{title}: {len(drawn)} tokens{first}."
    )


def neuron_rows(
    neurons: pd.DataFrame, *, palette: Palette, neuron: str | None = None
) -> alt.LayerChart:
    """How a component meets what neurons read, in the order given. `neurons` has `neuron` (URL form),
    `label`, `value` (`v . w_in`, signed), `part` and `contribution` (words)."""
    labels = neurons["label"].tolist()
    drawn = neurons.assign(shown=[signed(v) for v in neurons["value"]])
    values = [0.0, *drawn["value"].tolist()]
    x, y = _row_axes(labels, "value", [min(values), max([*values, 0.0]) or 1.0], 178, palette)
    base = alt.Chart(drawn).encode(**channels(y=y))
    tooltip = [
        alt.Tooltip("label:N", title="Neuron"),
        alt.Tooltip("shown:N", title="v · w_in"),
        alt.Tooltip("part:N", title="Adds, mean of its prompts"),
        alt.Tooltip("contribution:N", title="Of the head's"),
    ]
    targets = (
        base.mark_rect(opacity=0, cursor="pointer")
        .encode(**channels(x=alt.value(0), x2=alt.value("width"), tooltip=tooltip))
        .add_params(alt.selection_point(name=PICK, fields=["neuron"], on="click"))
    )
    bars = base.mark_bar(cursor="pointer").encode(**channels(
        x=x, tooltip=tooltip,
        color=alt.condition("datum.value < 0", alt.value(palette.lowers), alt.value(palette.raises)),
    ))  # fmt: skip
    layers: list[alt.Chart] = [targets, bars, _zero("value", palette), _numbers(base, palette)]
    own = drawn.loc[drawn["neuron"] == neuron, ["label"]]
    if len(own):
        layers.append(_chosen_row(own, palette))
    first = f", the largest {labels[0]}" if labels else ""
    return cast(alt.LayerChart, alt.layer(*layers)).properties(
        height=_ROW * max(1, len(drawn)),
        description=f"The component against what {len(drawn)} neurons read{first}.",
    )


def _chosen_row(own: pd.DataFrame, palette: Palette) -> alt.Chart:
    return (
        alt.Chart(own)
        .mark_rect(fill=None, stroke=palette.ink, strokeWidth=1.5, cornerRadius=3)
        .encode(**channels(x=alt.value(0), x2=alt.value("width"), y="label:N"))
    )


def prompt_rows(
    prompts: pd.DataFrame, *, palette: Palette, prompt: int | None = None
) -> alt.LayerChart:
    """One row a prompt, in the order given: bar, the component's part; line, the whole head's.

    `prompts` has `prompt_id label part contribution activation active`, the first two numbers in
    pre-activation units. A dot before the number: the head is active in the prompt.
    """
    labels = distinct(prompts["label"])
    drawn = prompts.assign(
        label=labels,
        shown=[signed(v) for v in prompts["part"]],
        whole=[signed(v) for v in prompts["contribution"]],
        along=[number(v) for v in prompts["activation"]],
        is_active=["yes" if a else "no" for a in prompts["active"]],
    )
    values = [0.0, *drawn["part"].tolist(), *drawn["contribution"].tolist()]
    x, y = _row_axes(labels, "part", [min(values), max(values) or 1.0], 250, palette)
    base = alt.Chart(drawn).encode(**channels(y=y))
    tooltip = [
        alt.Tooltip("label:N", title="Prompt"),
        alt.Tooltip("shown:N", title="The component adds"),
        alt.Tooltip("whole:N", title="The head adds"),
        alt.Tooltip("along:N", title="The component's activation"),
        alt.Tooltip("is_active:N", title="Head active"),
    ]
    targets = (
        base.mark_rect(opacity=0, cursor="pointer")
        .encode(**channels(x=alt.value(0), x2=alt.value("width"), tooltip=tooltip))
        .add_params(alt.selection_point(name=PICK, fields=["prompt_id"], on="click"))
    )
    bars = base.mark_bar(cursor="pointer").encode(**channels(
        x=x, tooltip=tooltip,
        color=alt.condition("datum.part < 0", alt.value(palette.lowers), alt.value(palette.raises)),
    ))  # fmt: skip
    whole = base.mark_tick(color=palette.ink, thickness=2, size=_ROW - 6).encode(
        **channels(x="contribution:Q")
    )
    layers: list[alt.Chart] = [
        targets, bars, _zero("part", palette), whole, _numbers(base, palette),
    ]  # fmt: skip
    own = drawn.loc[drawn["prompt_id"] == prompt, ["label"]]
    if len(own):
        layers.append(_chosen_row(own, palette))
    n_active = prompts["active"].tolist().count(True)
    return cast(alt.LayerChart, alt.layer(*layers)).properties(
        height=_ROW * max(1, len(drawn)),
        description=f"The component's part in {len(drawn)} prompts, the head active in {n_active}.",
    )
