"""One person who walks the stored pages over Streamlit's own WebSocket, and what a page must say."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection

from explorer.components.chips import token_chip
from explorer.core.store import Store
from explorer.core.types import HeadId, NeuronId
from tests.benchmarks.visit import Visit

PAGES = ("tokens", "neuron", "head", "map", "findings", "channels", "about")
_PATIENCE_S = 60.0
_SAID = {"html": "body", "markdown": "body", "heading": "body", "page_link": "label"}
"""Kinds of elements that hold words, and the field that does."""


@dataclass
class Opened:
    """What people met who opened stored pages."""

    pages: int = 0
    seconds: dict[str, list[float]] = field(default_factory=dict)
    """By page, from the link to the end of its run."""
    errors: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Place:
    """A link to a page, and words that the page must hold."""

    page: str
    query: dict[str, str]
    says: tuple[str, ...]


def places(store_file: Path) -> list[Place]:
    """Ten places of each stored page, for other neurons, tokens and heads of the run: what a seminar
    walks through together."""
    with Store.open(store_file) as store:
        rows = store.sql(
            "SELECT s.layer, s.neuron, t.text, h.head_layer, h.head FROM studied_neurons s "
            "JOIN tokens t USING (token_id) JOIN head_activity h USING (layer, neuron) "
            "WHERE t.text <> '' AND h.split = 'train' "
            "ORDER BY hash(s.layer, s.neuron, h.head_layer, h.head) LIMIT 70"
        )
    found = []
    for n, (layer, neuron, text, head_layer, head) in enumerate(rows.itertuples(index=False)):
        pair = NeuronId(int(layer), int(neuron)), HeadId(int(head_layer), int(head))
        found.append(_place(PAGES[n % len(PAGES)], str(text), *pair))
    return found


def _place(page: str, token: str, neuron: NeuronId, head: HeadId) -> Place:
    pair = {"neuron": str(neuron), "head": str(head)}
    if page == "tokens":
        return Place(page, {"token": token.replace(" ", "␣")}, (f"say {token_chip(token)}?",))
    if page == "neuron":
        return Place(
            page, {"neuron": str(neuron)}, (f"{neuron.label}, the {token_chip(token)} neuron",)
        )
    if page == "head":
        return Place(page, pair, (f"Does {head.label} switch on {neuron.label}?",))
    if page == "map":
        return Place(page, pair, ("Which heads switch on which neurons?", f"{neuron.label} →"))
    if page == "findings":
        return Place(page, {}, ("nt-sentences",))
    if page == "channels":
        return Place(page, {"tab": "heads"}, ("Which heads talk to each other?",))
    return Place(page, {}, ("What the numbers mean",))


class Viewer(Visit):
    """A tab that opens stored pages; each is checked once its run has ended."""

    def __init__(self, socket: ClientConnection, opened: Opened) -> None:
        super().__init__(socket, opened.errors)
        self.opened = opened
        self._words: list[str] = []

    async def open(self, place: Place, run: str | None = None, measured: bool = True) -> None:
        """Follow a link and wait for the whole page."""
        query = place.query if run is None else place.query | {"run": run}
        self._words = []
        n_ended = self.n_ended
        began = time.perf_counter()
        await self.visit(place.page, urlencode(query))
        while self.n_ended == n_ended:
            if not await self.hear_next(began + _PATIENCE_S):
                self.errors.append(f"{place.page} did not come in {_PATIENCE_S:.0f} s")
                break
        seconds = time.perf_counter() - began
        said = "\n".join(self._words)
        for words in place.says:
            if words not in said:
                self.opened.wrong.append(f"{place.page} {place.query} does not say {words}")
        if run is not None and self.run != run:
            self.opened.wrong.append(f"{place.page} is of the run {self.run}, not of {run}")
        if measured:
            self.opened.pages += 1
            self.opened.seconds.setdefault(place.page, []).append(seconds)

    async def rest(self, seconds: float) -> None:
        """Look at the page; its timers go on."""
        until = time.perf_counter() + seconds
        while await self.hear_next(until):
            pass

    def hear(self, message: ForwardMsg) -> None:
        super().hear(message)
        kind = message.WhichOneof("type")
        if kind == "delta" and message.delta.HasField("new_element"):
            element = message.delta.new_element
            name = element.WhichOneof("type")
            if name in _SAID:
                self._words.append(str(getattr(getattr(element, name), _SAID[name])))
