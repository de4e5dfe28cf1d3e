"""The token strip of Live: tokens tinted by activation; a click or a key chooses the position."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from streamlit.components.v2 import component

from explorer.components.reports import reported

_HERE = Path(__file__).parent
_HTML = '<div id="strip" role="listbox" tabindex="0" aria-orientation="horizontal"></div>'


@lru_cache(maxsize=1)
def _component() -> Callable[..., Any]:
    return component(
        "token_strip",
        html=_HTML,
        css=(_HERE / "token_strip.css").read_text(encoding="utf-8"),
        js=(_HERE / "token_strip.js").read_text(encoding="utf-8"),
    )


def token_strip(
    tokens: list[dict[str, Any]],
    position: int,
    *,
    prompt: str,
    label: str,
    key: str,
    on_pick: Callable[[int], object],
    on_restore: Callable[[], object],
) -> None:
    """Draw the strip of `charts.token_strip.strip_tokens`; `on_pick` gets a newly chosen index,
    `on_restore` is called for the key Escape.

    `prompt` is what the strip belongs to (attribute `data-prompt`), `label` its name for screen
    readers.
    """

    def picked() -> None:
        index = reported(key).get("picked")
        if index is not None:
            on_pick(int(index))

    data = {"tokens": tokens, "position": position, "prompt": prompt, "label": label}
    _component()(
        key=key, data=data, on_picked_change=picked, on_restored_change=lambda: on_restore()
    )
