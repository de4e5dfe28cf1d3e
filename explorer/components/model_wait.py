"""What pages that need the model say while it is not there, and the way out of it."""

from __future__ import annotations

import html

import streamlit as st

from explorer.components import frame
from explorer.core.store import Store
from explorer.resources import models
from explorer.resources.models import ModelStatus


def is_coming(status: ModelStatus) -> bool:
    """Whether the model is on its way."""
    return status.state in ("loading", "waiting")


def status_line(
    status: ModelStatus, seconds: float | None = None, *, stored_shown: bool = False
) -> str:
    """The state of the model as a line of HTML; `seconds` is what its last run took."""
    name = html.escape(status.name)
    if status.state == "ready":
        last = f" · last run {seconds:.2f} s" if seconds is not None else ""
        return f'<span class="nt-light ready">●</span>{name} ready{last}'
    meanwhile = " Stored values shown meanwhile." if stored_shown else ""
    words = f"Loading {name}, once.{meanwhile}" if is_coming(status) else f"{name} is not loaded"
    return f'<span class="nt-light">○</span>{words}'


def trouble(store: Store, status: ModelStatus, page: str) -> None:
    """What keeps the model away from `page`, and the way out; nothing where it is there or coming."""
    if status.state == "ready" or is_coming(status):
        return
    key = page.lower()
    if status.state == "asks":
        frame.note(
            f"{page} needs the model. The run names <b>{html.escape(status.message)}</b>, which is no "
            "folder here. It may be a model of the Hugging Face hub; loading it may download it."
        )
        st.button("Load it", key=f"{key}-fetch", on_click=models.fetch, args=(store,))
        return
    frame.note(f"{page} needs the model: {html.escape(status.message)}")
    if status.state == "failed":
        st.button("Try again", key=f"{key}-retry", on_click=models.fetch, args=(store,))


@st.fragment(run_every=1.0)
def await_model(store: Store) -> None:
    """Draws nothing; has the page drawn anew once the model has come or failed."""
    if not is_coming(models.model_status(store)):
        st.rerun()
