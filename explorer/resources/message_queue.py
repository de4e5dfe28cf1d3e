"""A mend of Streamlit's queue to the browser: a fragment's finished run stays finished.

When a fragment's run begins, Streamlit looks through the messages that have not yet gone to the
browser, and turns the end of any fragment's run among them into "ended early". That is right where the
same fragment is drawn again, and its own messages are dropped. Where another fragment comes next (the
watch for newer runs, every other second), the first one's messages are all sent, and its end too must
stay: at that end the browser takes away what is no longer there. Without it heads that are on again
keep the buttons that switch them on.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from streamlit.runtime.forward_msg_queue import ForwardMsgQueue

_MENDED = "_keeps_ends_of_other_fragments"


def _ends_of_others(queue: Any, fragments: set[str]) -> list[tuple[Any, int]]:
    """Messages of ended runs of which some fragment is not among these, with how they ended."""
    return [
        (message, message.script_finished)
        for message in queue
        if message.WhichOneof("type") == "script_finished"
        and set(message.metadata.run.fragment_ids) - fragments
    ]


def _keeping_ends(clear: Callable[..., None]) -> Callable[..., None]:
    @wraps(clear)
    def clear_and_keep(
        self: Any,
        retain_lifecycle_msgs: bool = False,
        fragment_ids_this_run: list[str] | None = None,
    ) -> None:
        ends = _ends_of_others(self._queue, set(fragment_ids_this_run or ()))
        clear(self, retain_lifecycle_msgs, fragment_ids_this_run)
        if fragment_ids_this_run is not None:
            for message, how in ends:
                message.script_finished = how

    return clear_and_keep


def mend_queue() -> None:
    """Have this process's queues keep them; once."""
    if not hasattr(ForwardMsgQueue, _MENDED):
        ForwardMsgQueue.clear = _keeping_ends(ForwardMsgQueue.clear)
        setattr(ForwardMsgQueue, _MENDED, True)
