"""One person on Live over Streamlit's own WebSocket, and a check of all that comes back.

It sends what a browser sends for an edit of the prompt: the state of that field, for its fragment.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from streamlit.proto.Element_pb2 import Element
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection

from tests.benchmarks.visit import FINISHED, Visit

SHOWN = "Shown for the prompt: "
N_SAYING = 5
"""What says its prompt: heads, parts, next tokens, truncation curve, and the strip."""

Numbers = dict[str, list[float]]
"""Quantities of a prompt's figures by name, in the order of the rows."""


@dataclass
class Tally:
    """What some people met together."""

    edits: int = 0
    checks: int = 0
    errors: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    """Prompts that Chromium showed late or not at all, because newer ones came."""
    seconds: list[float] = field(default_factory=list)
    numbers: dict[str, Numbers] = field(default_factory=dict)


def _said(element: Element) -> tuple[str | None, Numbers]:
    """The prompt that a sent element says it shows, and its quantities; None where it says none."""
    kind = element.WhichOneof("type")
    if kind == "bidi_component" and element.bidi_component.id.endswith("-live-strip"):
        sent = element.bidi_component
        data: dict[str, Any] = json.loads(sent.json or sent.mixed.json)
        return str(data["prompt"]), {}
    if kind != "vega_lite_chart" or not element.vega_lite_chart.datasets:
        return None, {}
    table = pa.ipc.open_stream(element.vega_lite_chart.datasets[0].data.data).read_all()
    columns = table.to_pydict()
    texts = [t for c in columns.values() for t in c if isinstance(t, str) and t.startswith(SHOWN)]
    if not texts:
        return None, {}
    assert len(texts) == 1, "one figure says several prompts"
    # `value`: heads. `probability`: next tokens. `activation`: the curve.
    quantities = ("value", "probability", "activation")
    numbers = {
        name: [v for v in columns[name] if isinstance(v, float)]
        for name in quantities
        if name in columns
    }
    return texts[0].removeprefix(SHOWN), numbers


class Session(Visit):
    """One person at the WebSocket; `hear` checks all that comes."""

    def __init__(self, socket: ClientConnection, tally: Tally) -> None:
        super().__init__(socket, tally.errors)
        self.tally = tally
        self.sent_at: dict[str, float] = {}
        self.shown = ""
        self._widget = self._fragment = ""
        self._drawn = False
        """Whether the run that is heard drew anything of Live, as a poll does not."""
        self._run: dict[tuple[int, ...], tuple[str, Numbers]] = {}

    async def open(self, text: str) -> None:
        """Open Live on a prompt, and edit on until the model's figures are there."""
        self.sent_at[text] = time.perf_counter()
        await self.visit("live", f"text={text.replace(' ', '+')}")
        for n in range(60):
            end = time.perf_counter() + 2.0
            while not self.shown and await self.hear_next(end):
                pass
            if self.shown:
                return
            # Edits that come faster than they can be drawn would replace each other for ever.
            if self._widget and n % 3 == 0:
                await self.edit(f"{text}{' the' * (n + 1)}")
        self.tally.errors.append(f"Live shows no figures for {text}")

    async def edit(self, text: str) -> None:
        """What a browser sends 150 ms after the last key."""
        self.sent_at[text] = time.perf_counter()
        await self.type_into(self._fragment, self._widget, text)

    async def listen(self, seconds: float, until: str | None = None) -> None:
        """Hear for so long, or until a finished run shows that prompt."""
        end = time.perf_counter() + seconds
        while (until is None or self.shown != until) and await self.hear_next(end):
            pass

    def hear(self, message: ForwardMsg) -> None:
        super().hear(message)
        kind = message.WhichOneof("type")
        if kind == "new_session":
            self._run, self._drawn = {}, False
        elif kind == "delta":
            self._drawn |= message.delta.fragment_id == self._fragment
            if message.delta.HasField("new_element"):
                self._hear_element(message)
        elif (
            # A poll that begins before the end of a run is sent has it called early, whole or not.
            kind == "script_finished"
            and self._drawn
            and (message.script_finished in FINISHED or len(self._run) == N_SAYING)
        ):
            self._finish()

    def _hear_element(self, message: ForwardMsg) -> None:
        element = message.delta.new_element
        if (
            element.WhichOneof("type") == "text_input"
            and element.text_input.id.endswith("-live-text")
        ):  # fmt: skip
            self._widget, self._fragment = element.text_input.id, message.delta.fragment_id
            self._drawn = True
        prompt, numbers = _said(element)
        if prompt is None:
            return
        self._run[tuple(message.metadata.delta_path)] = (prompt, numbers)
        if prompt not in self.sent_at:
            self.tally.wrong.append(f"another person's prompt: {prompt}")

    def _finish(self) -> None:
        """A run that was not overtaken by an edit: its figures stand now."""
        prompts = {prompt for prompt, _ in self._run.values()}
        if not prompts and not self.shown:
            return  # The model is still being loaded.
        if len(prompts) != 1:
            self.tally.wrong.append(f"figures of the prompts {sorted(prompts)} in one run")
            return
        (prompt,) = prompts
        order = list(self.sent_at)
        if prompt not in order:
            return  # Counted where it was heard.
        if len(self._run) != N_SAYING:
            # Streamlit drops what it has not sent yet of a run once the next one begins.
            if prompt == order[-1]:
                self.tally.wrong.append(f"{len(self._run)} figures alone of the prompt {prompt}")
            return
        if self.shown and order.index(prompt) < order.index(self.shown):
            self.tally.wrong.append(f"back to an older prompt: {prompt}")
        self.tally.checks += 1
        if prompt != self.shown:
            self.tally.seconds.append(time.perf_counter() - self.sent_at[prompt])
        self.shown = prompt
        found: Numbers = {}
        for _, numbers in self._run.values():
            found |= numbers
        self.tally.numbers[prompt] = found
