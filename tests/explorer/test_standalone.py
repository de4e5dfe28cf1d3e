"""A neuron or a head as one HTML file: whole, escaped, and silent: no script, no request."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from pathlib import Path

import altair as alt
import pandas as pd
import pytest

from explorer.charts import standalone
from explorer.charts.export import bare_svg
from explorer.charts.glossary import define
from explorer.charts.standalone import Html, Section, inline_svg, plain
from explorer.components import neuron_file, pair_file
from explorer.components.neuron_file import neuron_page
from explorer.components.pair_file import pair_page
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from explorer.resources.head_removals import QUANTITIES
from tests.explorer.page_reader import neurons_with, open_page, store_copy
from tests.explorer.seeded import tables
from tests.explorer.seeded_effects import HOSTILE_EXPLANATION, TWICE_EXPLAINED

LINK = "http://127.0.0.1:8501/neuron?neuron=L4N4"
NEURON = NeuronId(*TWICE_EXPLAINED)
MAX_BYTES = 2_000_000
ALLOWED = {
    "html", "head", "meta", "title", "style", "body", "main", "section", "footer", "h1", "h2", "h3", "p",
    "a", "b", "br", "small", "span", "div", "dl", "dt", "dd", "ul", "li", "table", "thead", "tbody", "tr",
    "th", "td", "details", "summary", "pre", "code", "blockquote", "svg", "g", "path", "rect", "line", "text",
    "tspan", "defs", "clipPath", "clippath", "linearGradient", "lineargradient", "stop",
}  # fmt: skip


class _Reader(HTMLParser):
    """The elements, attributes and texts that a browser would see."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str]] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", self.text)


def _head(store: Store, neuron: NeuronId = NEURON) -> HeadId:
    rows = store.head_activity(neuron).query("studied").sort_values(by=["head_layer", "head"])
    return HeadId(int(rows["head_layer"].iloc[0]), int(rows["head"].iloc[0]))


def _neuron(store: Store, neuron: NeuronId = NEURON, link: str = LINK) -> str:
    return neuron_page(store, neuron, split="train", prompt=None, link=link)


def _pair(store: Store, head: HeadId, neuron: NeuronId = NEURON) -> str:
    return pair_page(store, neuron, head, explainer=None, kind=None, link=LINK)


@pytest.fixture(scope="module")
def pages(store: Store) -> list[str]:
    return [_neuron(store), _pair(store, _head(store))]


def test_nothing_in_the_file_can_run_or_call_out(store: Store, pages: list[str]) -> None:
    hostile = neurons_with(store, "<script>")
    assert hostile, "the seeded prompts hold hostile tokens"
    for page in [*pages, _neuron(store, hostile[0]), _pair(store, _head(store), NEURON)]:
        seen = _Reader(page)
        assert seen.tags <= ALLOWED, seen.tags - ALLOWED
        named = {name for _, name, _ in seen.attributes}
        assert not {name for name in named if name.startswith("on") or name in ("src", "srcset")}
        links = [value for _, name, value in seen.attributes if name.endswith("href")]
        assert links == [LINK]
        assert "@import" not in page and not re.search(r"url\((?!#)", page)
        assert ("meta", "content", standalone.POLICY) in seen.attributes
        assert len(page.encode()) < MAX_BYTES
    assert "default-src 'none'" in standalone.POLICY and "script" not in standalone.POLICY


def test_hostile_words_are_shown_as_they_are(pages: list[str]) -> None:
    pair_words = _Reader(pages[1]).text
    assert HOSTILE_EXPLANATION in pair_words
    assert "</pre><script>alert(1)</script>" in pair_words  # of the raw reply
    assert html.escape(HOSTILE_EXPLANATION) in pages[1]


def test_a_link_that_is_no_web_address_is_text(store: Store) -> None:
    page = _neuron(store, link='javascript:alert("x")')
    assert not [1 for tag, name, _ in _Reader(page).attributes if (tag, name) == ("a", "href")]
    assert 'javascript:alert("x")' in _Reader(page).text


def test_the_neurons_page_holds_what_is_stored(store: Store, pages: list[str]) -> None:
    words = _Reader(pages[0]).words
    for split in ("train", "test"):
        for row in store.prompts(NEURON, split).to_dict("records"):
            assert f"{100 * row['probability']:.1f} %" in words
            assert f"{row['activation']:.2f}" in words
    score = store.head_scores(NEURON, _head(store)).set_index("explainer").loc["contrast"]
    assert f"{score['score']:.2f} ({score['ci_low']:.2f}–{score['ci_high']:.2f})" in words
    assert f"Active {int(score['tp'])} {int(score['fn'])}" in _with_spaces(pages[0])
    assert f"Inactive {int(score['fp'])} {int(score['tn'])}" in _with_spaces(pages[0])
    nulls = store.score_nulls(NEURON, _head(store), "contrast").set_index("null_kind")
    assert f"{nulls.loc['other-head', 'score']:.2f}" in words
    for name in neuron_file.TERMS:
        assert define(name, store.manifest) in words
    assert store.manifest["weights_sha256"] in words
    assert store.manifest["model_name"] in words and store.run_id in words
    assert "keep_ratio: 0.8" in words
    assert LINK in words


def _with_spaces(page: str) -> str:
    """The words with a space between cells."""
    return _Reader(page.replace("</td>", " </td>")).words


