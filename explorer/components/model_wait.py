"""What pages that need the model say while it is not there, and the way out of it."""

from __future__ import annotations

import hashlib
import html

import streamlit as st

from explorer.components import frame
from explorer.core.named_model import NamedModel
from explorer.core.plain_text import one_line
from explorer.core.store import Store
from explorer.resources import models
from explorer.resources.models import ModelStatus

_RISK = (
    "Loading reads weights from safetensors files; no code from the folder is run, nothing is "
    "unpickled. What it computes may still be of somebody's making."
)
_CARD = """<style>
.st-key-nt-consent { background: var(--nt-panel); }
.nt-consent { display: grid; grid-template-columns: max-content 1fr; gap: 4px 18px; margin: 8px 0 0;
  font-size: 15px; line-height: 1.45; color: var(--nt-ink); }
.nt-consent dt { color: var(--nt-muted); }
.nt-consent dd { margin: 0; overflow-wrap: anywhere; }
</style>"""


def _plain(text: str) -> str:
    """Text of a run for HTML: escaped, its control characters named instead of obeyed."""
    return html.escape(one_line(text))


def is_coming(status: ModelStatus) -> bool:
    """Whether the model is on its way."""
    return status.state in ("loading", "waiting")


def status_line(
    status: ModelStatus, seconds: float | None = None, *, stored_shown: bool = False
) -> str:
    """The state of the model as a line of HTML; `seconds` is what its last run took."""
    name = _plain(status.name)
    if status.state == "ready":
        last = f" · last run {seconds:.2f} s" if seconds is not None else ""
        if not status.is_checked:
            last += " · weights not checked: the run names no checksum"
        return f'<span class="nt-light ready">●</span>{name} ready{last}'
    meanwhile = " Stored values shown meanwhile." if stored_shown else ""
    words = f"Loading {name}, once.{meanwhile}" if is_coming(status) else f"{name} is not loaded"
    return f'<span class="nt-light">○</span>{words}'


def _facts(store: Store, named: NamedModel, name: str) -> list[tuple[str, str]]:
    """What a person must know to agree, as (term, HTML)."""
    where = f'<span class="nt-chip" style="white-space: pre-wrap">{_plain(named.source)}</span>'
    if named.kind == "folder":
        facts = [("Folder", where)]
        does = _RISK
    else:
        facts = [("Hub name", f"{where} of the Hugging Face hub")]
        does = f"Loading may download it. {_RISK}"
    sha256 = models.expected_checksum(store)
    expected = (
        f'<span class="nt-chip">{_plain(sha256[:64])}</span> of the weights; others are refused'
        if sha256
        else "<b>none: the run names no checksum, so any weights would be taken for its own</b>"
    )
    return [("Model", _plain(name)), *facts, ("Checksum", expected), ("Loading", does)]


def _ask(store: Store, status: ModelStatus, page: str) -> None:
    """The card on which a person agrees that what the run names be loaded."""
    named = models.named_model(store)
    with st.container(border=True, key="nt-consent"):
        rows = "".join(
            f"<dt>{term}</dt><dd>{words}</dd>" for term, words in _facts(store, named, status.name)
        )
        st.html(
            f'{_CARD}<p class="nt-text" role="status"><b>{page} needs the model that this run names. '
            f'It did not come with the explorer. Load it?</b></p><dl class="nt-consent">{rows}</dl>'
        )
        # Its key is the source's own: a click on a card that showed another one is none on this.
        shown = hashlib.sha256(f"{named.kind} {named.source}".encode("utf-8", "replace"))
        key = f"{page.lower()}-fetch-{shown.hexdigest()[:16]}"
        if st.button("Load this model", key=key, type="primary"):
            models.fetch(store, named)
            st.rerun()  # the whole page: what waits for the model stands outside a fragment
        st.html(
            '<p class="nt-small">Agreeing holds for this model until the explorer is stopped. Where all '
            "runs of the folder are your own: <code>python -m explorer --load-models</code></p>"
        )


def trouble(store: Store, status: ModelStatus, page: str) -> None:
    """What keeps the model away from `page`, and the way out; nothing where it is there or coming."""
    if status.state == "ready" or is_coming(status):
        return
    if status.state == "asks":
        _ask(store, status, page)
        return
    frame.note(f"{page} needs the model: {_plain(status.message)}")
    if status.state == "failed" and st.button("Try again", key=f"{page.lower()}-retry"):
        models.fetch(store)
        st.rerun()


@st.fragment(run_every=1.0)
def await_model(store: Store) -> None:
    """Draws nothing; has the page drawn anew once the model has come or failed."""
    if not is_coming(models.model_status(store)):
        st.rerun()
