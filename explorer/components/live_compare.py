"""Two prompts side by side on Live: the difference B − A per head, per part and per next token."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from explorer.charts import live_difference, live_heads, waterfall
from explorer.charts import next_tokens as next_chart
from explorer.charts.glossary import define
from explorer.components.live_figure import live_figure
from explorer.components.live_panels import heads_table, mlps_by_layer
from explorer.components.theme import current_palette
from explorer.core.store import Store
from explorer.core.types import HeadId, visible
from explorer.resources.live_sides import N_NEXT, Side, difference, parts_of, token_changes
from explorer.resources.live_values import LiveScales, to_field


def _label(a: Side, b: Side) -> str:
    return f"{to_field(b.now.text)} − {to_field(a.now.text)}"


def heads(store: Store, a: Side, b: Side, limits: LiveScales) -> None:
    """What each head adds in B less what it adds in A, on the scale of both."""
    change = difference(a.now, b.now)
    n_layers, n_heads = change.heads.shape
    rows = live_heads.heads_rows(
        change.heads, n_reaching_layers=change.n_reaching_layers, active=(), limit=limits.heads,
        palette=current_palette(), prompt=_label(a, b),
    )  # fmt: skip
    table = heads_table(Side(change, change)).drop(columns="active")
    live_figure(
        "B − A · Heads", live_heads.heads_figure, rows,
        table.rename(columns={"contribution": "B minus A"}),
        key="live-heads-d",
        help=define("Contribution", store.manifest) + " Here: B's less A's.",
        caption="Contribution in B less that in A, now.",
        alt_text="What each head adds in B less what it adds in A, layer down, head across.",
        on_screen=(("legend", False),), n_layers=n_layers,
        n_heads=n_heads, limit=limits.heads, clickable=False,
    )  # fmt: skip


def extent(a: Side, b: Side, named: tuple[HeadId, ...]) -> tuple[float, float]:
    """One axis for the waterfalls of A, B and B − A, before and now."""
    values = [a.before, a.now, b.before, b.now, difference(a.now, b.now)]
    return waterfall.extent_of([parts_of(value, named, mlps_by_layer(a)) for value in values])


def span(store: Store, a: Side, b: Side) -> float:
    """One axis for the next tokens of A, B and B − A: as much probability a pixel."""
    rows = [row for side in (a, b) for row in (*side.next_now()[0], side.next_now()[1])]
    changes = token_changes(a.now, b.now, store.token_texts)
    return max(next_chart.span_of(rows), live_difference.change_span(changes))


def parts(
    store: Store, a: Side, b: Side, named: tuple[HeadId, ...], extent: tuple[float, float]
) -> None:
    """The difference of every part, adding up to the difference of the pre-activations."""
    change = difference(a.now, b.now)
    bars = parts_of(change, named, mlps_by_layer(a))
    table = pd.DataFrame(
        {
            "part": [*(bar.label for bar in bars), waterfall.TOTAL],
            "B minus A": [*(bar.value for bar in bars), change.pre_activation],
        }
    )
    live_figure(
        "B − A · All parts", waterfall.waterfall_figure,
        waterfall.waterfall_rows(bars, change.pre_activation, _label(a, b), is_change=True, extent=extent),
        table,
        key="live-parts-d",
        help=define("Contribution", store.manifest) + " Here: B's less A's.",
        caption="From A's pre-activation to B's. Orange: more in B.",
        alt_text="A waterfall: the difference of every part between B and A, adding up from zero.",
        n_bars=len(bars) + 1, compared=False,
    )  # fmt: skip


def next_tokens(store: Store, a: Side, b: Side, span: float) -> None:
    """The next tokens whose probability differs most."""
    changes = token_changes(a.now, b.now, store.token_texts)
    if not changes:
        st.html('<p class="nt-small">The difference comes with the model.</p>')
        return
    table = pd.DataFrame(
        [(visible(token.text), token.a, token.b, token.b - token.a) for token in changes],
        columns=["token", "A", "B", "B minus A"],
    )
    live_figure(
        "B − A · What comes next", live_difference.change_figure,
        live_difference.change_rows(changes, _label(a, b), span=span),
        table,
        key="live-next-d",
        help=define("P(token)", store.manifest) + " Here: B's less A's, in percentage points.",
        caption="The largest changes of probability. Orange: likelier in B.",
        alt_text="The next tokens whose probability differs most between the two prompts.",
        n_rows=N_NEXT + 1,
    )  # fmt: skip