def test_the_pairs_page_holds_what_is_stored(store: Store, pages: list[str]) -> None:
    head, words = _head(store), _with_spaces(pages[1])
    assert f"Does {head.label} switch on {NEURON.label}" in words
    for explainer in ("contrast", "openai"):
        assert f"Explainer: {explainer}" in words
    removed = store.ablations(NEURON, head)
    for kind in ("zero-last", "zero-all", "mean-last", "mean-all"):
        for active in (True, False):
            mine = removed.loc[(removed["kind"] == kind) & (removed["active"] == active)]
            median = float(mine["delta_activation"].median())
            shown = QUANTITIES["activation"].shown(median)
            row = words[words.index(f"{kind} {_first(removed, kind)}") :][:120]
            assert shown in row
    for name in pair_file.TERMS:
        assert define(name, store.manifest) in words
    attention = store.head_attention(NEURON, head)
    starts = [f"{100 * weights[0]:.0f} %" for weights in attention["weights"]]
    assert all(share in words for share in starts)


def _first(removed: pd.DataFrame, kind: str) -> str:
    mine = removed.loc[(removed["kind"] == kind) & removed["active"]]
    return QUANTITIES["activation"].shown(float(mine["delta_activation"].median()))


def test_names_inside_drawings_are_unique_and_found(pages: list[str]) -> None:
    rows = pd.DataFrame({"x": [0.0, 1.0]})
    drawn = bare_svg(alt.Chart(rows).mark_rect(clip=True).encode(x="x:O", color="x:Q"))
    two = inline_svg(drawn, "a-") + inline_svg(drawn, "b-")
    assert len(set(_Reader(drawn).ids)) < len(_Reader(drawn + drawn).ids)  # what it is for
    for page, n_least in ((two, 4), (pages[0], 1), (pages[1], 0)):
        seen = _Reader(page)
        assert len(seen.ids) == len(set(seen.ids)) >= n_least
        used = {i for _, _, value in seen.attributes for i in re.findall(r"url\(#([^)]+)\)", value)}
        assert used <= set(seen.ids) and len(used) >= n_least


def test_each_mark_says_its_numbers_on_hover(store: Store, pages: list[str]) -> None:
    first = store.attributions(NEURON, "train").iloc[0]
    head = _head(store)
    value = float(first["heads"][head.flat(store.shape.n_heads)])
    found = re.findall(rf"<title>[^<]*Head: {head.label}; Prompt: 1; [^<]*", pages[0])
    assert len(found) >= 1 and f"{abs(value):.2f}" in found[0]


@pytest.mark.parametrize(
    "inside",
    ["<script>alert(1)</script>", '<a href="http://x"><text>x</text></a>', '<rect onload="x()"/>',
     "<foreignObject/>", '<rect href="http://x"/>', '<image href="data:x"/>'],
)  # fmt: skip
def test_a_drawing_that_could_do_something_is_refused(inside: str) -> None:
    svg = '<svg xmlns="http://www.w3.org/2000/svg">{}</svg>'
    assert "rect" in inline_svg(svg.format('<rect width="1"/>'), "a-")
    with pytest.raises(ValueError, match="expected a drawing"):
        inline_svg(svg.format(inside), "a-")


def test_hostile_texts_in_a_drawing_stay_text() -> None:
    evil = "</svg><script>alert(1)</script>\" onload='x' url(#a) &amp;"
    rows = pd.DataFrame({"x": [evil], "y": [1.0]})
    drawn = alt.Chart(rows, title=evil).mark_bar().encode(x="x:N", y="y:Q")
    svg = inline_svg(bare_svg(drawn), "a-")
    seen = _Reader(svg)
    assert "script" not in seen.tags and seen.tags <= ALLOWED
    assert evil in seen.text


def test_texts_of_the_page_itself_are_escaped() -> None:
    page = standalone.page(
        title="<b>t", heading=Html("h"), answer=Html("a"), metrics=[("<i>n", "<i>v", "<i>o")],
        sections=[Section("<u>s", plain("<p>\x07 x"))], link="<a>", date="<d>",
    )  # fmt: skip
    for text in ("<b>t", "<i>n", "<i>v", "<i>o", "<u>s", "<a>", "<d>"):
        assert html.escape(text) in page and text not in page
    assert "\x07" not in page


def test_runs_without_explanations_or_removals_say_so(tmp_path: Path) -> None:
    left_out = ("ablations", "joint_ablations", "neuron_ablations")
    kept = {n: t for n, t in tables(explainer="none").items() if n not in left_out}
    with Store.open(store_copy(tmp_path, "bare", kept)) as bare:
        words = _Reader(_pair(bare, _head(bare))).words
        assert "This run was made without an explainer." in words
        assert "This run holds no removals." in words
        assert "not tested: the model was not re-run without it" in words
        assert "This run was made without an explainer." in _Reader(_neuron(bare)).words


def test_a_head_that_comes_too_late_has_no_figures(store: Store) -> None:
    words = _Reader(_pair(store, HeadId(5, 0))).words
    assert "It cannot: only heads of layers" in words
    assert "Where it looks" not in words


def test_a_neuron_that_is_not_studied_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="expected a studied neuron"):
        _neuron(store, NeuronId(0, 0))


@pytest.mark.parametrize(
    ("view", "offered"), [("neuron", True), ("head", True), ("tokens", False), ("map", False)]
)
def test_the_export_menu_offers_it_where_there_is_one(
    seeded: Store, view: str, offered: bool
) -> None:
    app = open_page(view, neuron=str(NEURON), head=str(_head(seeded)))
    labels = [b.proto.label for b in app.get("download_button")]
    assert ("HTML page, self-contained" in labels) == offered
    assert "JSON, all figures" in labels
