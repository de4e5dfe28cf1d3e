"""Keys of the Tokens page that Streamlit's shortcuts do not reach: Enter in the table, and `/`.

The table keeps Enter for itself (it would enlarge a cell); here it opens the neuron. `/` goes to the
search. The listener sits in the page and presses the page's own controls.
"""

from __future__ import annotations

from streamlit.components.v2 import component

_JS = """
export default function () {
  const listen = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.closest?.("input, textarea, [contenteditable=true]");
    const inTable = event.target.closest?.(".st-key-nt-neuron-table");
    const found = event.key === "Enter" && inTable
      ? document.querySelector(".st-key-neuron-open button")
      : event.key === "/" && !typing
        ? document.querySelector(".st-key-token-search input")
        : null;
    if (!found) return;
    event.preventDefault();
    event.stopPropagation();
    if (event.key === "/") found.select(); else found.click();
  };
  document.addEventListener("keydown", listen, true);
  return () => document.removeEventListener("keydown", listen, true);
}
"""


def token_keys() -> None:
    """Listen while the page is open. Draws nothing, and needs no answer from the server."""
    listen = component("nt_token_keys", html="<span></span>", js=_JS)
    listen(key="nt-token-keys", width="content", height="content")
