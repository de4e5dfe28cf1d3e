"""The button *Copy as Python*: lines that reproduce the page's numbers, to the clipboard.

The lines are written when they are asked for, from what is selected then: on Live and Flow the
selection moves without the frame being drawn anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.components.v2 import component

from explorer import selection
from explorer.charts.python_text import PythonView, python_text
from explorer.components.copy_link import BUTTON_CSS
from explorer.components.link_check import split_of
from explorer.components.reports import reported
from explorer.core.store import Store
from explorer.resources.channel_tables import read_matrix, read_mode
from explorer.resources.live_values import token_of
from explorer.resources.models import model_source
from explorer.resources.stores import current_runs
from explorer.selection import Selection

_HERE = Path(__file__).parent
_KEY, _WANTED = "nt-copy-python", "python-wanted"
_HTML = (
    '<button type="button" title="Lines that reproduce these numbers">Copy as Python</button>'
    '<dialog aria-label="Lines of Python"><textarea readonly rows="16" cols="90" '
    'aria-label="Lines of Python"></textarea><p>Copy these lines; Esc closes.</p></dialog>'
)
_CSS = """
dialog { border: 1px solid var(--st-border-color); border-radius: 8px; padding: 16px;
  color: var(--st-text-color); background: var(--st-background-color); max-width: calc(100vw - 32px); }
dialog::backdrop { background: rgb(0 0 0 / 0.28); }
textarea { font: 13px var(--st-code-font, monospace); max-width: 100%; color: inherit;
  background: var(--st-secondary-background-color); border: 1px solid var(--st-border-color); }
p { margin: 8px 0 0; font-size: 14px; }
"""
_JS = """
export default function ({ data, parentElement, setTriggerValue }) {
  const button = parentElement.querySelector("button");
  const window_ = parentElement.querySelector("dialog");
  const field = parentElement.querySelector("textarea");
  button.setAttribute("aria-live", "polite");
  button.onclick = () => setTriggerValue("wanted", String(Date.now()));
  const say = (text) => {
    button.textContent = text;
    clearTimeout(button.wait);
    button.wait = setTimeout(() => { button.textContent = "Copy as Python"; }, 1600);
  };
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(data.text);
      say("Copied");
    } catch {
      field.value = data.text;
      if (!window_.open) window_.showModal();
      field.select();
    }
  };
  if (data.wanted && data.wanted !== button.dataset.wanted) {
    button.dataset.wanted = data.wanted;
    copy();
  }
}
"""


def view_of(store: Store, page: str, chosen: Selection) -> PythonView:
    """What the page shows, its defaults filled in."""
    neuron, runs = chosen.neuron, current_runs()
    others = [runs.find(run) for run in chosen.others or ()]
    prompt = chosen.prompt
    split = chosen.split or split_of(store, prompt) or "train"
    if page == "head" and chosen.split is None and neuron is not None and chosen.head is not None:
        tested = not store.head_scores(neuron, chosen.head).empty
        split = "test" if tested else split
    if page == "neuron" and prompt is None and neuron is not None:
        prompt = next(iter(store.prompts(neuron, split)["prompt_id"].tolist()), None)
    return PythonView(
        page=page,
        store=str(store.path.resolve()),
        others=tuple(str(run.path.resolve()) for run in others if run is not None),
        model=model_source(store),
        token=chosen.token,
        token_id=None if neuron is None else token_of(store, neuron),
        neuron=neuron,
        head=chosen.head,
        split=split,
        prompt=prompt,
        explainer=chosen.explainer or store.main_explainer(),
        kind=chosen.kind or "zero-last",
        text=chosen.text,
        pos=chosen.pos,
        off=chosen.off or (),
        text2=chosen.text2,
        pos2=chosen.pos2,
        target=chosen.target,
        min_head=chosen.min_head,
        min_neuron=chosen.min_neuron,
        mode=read_mode(chosen.mode),
        src=chosen.src,
        dst=chosen.dst,
        matrix=read_matrix(chosen.matrix),
        comp=chosen.comp or 0,
    )


def _wanted() -> None:
    st.session_state[_WANTED] = reported(_KEY).get("wanted")


@st.fragment
def copy_python(store: Store, page: str) -> None:
    """Draw the button. A click asks for the lines, which the browser then copies."""
    wanted: Any = st.session_state.pop(_WANTED, None)
    text = python_text(view_of(store, page, selection.current())) if wanted else ""
    draw = component(_KEY, html=_HTML, css=BUTTON_CSS + _CSS, js=_JS)
    draw(key=_KEY, data={"text": text, "wanted": wanted}, on_wanted_change=_wanted, width="content")
