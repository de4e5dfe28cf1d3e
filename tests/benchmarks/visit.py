"""One browser tab at Streamlit's own WebSocket: what it asks for, hears, and polls as a browser does.

A fragment that the server wants run again and again is asked for on time, as a browser's timers do. It
draws nothing.
"""

from __future__ import annotations

import asyncio
import re
import time

from streamlit.proto.Alert_pb2 import Alert
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect

FINISHED = (ForwardMsg.FINISHED_SUCCESSFULLY, ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY)
_OPEN_IT = "-nt-open-new-run"


class Visit:
    """A tab: its page and link as the server last said them, its timers, and what went wrong."""

    def __init__(self, socket: ClientConnection, errors: list[str]) -> None:
        self.socket, self.errors = socket, errors
        self.query = self.page = ""
        self.polls = self.n_ended = 0
        """Fragments run again because it was time; whole pages that ended."""
        self.offered_at: float | None = None
        """When a newer run was first offered."""
        self._open_it = self._offer_fragment = ""
        self._texts: dict[str, str] = {}
        """What the fields hold, by widget."""
        self._timers: dict[str, tuple[float, float]] = {}
        """By fragment: seconds between two runs, and when the next one is due."""

    @property
    def run(self) -> str:
        """The run that the page's link names; empty where none."""
        found = re.search(r"(?:^|&)run=([^&]*)", self.query)
        return "" if found is None else found[1]

    @property
    def is_offered(self) -> bool:
        """Whether a newer run is offered that has not been asked for yet."""
        return bool(self._open_it)

    async def visit(self, page: str, query: str) -> None:
        """Follow a link to a page."""
        message = BackMsg()
        message.rerun_script.page_name = page
        message.rerun_script.query_string = self.query = query
        self._texts.clear()
        self._timers.clear()  # What the page before ran again and again is run no more.
        await self._send(message)

    async def poll(self, fragment: str) -> None:
        """Run a fragment again because its time has come."""
        message = self._asking(fragment)
        message.rerun_script.is_auto_rerun = True
        self.polls += 1
        await self._send(message)

    async def type_into(self, fragment: str, widget: str, text: str) -> None:
        """Commit a field's text."""
        self._texts[widget] = text
        await self._send(self._asking(fragment))

    async def open_newer_run(self) -> None:
        """Press *Open it* beside the offer of a newer run."""
        assert self._open_it, "no newer run is offered"
        message = self._asking(self._offer_fragment)
        state = message.rerun_script.widget_states.widgets.add()
        state.id, state.trigger_value = self._open_it, True
        self._open_it = ""
        self._timers.clear()
        await self._send(message)

    def _asking(self, fragment: str) -> BackMsg:
        message = BackMsg()
        asked = message.rerun_script
        asked.query_string, asked.page_script_hash = self.query, self.page
        asked.fragment_id = fragment
        # A browser says with every request what all fields hold: the server counts on it where it
        # merges requests that wait.
        for widget, text in self._texts.items():
            state = asked.widget_states.widgets.add()
            state.id, state.string_value = widget, text
        return message

    async def _send(self, message: BackMsg) -> None:
        await self.socket.send(message.SerializeToString())

    async def hear_next(self, until: float) -> bool:
        """Hear one message, and poll what is due; False once the clock says `until`."""
        while (now := time.perf_counter()) < until:
            for fragment, (interval, due) in list(self._timers.items()):
                if now >= due:
                    self._timers[fragment] = (interval, now + interval)
                    await self.poll(fragment)
            wake = min([until, *(due for _, due in self._timers.values())])
            try:
                raw = await asyncio.wait_for(
                    self.socket.recv(decode=False), max(0.0, wake - time.perf_counter())
                )
            except TimeoutError:
                continue
            self.hear(ForwardMsg.FromString(raw))
            return True
        return False

    def hear(self, message: ForwardMsg) -> None:
        """Take in what every page says; a kind of visit adds what it checks."""
        kind = message.WhichOneof("type")
        assert kind != "ref_hash", "the server counts on messages that were never kept"
        if kind == "new_session":
            self.page = message.new_session.page_script_hash
        elif kind == "navigation":
            self.page = message.navigation.page_script_hash
        elif kind == "page_info_changed":
            self.query = message.page_info_changed.query_string
        elif kind == "auto_rerun":
            every = message.auto_rerun.interval
            self._timers[message.auto_rerun.fragment_id] = (every, time.perf_counter() + every)
        elif kind == "stop_auto_rerun":
            for fragment in message.stop_auto_rerun.fragment_ids:
                self._timers.pop(fragment, None)
        elif kind == "delta" and message.delta.HasField("new_element"):
            self._hear_trouble_or_offer(message)
        elif kind == "script_finished":
            self.n_ended += message.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY
            if message.script_finished == ForwardMsg.FINISHED_WITH_COMPILE_ERROR:
                self.errors.append("the script does not compile")

    def _hear_trouble_or_offer(self, message: ForwardMsg) -> None:
        element = message.delta.new_element
        kind = element.WhichOneof("type")
        if kind == "exception":
            self.errors.append(f"{element.exception.type}: {element.exception.message}")
        elif kind == "alert" and element.alert.format == Alert.ERROR:
            self.errors.append(f"on the page {self.query}: {element.alert.body}")
        elif kind == "button" and element.button.id.endswith(_OPEN_IT):
            self._open_it, self._offer_fragment = element.button.id, message.delta.fragment_id
            if self.offered_at is None:
                self.offered_at = time.perf_counter()


def joined(url: str) -> connect:
    address = url.replace("http://", "ws://") + "/_stcore/stream"
    return connect(address, subprotocols=["streamlit"], max_size=None)  # pyright: ignore[reportArgumentType]
