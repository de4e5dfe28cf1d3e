"""The Head page's own figures: every prompt is one mark, numbers are those given, texts are escaped."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

import altair as alt
import pandas as pd
import pytest

from explorer.charts.confusion_dots import CELLS, Reference, cell_of, confusion_dots, dot_rows
from explorer.charts.explanation_text import MAX_SHOWN, clauses_html, explanation_html, raw_text
from explorer.charts.export import to_svg
from explorer.charts.prompt_strips import Strip, StripColumns, strips_html
from explorer.charts.removal_strips import removal_rows, removal_strips
from explorer.charts.style import DARK, LIGHT, Palette
from tests.explorer.page_reader import chart_rows, layer_marks

REFERENCES = (
    Reference("This explanation", 0.9, "0.90 (0.75–1.00)", "its own", 0.75, 1.0),
    Reference("Shuffled activity", 0.5, "0.50, p = 0.002", "a null"),
)


def _verdicts(
    n_active: int = 10, n_inactive: int = 10, wrong: tuple[int, ...] = (3, 15)
) -> pd.DataFrame:
    active = [True] * n_active + [False] * n_inactive
    predicted = [truth != (i in wrong) for i, truth in enumerate(active)]
    n = len(active)
    return pd.DataFrame(
        {"prompt_id": range(n), "rank": range(1, n + 1), "active": active, "predicted": predicted,
         "text": "the two towns"}
    )  # fmt: skip


def _removed(active: list[float], inactive: list[float]) -> pd.DataFrame:
    values = [*active, *inactive]
    return pd.DataFrame(
        {"prompt_id": range(len(values)), "split": "train", "rank": range(1, len(values) + 1),
         "value": values, "active": [True] * len(active) + [False] * len(inactive), "text": "a b"}
    )  # fmt: skip


def test_the_cells_cover_every_verdict_once() -> None:
    found = {(a, p): cell_of(a, p) for a in (True, False) for p in (True, False)}
    assert sorted(found.values()) == sorted(CELLS)
    assert found[True, False] == "missed" and found[False, True] == "false alarm"


def test_every_prompt_has_a_dot_of_its_own_right_ones_first() -> None:
    dots, labels, _ = dot_rows(_verdicts())
    assert sorted(dots["prompt_id"]) == list(range(20))
    assert len(set(zip(dots["x"], dots["y"], strict=True))) == 20
    active = dots.query("active").sort_values(by="x")
    assert active["prompt_id"].tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9, 3]
    assert active["right"].tolist() == [True] * 9 + [False]
    assert labels["counted"].tolist() == ["9 of 10 right", "9 of 10 right"]
    assert labels["rate"].tolist() == ["TPR 0.90", "TNR 0.90"]


def test_many_prompts_fold_into_lines_that_do_not_overlap() -> None:
    dots, labels, height = dot_rows(_verdicts(60, 5, ()))
    assert len(set(zip(dots["x"], dots["y"], strict=True))) == 65
    assert min(dots["x"].tolist()) > 0 and max(dots["x"].tolist()) < 1
    assert len(set(dots.query("active")["y"].tolist())) == 3
    assert max(dots.query("active")["y"].tolist()) < labels["y"].tolist()[1] < height


def test_without_one_class_its_row_says_so_and_there_is_no_mean() -> None:
    dots, labels, _ = dot_rows(_verdicts(6, 0, ()))
    assert len(dots) == 6
    assert labels["counted"].tolist() == ["6 of 6 right", "no prompts"]
    assert labels["rate"].tolist() == ["TPR 1.00", "TNR –"]
    without = confusion_dots(_verdicts(6, 0, ()), score=None, palette=LIGHT)
    assert "score" not in without.to_dict()["description"]
    assert not any("mean" in row for rows in chart_rows(without) for row in rows)
    both = confusion_dots(_verdicts(), score=0.9, palette=LIGHT)
    assert [{"y": 35.0, "mean": "mean", "score": "0.90"}] in chart_rows(both)


def test_scores_stand_over_their_nulls_in_the_order_given() -> None:
    drawn = confusion_dots(_verdicts(), score=0.9, references=REFERENCES, palette=LIGHT)
    rows = next(rows for rows in chart_rows(drawn) if "shown" in rows[0])
    assert [(r["name"], r["value"], r["shown"], r["own"]) for r in rows] == [
        ("This explanation", 0.9, "0.90 (0.75–1.00)", True),
        ("Shuffled activity", 0.5, "0.50, p = 0.002", False),
    ]
    assert (rows[0]["low"], rows[0]["high"], rows[1]["low"]) == (0.75, 1.0, None)
    assert rows[0]["y"] < rows[1]["y"]


def test_marks_of_a_removal_are_its_values_and_the_bar_their_median() -> None:
    active, inactive = [-1.2, -0.4, -2.0, 0.1], [0.02, -0.03]
    marks, labels = removal_rows(_removed(active, inactive), 2)
    assert sorted(marks.query("active")["value"]) == sorted(active)
    assert labels["median"].tolist() == pytest.approx([median(active), median(inactive)])
    assert labels["words"].tolist() == ["median −0.80", "median 0.00"]
    assert labels["counted"].tolist() == ["4 prompts", "2 prompts"]
    assert dict(zip(marks["value"], marks["sign"], strict=True)) == {
        v: "lowers" if v < 0 else "raises" for v in (*active, *inactive)
    }


def test_rows_of_a_removal_keep_to_their_lanes() -> None:
    marks, labels = removal_rows(_removed([-0.5] * 40, [0.1] * 40), 2)
    for row in labels.to_dict("records"):
        wanted = "active" if row["name"] == "Active" else "not active"
        places = marks.query(wanted)["y"].tolist()
        assert row["top"] <= min(places) and max(places) <= row["bottom"]
        assert len(set(places)) == 40  # equal values lie side by side
    assert labels["bottom"].tolist()[0] < labels["top"].tolist()[1]


def test_a_row_without_prompts_has_no_median() -> None:
    marks, labels = removal_rows(_removed([-0.5], []), 2)
    assert len(marks) == 1
    assert labels["counted"].tolist() == ["1 prompt", "0 prompts"]
    assert labels["words"].tolist()[1] == "" and pd.isna(labels["median"].tolist()[1])
    drawn = removal_strips(_removed([-0.5], []), quantity="activation", digits=2, palette=LIGHT)
    assert "inactive, 0 prompts." in drawn.to_dict()["description"]


Draw = Callable[..., alt.LayerChart]
DRAWINGS: tuple[Draw, ...] = (
    lambda palette, **chosen: confusion_dots(
        _verdicts(), score=0.9, references=REFERENCES, palette=palette, **chosen
    ),
    lambda palette, **chosen: removal_strips(
        _removed([-1.0, -0.5], [0.1]), quantity="activation", digits=2, palette=palette, **chosen
    ),
)


@pytest.mark.parametrize("draw", DRAWINGS)
def test_figures_take_both_themes_export_and_outline_the_chosen_prompt(draw: Draw) -> None:
    light, dark = draw(palette=LIGHT), draw(palette=DARK)
    assert light.to_dict() != dark.to_dict()
    assert light.to_dict()["description"] == dark.to_dict()["description"]
    assert len(layer_marks(draw(palette=LIGHT, selected=1))) == len(layer_marks(light)) + 1
    svg = to_svg(light, "Title", ["a line"])
    assert "NaN" not in svg and svg.count("<path") > 3


def _uses(palette: Palette, draw: Draw) -> bool:
    return palette.ink in str(draw(palette=palette).to_dict())


@pytest.mark.parametrize("draw", DRAWINGS)
def test_no_colour_of_the_other_theme(draw: Draw) -> None:
    assert _uses(LIGHT, draw) and _uses(DARK, draw)
    assert DARK.ink not in str(draw(palette=LIGHT).to_dict())


def test_words_are_escaped_and_keep_their_lines() -> None:
    shown = explanation_html('  <script>x</script>\n& "y"\x07 ')
    assert "<script>" not in shown
    assert "&lt;script&gt;x&lt;/script&gt;<br>&amp; &quot;y&quot;&lt;0x07&gt;</blockquote>" in shown
    assert clauses_html([]) == ""
    assert "<li>&lt;b&gt; 3 of 5</li>" in clauses_html(["<b> 3 of 5"])


def test_raw_texts_are_cut_and_say_by_how_much() -> None:
    assert raw_text("") == raw_text(None) == "Nothing was stored."
    assert raw_text("<b>") == "<b>"
    cut = raw_text("x" * (MAX_SHOWN + 1234))
    assert cut.startswith("x" * MAX_SHOWN) and cut.endswith("… 1,234 more characters")


def test_a_strip_says_whether_the_explanation_was_right() -> None:
    columns = StripColumns("attention", limit=0.0)
    strips = [
        Strip(prompt_id=i, rank=i, removed="", tokens=("a",), right=right)
        for i, right in enumerate((True, False, None))
    ]
    right, wrong, neither = strips_html(strips, columns).split('<div class="row')[1:]
    assert "✓" in right and "✗" in wrong
    assert "prompt 1: the explanation was wrong about it" in wrong
    assert '<span class="n">2</span>' in neither
