"""How much of the flow a threshold shows: shares of heads and of neurons, each of its own unit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from explorer.core.flow import (
    select_flow,
    threshold_for,
)

HEADS = np.array([[[0.5, -0.4], [0.1, 0.0]], [[-0.2, 0.05], [0.15, 0.1]], [[9.0, 9.0], [9.0, 9.0]]])
EFFECTS = np.array([2.0, -1.0, 0.25])


def test_shares_are_of_sizes_and_one_for_each_unit() -> None:
    shown = select_flow(HEADS, EFFECTS, 10.0, min_head=0.15, min_neuron=0.5)
    assert shown.neurons == (0, 1)
    assert shown.edges == ((0, 0), (0, 1), (1, 0), (1, 2))
    assert shown.n_left_out == 0
    # 0.5 + 0.4 + 0.2 + 0.15 of 1.0 and 0.5; the hidden neuron's nines count on neither side.
    assert shown.head_share == pytest.approx(1.25 / 1.5)
    assert shown.neuron_share == pytest.approx(3.0 / 10.0)
    # Signed sums would give other shares: 0.05 of 0.3, and 1 of 10.
    assert shown.head_share != pytest.approx(0.05 / 0.3, abs=0.1)


def test_thresholds_change_their_own_share_alone() -> None:
    low = select_flow(HEADS, EFFECTS, 10.0, 0.0, 0.5)
    high = select_flow(HEADS, EFFECTS, 10.0, 0.45, 0.5)
    assert low.head_share == 1.0
    assert high.head_share == pytest.approx(0.5 / 1.5)
    assert low.neuron_share == high.neuron_share
    fewer = select_flow(HEADS, EFFECTS, 10.0, 0.0, 1.5)
    assert (fewer.neurons, fewer.neuron_share) == ((0,), pytest.approx(0.2))


def test_nothing_above_the_threshold_is_no_share_of_heads() -> None:
    none = select_flow(HEADS, EFFECTS, 10.0, 0.0, 99.0)
    assert (none.neurons, none.edges, none.head_share, none.neuron_share) == ((), (), None, 0.0)
    dead = select_flow(np.zeros((2, 1, 2)), np.zeros(2), 0.0, 0.0, 0.0)
    assert (dead.edges, dead.head_share, dead.neuron_share) == ((), None, None)


def test_lines_that_are_too_many_are_left_out_and_not_counted_as_shown() -> None:
    shown = select_flow(HEADS, EFFECTS, 10.0, 0.0, 0.5, max_edges=2)
    assert shown.edges == ((0, 0), (0, 1))
    assert shown.n_left_out == 5
    assert shown.head_share == pytest.approx(0.9 / 1.5)


@given(
    sizes=st.lists(st.floats(0, 5), max_size=40),
    n=st.integers(1, 12),
    step=st.sampled_from([0.01, 0.1, 0.005]),
)
def test_a_threshold_leaves_no_more_than_asked_for(sizes: list[float], n: int, step: float) -> None:
    values = np.array(sizes)
    found = threshold_for(values, n, step)
    n_left = int((values >= found).sum())
    assert found == 0 or found / step == pytest.approx(round(found / step), abs=1e-6)
    if len(values) > n and values.max() > 0:
        assert n_left >= 1
        crowded = np.sort(values)[-n - 1] + step > values.max()
        assert n_left <= n or crowded
        # Control: one step lower would leave more than n.
        assert int((values >= found - 1.001 * step).sum()) > n
    else:
        assert found == 0
