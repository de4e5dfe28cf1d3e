"""Strips of prompts: escaped, readable in both themes, and true to the values given."""

from __future__ import annotations

import re

import pytest

from explorer.charts.prompt_strips import (
    WHITE,
    Strip,
    StripColumns,
    contrast,
    strips_css,
    strips_html,
    text_on,
    tint_step,
)
from explorer.charts.style import DARK, LIGHT
from explorer.charts.token_text import distinct, ending, passage, token_html

COLUMNS = StripColumns("activation", limit=10.0, numbers=("act.",))


def _strip(**changes: object) -> Strip:
    values = {"prompt_id": 7, "rank": 1, "removed": "Once upon", "tokens": (" a", " time"),
              "values": (0.0, 9.9), "numbers": ("9.90",)}  # fmt: skip
    return Strip(**(values | changes))  # type: ignore[arg-type]


def test_tints_follow_the_values() -> None:
    assert [tint_step(v, 10.0) for v in (-1.0, 0.0, 0.1, 5.0, 9.99, 10.0, 12.0)] == [
        None, None, 0, 5, 9, 9, 9
    ]  # fmt: skip
    assert tint_step(float("nan"), 10.0) is None
    html = strips_html([_strip()], COLUMNS)
    assert re.findall(r'class="(tok[^"]*)"', html) == ["tok", "tok peak t9"]


def test_without_values_nothing_is_tinted() -> None:
    html = strips_html([_strip(values=None)], COLUMNS)
    assert re.findall(r'class="(tok[^"]*)"', html) == ["tok", "tok peak"]


def test_values_must_match_tokens() -> None:
    with pytest.raises(ValueError, match="expected 2 values, got 1"):
        _strip(values=(1.0,))


def test_hostile_texts_are_escaped_everywhere() -> None:
    bad = "<b onclick='x'>\"&"
    strip = _strip(removed=bad, tokens=(bad, bad), numbers=(bad,))
    html = strips_html([strip], COLUMNS, label=bad, hint=bad)
    assert "<b " not in html
    assert html.count("&lt;b") == 6


def test_only_the_end_of_a_long_prefix_is_written() -> None:
    removed = "x" * 500 + " the very end of what was removed, here"
    html = strips_html([_strip(removed=removed)], COLUMNS)
    gone = re.findall(r'<span class="gone">([^<]*)</span>', html)[0]
    assert gone == "…" + removed[-40:]
    assert '<span class="cut">' in html


def test_nothing_removed_no_cut() -> None:
    html = strips_html([_strip(removed="")], COLUMNS)
    assert '<span class="cut">' not in html
    assert '<span class="gone"></span>' in html


def test_the_selected_row_alone_is_chosen() -> None:
    html = strips_html([_strip(), _strip(prompt_id=8, rank=2)], COLUMNS, selected=8)
    assert re.findall(r'aria-selected="(\w+)" data-id="(\d)"', html) == [
        ("false", "7"),
        ("true", "8"),
    ]


def test_the_start_token_has_its_own_column() -> None:
    columns = StripColumns("attention", limit=1.0, start=True)
    assert ">62 %</span>" in strips_html([_strip(start_share=0.62)], columns)
    assert ">–</span>" in strips_html([_strip(start_share=None)], columns)
    assert '<span class="start' not in strips_html([_strip(start_share=0.62)], COLUMNS)


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_text_is_readable_on_every_tint(palette: object) -> None:
    for background in palette.amounts:  # type: ignore[attr-defined]
        text = text_on(background, (palette.ink, palette.page, WHITE))  # type: ignore[attr-defined]
        assert contrast(background, text) >= 4.5
    one_for_all = [contrast(b, palette.ink) for b in palette.amounts]  # type: ignore[attr-defined]
    assert min(one_for_all) < 4.5  # so the choice of text colour is needed


def test_contrast_is_that_of_wcag() -> None:
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_css_gives_both_themes() -> None:
    css = strips_css()
    for step in range(10):
        assert f".t{step}{{background:light-dark({LIGHT.amounts[step]},{DARK.amounts[step]})" in css


def test_white_space_is_visible_and_never_trimmed() -> None:
    assert token_html(" a\n") == '<span class="sp">␣</span>a↵'
    assert passage("a  b\n\tc ") == "a  b↵⇥c "
    assert ending("abc", 3) == "abc"
    assert ending("abcd", 3) == "…bcd"


def test_equal_labels_stay_apart() -> None:
    labels = distinct(["a", "b", "a", "a"])
    assert len(set(labels)) == 4
    assert [label.rstrip("\u200b") for label in labels] == ["a", "b", "a", "a"]
