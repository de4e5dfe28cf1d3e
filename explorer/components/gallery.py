"""The gallery of the first page: pairs found in the run, and examples to edit, each a link."""

from __future__ import annotations

import html
from typing import Any

import streamlit as st

from explorer.charts.glossary import define
from explorer.charts.style import number
from explorer.components.chips import plain_markdown, token_chip
from explorer.components.page_links import link
from explorer.core.store import Store
from explorer.resources.gallery import LEVEL, Found, Gallery, gallery_of
from explorer.resources.presets import found_presets

_N_EXAMPLES = 4
_MAX_WORDS = 150


def selection_note(shown: Gallery) -> str:
    """How the cards were chosen, so that nobody takes them for typical."""
    chance = f"{shown.n_by_chance:.0f}"
    return (
        f"The best {len(shown.found)} of {shown.n_pairs} explained pairs, by score: chosen, not typical. "
        f"{shown.n_beat} beat shuffled labels (p ≤ {LEVEL:g}; about {chance} would by chance); of these, "
        f"{shown.n_both} lose more where the head is active. Explainer {plain_markdown(shown.explainer)}."
    )


def card_line(one: Found) -> str:
    """What to see in a pair, with its numbers; HTML, texts escaped."""
    words = one.text if len(one.text) <= _MAX_WORDS else one.text[: _MAX_WORDS - 1] + "…"
    p = "p < 0.001" if one.p_value < 0.001 else f"p = {one.p_value:.3f}"
    return (
        f"{html.escape(words)} Right in <b>{one.n_right} of {one.n_test}</b> test prompts (score "
        f"{one.score:.2f}, {p}). Removed, the neuron loses <b>{number(one.lost_active)}</b> where the "
        f"head is active, {number(one.lost_inactive)} elsewhere."
    )


def _card(place: int, one: Found) -> None:
    with st.container(key=f"nt-card-{place}", gap="small", height="stretch"):
        st.html(
            f'<p class="nt-card-title">{one.head.label} → {one.neuron.label} {token_chip(one.token)}</p>'
        )
        st.html(f'<p class="nt-card-line">{card_line(one)}</p>')
        pair: dict[str, Any] = {"neuron": one.neuron, "head": one.head, "token": one.token}
        clear = dict.fromkeys(("text", "pos", "off", "text2", "pos2", "split", "explainer"))
        with st.container(horizontal=True, gap="medium"):
            link("head", f"{one.head.label} →", **{**clear, **pair, "prompt": None})
            link("live", "Live →", **{**clear, **pair, "prompt": one.prompt})


def _kept(text: str) -> str:
    """Text whose percentages are not broken over two lines."""
    return text.replace(" %", "\u00a0%")


def _examples(store: Store) -> None:
    examples = found_presets(str(store.manifest.get("weights_sha256")))[:_N_EXAMPLES]
    if not examples:
        return
    st.html('<h2 class="nt-heading">Examples to edit</h2>')
    for place, (column, one) in enumerate(zip(st.columns(len(examples)), examples, strict=True)):
        with column, st.container(key=f"nt-card-live-{place}", gap="small", height="stretch"):
            link("live", f"{plain_markdown(one.title)} →", **one.fields())
            st.html(f'<p class="nt-card-line">{html.escape(_kept(one.see))}</p>')


def gallery(store: Store) -> None:
    """Draw what was found in the run, and the examples found for its model."""
    shown = gallery_of(store)
    with st.container(key="nt-gallery"):
        if shown is not None and shown.found:
            with st.container(key="nt-figure-gallery", gap=None):
                st.header("Found in this run", anchor=False, help=define("Score", store.manifest)
                          + " " + define("Removing it", store.manifest))  # fmt: skip
                st.caption(selection_note(shown))
            columns = st.columns(len(shown.found))
            for place, (column, one) in enumerate(zip(columns, shown.found, strict=True)):
                with column:
                    _card(place, one)
        _examples(store)
