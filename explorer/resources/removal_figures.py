"""The figures of Findings about removed heads, as the page and a notebook show them.

Pure functions; Streamlit and the model are not needed. `name` is what captions call the run: markdown,
escaped.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from explorer.charts.effect_scatter import effect_scatter, joint_scatter
from explorer.charts.figure import Figure
from explorer.charts.glossary import define
from explorer.charts.removal_curves import removal_curves
from explorer.resources.removal_tables import (
    MAX_MARKS,
    MEASURES,
    Pick,
    Removals,
    curves,
    joint_rows,
)

_FINE = 1e-4
"""Changes of P(token) up to this size are drawn to a linear scale, larger ones to a logarithmic one:
most are tiny, a few are not."""
SCATTER_TITLE = "Direct contribution against measured effect"
CURVES_TITLE = "Removing a head where it is active, and where it is not"
JOINT_TITLE = "Heads removed together, and one by one"
_KIND_WORDS = {
    "zero-last": "set to zero at the last position", "zero-all": "set to zero at every position",
    "mean-last": "set to its mean at the last position", "mean-all": "set to its mean at every position",
}  # fmt: skip


def scatter_figure(
    removals: Removals, rows: pd.DataFrame, data: pd.DataFrame, pick: Pick, name: str,
    manifest: Mapping[str, Any],
) -> Figure:  # fmt: skip
    """Direct attribution against causal effect. `rows` are the marks (`scatter_rows`), `data` all
    removals (`removal_data`); `pick` is ringed."""
    n = len(removals.rows)
    sample = (
        f" {MAX_MARKS:,} of {n:,} drawn (seeded sample); r is over all." if n > MAX_MARKS else ""
    )
    return Figure(
        SCATTER_TITLE,
        partial(effect_scatter, rows, prompt_id=pick[0], neuron=pick[1], head=pick[2]),
        data,
        help=define("Contribution", manifest)
        + " "
        + define("Removing it", manifest)
        + " Here its sign is turned, so that y = x (dashed) means agreement. For heads set to their mean "
        "x would be the contribution less the mean's, which a store does not hold: no tab. "
        + " ".join(define(term, manifest) for term in ("Correlation", "Same sign", "Interval")),
        caption=f"{name}, head {_KIND_WORDS[removals.kind]}. A mark a prompt and studied head. "
        f"Large: active. Hollow: signs differ.{sample}",
    )


def curve_data(by_kind: Mapping[str, Removals]) -> pd.DataFrame:
    """Means and tests of every kind of removal, by measure."""
    rows = []
    for kind, removals in by_kind.items():
        for measure in MEASURES:
            test = removals.tests[measure]
            active, inactive = (removals.means[measure, a] for a in (True, False))
            rows.append(
                {
                    "kind": kind, "measure": measure,
                    "mean change, active": None if active is None else active.value,
                    "mean change, inactive": None if inactive is None else inactive.value,
                    "KS distance": None if test is None else test.statistic,
                    "p": None if test is None else test.p_value,
                    "active rows": 0 if active is None else active.n,
                    "inactive rows": 0 if inactive is None else inactive.n,
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def curves_figure(
    removals: Removals, data: pd.DataFrame, measure: str, name: str, manifest: Mapping[str, Any]
) -> Figure:
    """Active against inactive removal, with the gap that their test measures. `data`: `curve_data`."""
    test = removals.tests[measure]
    gap = None
    if test is not None:
        shares = [
            float(np.mean(removals.changes(measure, active) <= test.at)) for active in (True, False)
        ]
        gap = (test.at, shares[0], shares[1])
    return Figure(
        CURVES_TITLE,
        partial(
            removal_curves,
            curves(removals, measure),
            gap=gap,
            title=f"change of {measure} when the head is removed",
            fine=None if measure == "pre-activation" else _FINE,
            digits="+.3f" if measure == "pre-activation" else "+.4f",
        ),
        data,
        help=define("Removing it", manifest) + " D: " + define("KS distance", manifest),
        caption=f"{name}, head {_KIND_WORDS[removals.kind]}: share of rows (prompt and studied head, "
        "random neurons included) that change by so much or less.",
    )


def joint_figure(removals: Removals, name: str, manifest: Mapping[str, Any]) -> Figure:
    """Whether heads stand in for each other."""
    rows = joint_rows(removals)
    return Figure(
        JOINT_TITLE,
        partial(joint_scatter, rows),
        rows.drop(columns=["one", "all"]).rename(
            columns={
                "x": "lost one by one, summed",
                "y": "lost together",
                "n_heads": "active heads",
            }
        ),
        help="All active heads of a prompt are removed at once, and their single removals are added up. "
        "Above the dashed line heads stand in for each other: alone, each seems to matter less. "
        + define("Removing it", manifest),
        caption=f"{name}, heads {_KIND_WORDS[removals.kind].replace('its', 'their')}. A mark a prompt; "
        "pre-activation lost.",
    )
