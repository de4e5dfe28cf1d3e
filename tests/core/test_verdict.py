"""The answer to "does this head switch on this neuron?" follows its stated rule at the thresholds."""

from __future__ import annotations

import numpy as np
import pytest

from explorer.core.verdict import CLEAR, CONTRAST, SLIGHT, lost_share, verdict


def _case(lost_active: float, lost_inactive: float, n: int = 5) -> tuple[np.ndarray, ...]:
    """Prompts of clean pre-activation 4 in which the removal takes these shares of it."""
    active = np.array([True] * n + [False] * n)
    delta = np.where(active, -4 * lost_active, -4 * lost_inactive)
    return delta, np.full(2 * n, 4.0), active


@pytest.mark.parametrize(
    ("lost_active", "lost_inactive", "answer"),
    [
        (CLEAR + 0.01, 0.0, "yes"),
        (CLEAR - 0.01, 0.0, "hardly"),
        (SLIGHT + 0.01, 0.0, "hardly"),
        (SLIGHT - 0.01, 0.0, "no"),
        (-0.3, 0.0, "no"),
        (0.4, 0.4 / CONTRAST - 0.01, "yes"),
        (0.4, 0.4 / CONTRAST + 0.01, "hardly"),
        (0.4, -0.4, "yes"),
    ],
)
def test_the_thresholds(lost_active: float, lost_inactive: float, answer: str) -> None:
    found = verdict(*_case(lost_active, lost_inactive))
    assert found is not None
    assert found.answer == answer
    assert found.lost_active == pytest.approx(lost_active)
    assert found.lost_inactive == pytest.approx(lost_inactive)
    assert (found.n_active, found.n_inactive) == (5, 5)


def test_hardly_says_which_of_its_two_reasons_holds() -> None:
    weak, everywhere = verdict(*_case(0.05, 0.0)), verdict(*_case(0.4, 0.4))
    assert weak is not None and everywhere is not None
    assert weak.answer == everywhere.answer == "hardly"
    assert (weak.everywhere, everywhere.everywhere) == (False, True)


def test_medians_not_means_decide() -> None:
    delta, clean, active = _case(0.0, 0.0)
    delta[0] = -400.0  # one prompt in five
    found = verdict(delta, clean, active)
    assert found is not None and found.answer == "no"
    delta[:3] = -400.0
    found = verdict(delta, clean, active)
    assert found is not None and found.answer == "yes"


def test_the_unit_of_the_pre_activation_does_not_matter() -> None:
    delta, clean, active = _case(0.15, 0.01)
    one, other = verdict(delta, clean, active), verdict(1000 * delta, 1000 * clean, active)
    assert one is not None and other is not None
    assert one.answer == other.answer
    assert one.lost_active == pytest.approx(other.lost_active)


def test_without_inactive_prompts_the_active_ones_decide() -> None:
    delta, clean, active = _case(0.3, 0.3)
    found = verdict(delta[active], clean[active], active[active])
    assert found is not None
    assert (found.answer, found.lost_inactive, found.n_inactive) == ("yes", None, 0)


def test_there_is_no_answer_without_an_active_prompt_or_anything_to_lose() -> None:
    delta, clean, active = _case(0.3, 0.0)
    assert verdict(delta[~active], clean[~active], active[~active]) is None
    assert verdict(delta, -clean, active) is None
    assert lost_share(delta[:0], clean[:0]) is None
    with pytest.raises(ValueError, match="one clean value a change"):
        lost_share(delta[:3], clean)
