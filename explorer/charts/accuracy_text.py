"""Shares of right answers in words, always with their counts, interval and chance: HTML of numbers alone."""

from __future__ import annotations

from explorer.core.accuracy import Accuracy


def whole_percent(share: float) -> str:
    """A share as a whole percentage: `48 %`."""
    return f"{100 * share:.0f} %"


def in_words(found: Accuracy) -> str:
    """`24 of 48, 50 % [36, 64], chance 25 %`; `–` without an answer."""
    if found.share is None:
        return "–"
    low, high = found.interval
    return (
        f"{found.n_right:,} of {found.n:,}, <b>{whole_percent(found.share)}</b> "
        f"[{100 * low:.0f}, {100 * high:.0f}], chance {whole_percent(found.chance)}"
    )


def verdict(found: Accuracy) -> str:
    """Whether a model does a task, with the numbers."""
    return f"{'better' if found.beats_chance else 'not better'} than chance ({in_words(found)})"
