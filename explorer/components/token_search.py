"""The search for a token: as-you-type field, matches as pills, and good tokens to begin with."""

from __future__ import annotations

from typing import Any

import streamlit as st

from explorer import selection
from explorer.components.chips import token_code
from explorer.core.store import Store
from explorer.core.types import visible
from explorer.resources.stores import open_run
from explorer.resources.token_tables import MAX_MATCHES, best_neuron, first_tokens, search

_TYPED, _MATCHES, _FIRST = "token-search", "token-matches", "token-first"
_SHOWN = 6
NO_MATCH = "No token matches. Tokens are pieces of words; try a shorter piece."


def _choose(store: Store, token: str) -> None:
    changes: dict[str, Any] = dict.fromkeys(("head", "prompt", "text", "pos"))
    selection.choose(token=token, neuron=best_neuron(store, token), **changes)


def _store() -> Store:
    run = selection.current().run
    assert run is not None, "the frame has chosen a run before the search is drawn"
    return open_run(run)


def _on_typed() -> None:
    store = _store()
    matches = search(store, st.session_state[_TYPED])
    if matches:
        _choose(store, matches[0])


def _on_match() -> None:
    token = st.session_state[_MATCHES]
    if token is not None:
        _choose(_store(), token)


def _on_first() -> None:
    token = st.session_state[_FIRST]
    if token is not None:
        st.session_state[_TYPED] = visible(token.strip(" "))
        _choose(_store(), token)


def _counted(n: int) -> str:
    count = "1 token matches" if n == 1 else f"{n} tokens match"
    if n >= MAX_MATCHES:
        count = f"{MAX_MATCHES} or more tokens match"
    return count if n <= _SHOWN else f"{count}; the best {_SHOWN}:"


def _pills(label: str, tokens: list[str], token: str, key: str, on_change: Any) -> None:
    st.session_state[key] = token if token in tokens else None
    st.pills(label, tokens, key=key, on_change=on_change, format_func=token_code, wrap=True)


def draw(store: Store, token: str) -> None:
    """The row of the search; choosing a token selects its strongest neuron."""
    st.session_state.setdefault(_TYPED, visible(token.strip(" ")) or visible(token))
    good = first_tokens(store)
    field, matching, first = st.columns([26, 42, 32], gap="medium")
    with field:
        typed = st.text_input(
            "Token",
            key=_TYPED,
            live="150ms",
            on_change=_on_typed,
            max_chars=60,
            icon=":material/search:",
            placeholder="a word, or a piece of one",
            help="Found with and without a leading space; ␣ stands for it.",
        )
    with matching:
        matches = search(store, typed)
        if matches:
            _pills(_counted(len(matches)), matches[:_SHOWN], token, _MATCHES, _on_match)
        elif typed:
            st.html(f'<p class="nt-small" role="status">{NO_MATCH}</p>')
    with first:
        if good:
            _pills("Good first tokens", list(good), token, _FIRST, _on_first)
