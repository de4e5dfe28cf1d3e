"""A fragment's finished run is told to the browser as finished, whatever fragment is drawn next."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime.forward_msg_queue import ForwardMsgQueue

from explorer.resources import message_queue

DONE = ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY
EARLY = ForwardMsg.FINISHED_EARLY_FOR_RERUN


@pytest.fixture()
def unmended(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """The class as Streamlit has it, and afterwards as it was."""
    clear = getattr(ForwardMsgQueue.clear, "__wrapped__", ForwardMsgQueue.clear)
    monkeypatch.setattr(ForwardMsgQueue, "clear", clear)
    monkeypatch.delattr(ForwardMsgQueue, message_queue._MENDED, raising=False)
    return clear


def drawn(*fragments: str) -> ForwardMsgQueue:
    """What lies in the queue when these fragments were just drawn."""
    queue = ForwardMsgQueue()
    for place, fragment in enumerate(fragments):
        delta = ForwardMsg()
        delta.metadata.delta_path.extend([0, place])
        delta.delta.fragment_id = fragment
        delta.delta.new_element.html.body = fragment
        queue.enqueue(delta)
    end = ForwardMsg()
    end.metadata.run.script_run_id = "one"
    end.metadata.run.fragment_ids.extend(fragments)
    end.script_finished = DONE
    queue.enqueue(end)
    return queue


def left(queue: ForwardMsgQueue) -> tuple[list[str], int]:
    """Whose drawings are still sent, and what their run's end says."""
    messages = queue.flush()
    ends = [m.script_finished for m in messages if m.WhichOneof("type") == "script_finished"]
    assert len(ends) == 1
    return [m.delta.fragment_id for m in messages if m.HasField("delta")], ends[0]


@pytest.mark.parametrize(
    ("before", "after", "sent", "end"),
    [
        (["live"], ["watch"], ["live"], DONE),
        (["live", "watch"], ["watch"], ["live"], DONE),
        (["live"], ["live"], [], EARLY),
        (["live"], ["watch", "live"], [], EARLY),
    ],
)
def test_the_end_stays_where_the_drawing_does(
    unmended: object, before: list[str], after: list[str], sent: list[str], end: int
) -> None:
    message_queue.mend_queue()
    queue = drawn(*before)
    queue.clear(retain_lifecycle_msgs=True, fragment_ids_this_run=after)
    assert left(queue) == (sent, end)


def test_a_whole_page_replaces_all(unmended: object) -> None:
    message_queue.mend_queue()
    queue = drawn("live")
    queue.clear(retain_lifecycle_msgs=True, fragment_ids_this_run=None)
    assert left(queue) == ([], EARLY)


def test_without_the_mend_it_does_not(unmended: object) -> None:
    """The control; once this fails, Streamlit keeps the end itself and the mend can go."""
    queue = drawn("live")
    queue.clear(retain_lifecycle_msgs=True, fragment_ids_this_run=["watch"])
    assert left(queue) == (["live"], EARLY)


def test_it_is_put_in_once(unmended: Callable[..., None]) -> None:
    message_queue.mend_queue()
    mended = ForwardMsgQueue.clear
    assert mended is not unmended
    message_queue.mend_queue()
    assert ForwardMsgQueue.clear is mended
