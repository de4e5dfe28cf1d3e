"""Prompt strips that can be clicked and walked with the arrow keys; Enter opens one in Live.

The HTML comes from `charts.prompt_strips`, where every text is escaped.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from streamlit.components.v2 import component

from explorer.charts.prompt_strips import strips_css
from explorer.components.reports import reported

# Delegated events: the rows are replaced whenever the data changes, the listeners stay.
_JS = """
export default function ({ data, parentElement, setTriggerValue }) {
  let host = parentElement.querySelector("#host");
  if (!host) {
    host = document.createElement("div");
    host.id = "host";
    parentElement.appendChild(host);
  }
  if (host.dataset.html !== data.html) {
    const had_focus = !!host.querySelector(".strips:focus");
    host.innerHTML = data.html;
    host.dataset.html = data.html;
    host.querySelectorAll(".row .text").forEach((text) => { text.scrollLeft = text.scrollWidth; });
    if (had_focus) host.querySelector(".strips")?.focus();
  }
  const rows = () => Array.from(host.querySelectorAll(".row[data-id]"));
  const pick = (row) => {
    if (!row || row.classList.contains("chosen")) return;
    rows().forEach((other) => {
      other.classList.toggle("chosen", other === row);
      other.setAttribute("aria-selected", other === row);
    });
    host.dataset.html = "";
    setTriggerValue("picked", Number(row.dataset.id));
  };
  host.onclick = (event) => pick(event.target.closest(".row[data-id]"));
  host.onkeydown = (event) => {
    const all = rows();
    const place = all.findIndex((row) => row.classList.contains("chosen"));
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      pick(all[Math.max(0, Math.min(all.length - 1, place + step))]);
    } else if (event.key === "Enter" && place >= 0) {
      event.preventDefault();
      setTriggerValue("opened", Number(all[place].dataset.id));
    }
  };
}
"""

_strips = component("prompt_strips", css=strips_css(), js=_JS)


def _picked(key: str, on_pick: Callable[[int], object]) -> None:
    prompt_id = reported(key).get("picked")
    if prompt_id is not None:
        on_pick(int(prompt_id))


def prompt_table(html: str, *, key: str, on_pick: Callable[[int], object]) -> int | None:
    """Draw strips; `on_pick` is called with the prompt id of a clicked row before the page runs
    again. Returns the prompt id whose row was opened with Enter, else None."""
    result: Any = _strips(
        key=key,
        data={"html": html},
        on_picked_change=partial(_picked, key, on_pick),
        on_opened_change=lambda: None,
    )
    return None if result.opened is None else int(result.opened)
