"""A neuron or a head as one HTML file to send: the offer in the page's Export menu."""

from __future__ import annotations

from functools import partial

import streamlit as st

from explorer.components.export import file_stem, page_link_url
from explorer.components.neuron_file import neuron_page
from explorer.components.pair_file import pair_page
from explorer.core.store import Store
from explorer.resources.neuron_tables import studied_row
from explorer.selection import Selection


def offer_page_file(step: str, store: Store, chosen: Selection) -> None:
    """A download of the page `step` as one HTML file; nothing on pages that are no neuron's or head's."""
    neuron, head, link = chosen.neuron, chosen.head, page_link_url()
    if neuron is None or studied_row(store, neuron) is None:
        return
    if step == "neuron":
        split, prompt = chosen.split or "train", chosen.prompt
        make = partial(neuron_page, store, neuron, split=split, prompt=prompt, link=link)
        name = file_stem(store.run_id, str(neuron))
    elif step == "head" and head is not None:
        make = partial(
            pair_page, store, neuron, head, explainer=chosen.explainer, kind=chosen.kind, link=link
        )
        name = file_stem(store.run_id, str(neuron), str(head))
    else:
        return
    st.download_button("HTML page, self-contained", make, f"{name}.html", "text/html",
                       key="nt-page-file", on_click="ignore", type="tertiary")  # fmt: skip
