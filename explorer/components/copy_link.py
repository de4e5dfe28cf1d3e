"""The button *Copy link*: the browser's own address, which is the whole view, to the clipboard."""

from __future__ import annotations

from streamlit.components.v2 import component

_HTML = '<button type="button">Copy link</button>'
BUTTON_CSS = """
button {
  font: inherit; font-size: 14px; min-height: 36px; padding: 0 12px; white-space: nowrap;
  color: var(--st-text-color); background: var(--st-background-color);
  border: 1px solid var(--st-border-color); border-radius: var(--st-button-radius, 6px);
  cursor: pointer;
}
button:hover { background: var(--st-secondary-background-color); }
button:focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: 2px; }
"""
"""How a button of the frame looks that is a component of its own."""
_JS = """
export default function ({ parentElement }) {
  const button = parentElement.querySelector("button");
  const say = (text) => {
    button.textContent = text;
    clearTimeout(button.wait);
    button.wait = setTimeout(() => { button.textContent = "Copy link"; }, 1600);
  };
  button.onclick = async () => {
    const link = window.location.href;
    try {
      await navigator.clipboard.writeText(link);
      say("Copied");
    } catch {
      window.prompt("Copy this link", link);
    }
  };
  button.setAttribute("aria-live", "polite");
  return () => { clearTimeout(button.wait); };
}
"""


def copy_link() -> None:
    """Draw the button. It needs no answer from the server."""
    # Registered with the running server here, since a module is imported only once in a process.
    draw = component("nt_copy_link", html=_HTML, css=BUTTON_CSS, js=_JS)
    draw(key="nt-copy-link", width="content")
