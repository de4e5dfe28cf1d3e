"""The entry script: page settings, "is there a store?", navigation. A router and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import streamlit as st

# `streamlit run explorer/app.py` puts this folder on the path; the package lies in the one above.
_ROOT = str(Path(__file__).resolve().parents[1])
if _ROOT not in sys.path:
    sys.path.insert(0, _ROOT)

from explorer.components.frame import register_pages  # noqa: E402
from explorer.components.page_error import show_page  # noqa: E402
from explorer.resources.message_queue import mend_queue  # noqa: E402
from explorer.resources.page_left import mend_sessions  # noqa: E402
from explorer.resources.session_runs import turn  # noqa: E402
from explorer.resources.stores import current_runs  # noqa: E402

PAGES = ("tokens", "neuron", "head", "map", "live", "channels", "flow", "findings", "about")
HOME = "tokens"


def _page(name: str) -> Callable[[], None]:
    """What a page runs. Its module is imported when it is first shown, for a quick first paint."""

    def run() -> None:
        with turn("page"):
            show_page(import_module(f"explorer.views.{name}").render)

    return run


def main() -> None:
    mend_queue()
    mend_sessions()
    st.set_page_config("Next-token explorer", layout="wide", initial_sidebar_state="collapsed")
    has_runs = bool(current_runs().runs)
    pages = {
        name: st.Page(
            _page(name if has_runs else "no_store"),
            title=name.capitalize(),
            url_path="home" if name == HOME else name,
            default=name == HOME,
        )
        for name in PAGES
    }
    # The home page lies at `/`; its own name is a way to it too.
    alias = st.Page(_page(HOME if has_runs else "no_store"), title=HOME.capitalize(), url_path=HOME,
                    visibility="hidden")  # fmt: skip
    register_pages(pages)
    st.navigation([*pages.values(), alias], position="top" if has_runs else "hidden").run()


main()
