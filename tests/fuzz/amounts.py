"""How many inputs each fuzz test tries: 500 in all under `make test`, over 10,000 under `make soak`."""

from __future__ import annotations

from collections import Counter

from hypothesis import HealthCheck, settings

from tests.sizes import SOAK

QUICK = {
    "job": 100, "explorer": 60, "commands": 60, "url": 120, "pages": 8, "corpora": 100, "stores": 42,
    "tables": 10,
}  # fmt: skip
ALL = {
    "job": 2500, "explorer": 1500, "commands": 1000, "url": 2400, "pages": 200, "corpora": 1800,
    "stores": 1000, "tables": 400,
}  # fmt: skip
AMOUNTS = ALL if SOAK else QUICK
tried: Counter[str] = Counter()
"""Inputs that were really tried, by target; said at the end of the run."""


def inputs(target: str, share: float = 1.0) -> settings:
    """Hypothesis settings of a test that takes `share` of its target's inputs. The quick run tries the
    same ones each time; the long run new ones, and prints how to repeat a failure."""
    return settings(
        max_examples=max(1, round(AMOUNTS[target] * share)),
        derandomize=not SOAK,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
