"""The theme of the browser tab: its palette for charts, and the style sheet of our HTML pieces.

HTML pieces use the classes below, whose colours are `light-dark()` pairs, so that they follow the
theme without a rerun. Charts take `current_palette()`; Streamlit reruns a page when its theme flips.
"""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from explorer.charts.style import Palette, palette, style_variables

_STYLE_SHEET = Path(__file__).with_name("page.css")


def current_palette() -> Palette:
    """The colours of the theme that this browser tab shows."""
    return palette(dark=st.context.theme.type == "dark")


def apply_style() -> None:
    """Put the style sheet on the page. Every page does this once, through the frame."""
    sheet = _STYLE_SHEET.read_text(encoding="utf-8")
    # Menus lie outside the app's own element, which alone knows the theme.
    scheme = "dark" if st.context.theme.type == "dark" else "light"
    st.html(f"<style>:root{{color-scheme:{scheme}}}{style_variables()}\n{sheet}</style>")
