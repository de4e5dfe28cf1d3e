"""What Live shows below its figures: where a head looks, and direct against causal effect."""

from __future__ import annotations

import html
from collections.abc import Sequence

import pandas as pd
import streamlit as st

from explorer import selection
from explorer.charts import live_attention, live_effects, live_explained
from explorer.charts.glossary import define
from explorer.charts.style import number
from explorer.components.chips import token_chip
from explorer.components.export import collect
from explorer.components.live_figure import live_figure
from explorer.components.live_numbers import kind_input, tip
from explorer.components.live_panels import keyed, titled
from explorer.components.theme import current_palette
from explorer.core.store import Store
from explorer.core.types import HeadId, visible
from explorer.resources.live_explanations import explained
from explorer.resources.live_removal import head_effects, pearson_r
from explorer.resources.live_sides import Removal, Side
from explorer.resources.live_values import to_field

_HEAD, _ASKED = "live-head", "live-effects-asked"


def _strongest_first(side: Side) -> list[HeadId]:
    """The heads that reach the neuron, by what they add, most first."""
    heads, n_heads = side.before.heads, side.before.heads.shape[1]
    ids = [HeadId.from_flat(i, n_heads) for i in range(side.before.n_reaching_layers * n_heads)]
    return sorted(ids, key=lambda head: -float(heads[head.layer, head.index]))


def head_shown(side: Side, chosen: HeadId | None) -> HeadId | None:
    """The head whose attention is shown: the selected one, else the one that adds most."""
    if chosen is not None:
        return chosen
    ids = _strongest_first(side)
    return ids[0] if ids else None


def _head_input(side: Side, head: HeadId) -> None:
    def picked() -> None:
        selection.choose(head=st.session_state[_HEAD])

    ids = _strongest_first(side)
    st.session_state[_HEAD] = head
    st.selectbox(
        "Head", ids if head in ids else [head, *ids], key=_HEAD, on_change=picked,
        format_func=lambda head: head.label, label_visibility="collapsed", width=110,
    )  # fmt: skip


def _heading(title: str, definition: str, caption: str) -> str:
    """A figure's heading as HTML: one element, since all of this is drawn anew at every key.
    `caption` is HTML, the rest text."""
    return (
        f'<h2 class="nt-heading">{html.escape(title)} {tip(definition)}</h2>'
        f'<p class="nt-small nt-under">{caption}</p>'
    )


def attention(store: Store, sides: Sequence[tuple[str, Side]], head: HeadId) -> None:
    """Where a head looks from the position studied, for each prompt."""
    title, value = f"Where {head.label} looks", sides[0][1].before
    definition = define("Attention", store.manifest).replace("peak", "chosen")
    caption = f"Attention from {token_chip(value.token_here)}, all heads on."
    rows: list[tuple[str, str, float]] = []
    strips = []
    for name, side in sides:
        pattern, tag = side.before.attention, f'<span class="nt-side">{name}</span>' if name else ""
        if pattern is None:
            strips.append('<p class="nt-small">The attention comes with the model.</p>')
        elif head.layer >= len(pattern):
            strips.append(f'<p class="nt-small">{head.label} comes after the neuron.</p>')
        else:
            weights = [float(weight) for weight in pattern[head.layer, head.index]]
            strips.append(f'<div class="nt-att-row">{tag}{_strip(side, head, weights)}</div>')
            texts = [live_attention.START, *map(visible, side.before.tokens)]
            rows += [(name or "prompt", *pair) for pair in zip(texts, weights, strict=False)]
    collect(title, pd.DataFrame(rows, columns=["prompt", "token", "attention"]))
    with st.container(key="live-attention"):
        _head_input(sides[0][1], head)
        st.html(_heading(title, definition, caption) + "".join(strips))


def _strip(side: Side, head: HeadId, weights: list[float]) -> str:
    tokens, position = side.before.tokens, side.before.position
    return live_attention.attention_html(
        tokens, weights, position=position, palette=current_palette(),
        label=live_attention.attention_label(head.label, tokens, weights),
    )  # fmt: skip


def effects_asked(removal: Removal) -> bool:
    """The switch for the scatter of direct against causal, which costs a re-run a head."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.toggle("Direct against causal: remove each head alone", key=_ASKED)
        asked = bool(st.session_state.get(_ASKED))
        if asked and not removal:
            kind_input(removal.kind)
    return asked


def effects(store: Store, side: Side, kind: str, name: str = "") -> None:
    """Direct contribution of each head against what is lost without it."""
    found = head_effects(store, side.before, kind)
    r = pearson_r(found)
    agree = sum(effect.agrees for effect in found)
    table = pd.DataFrame(
        {
            "head": [effect.head.label for effect in found],
            "direct": [effect.direct for effect in found],
            "lost without it": [effect.causal for effect in found],
            "active": [effect.active for effect in found],
        }
    )
    words = "has no value here" if r is None else f"= {number(r)}"
    live_figure(
        titled("Direct against causal", name), live_effects.effects_figure,
        live_effects.effect_rows(found, to_field(side.before.text)), table,
        key=keyed("live-effects", name),
        help=define("Contribution", store.manifest) + " " + define("Removing it", store.manifest),
        caption=f"This prompt, {kind}. Dashed: y = x. r {words}; one sign in {agree} of {len(found)}. "
        "Teal: active. Hollow: signs differ.",
        alt_text="Each head's direct contribution against the pre-activation lost without it.",
    )  # fmt: skip


def explanations(store: Store, sides: Sequence[tuple[str, Side]]) -> None:
    """What the run's explanations of the neuron's studied heads say of each prompt, and whether
    they are right; nothing where the run explains none."""
    for name, side in sides:
        rows = [live_explained.ExplainedRow(
            one.head.label, one.explainer, one.text, one.says, one.because, one.active, one.score
        ) for one in explained(store, side.before)]  # fmt: skip
        if not rows:
            continue
        title = titled("What the explanations say here", name)
        collect(title, pd.DataFrame(rows))
        definition = define("Active", store.manifest) + " " + define("Score", store.manifest)
        caption = html.escape(f"{live_explained.right_words(rows)} All heads on.")
        st.html(_heading(title, definition, caption) + live_explained.explained_html(rows))
