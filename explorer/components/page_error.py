"""What a page shows when the outside world fails it: cause and cure in one line, no traceback."""

from __future__ import annotations

from collections.abc import Callable

import duckdb
import streamlit as st

from explorer.components.chips import plain_markdown
from explorer.core.errors import ExplorerError


def show_page(render: Callable[[], None]) -> None:
    """Run a page; a store, model or file that fails it becomes a message with what repairs it."""
    try:
        render()
    except ExplorerError as error:
        st.error(plain_markdown(str(error)))
    except duckdb.Error as error:
        st.error(
            "The run's file cannot be read any further (it is damaged, or was replaced while open): "
            f"{plain_markdown(str(error).splitlines()[0][:200])}. Reload the page; if it stays, "
            "rebuild the run with: python -m precompute --model MODEL --corpus CORPUS --force"
        )
