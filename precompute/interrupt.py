"""Ctrl-C ends the job within two seconds, whatever it is in the middle of, with everything kept.

Python raises KeyboardInterrupt between two of its own steps, which a long product of matrices or a query
can hold up. All that a run keeps is on disk under its name only once it is whole, so that ending the
process at once loses no more than ending it in order: where order takes too long, that is what is done.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_PATIENCE_S = 1.5


@contextmanager
def prompt_stop(last_words: Callable[[], object], status: int = 1) -> Iterator[None]:
    """Within, Ctrl-C that is not answered in time says `last_words` and ends the process.

    Nothing outside the main thread, where signals cannot be watched.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard, told = socket.socketpair()
    told.setblocking(False)
    is_over = threading.Event()

    def watch() -> None:
        # The interpreter writes each signal's number here at once, even while the main thread is busy.
        while signals := heard.recv(64):
            if signal.SIGINT in signals:
                break
        else:
            return
        if not is_over.wait(_PATIENCE_S):
            last_words()
            os._exit(status)

    thread = threading.Thread(target=watch, name="interrupt", daemon=True)
    before = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        signal.set_wakeup_fd(before)
        told.close()  # ends `recv`
        thread.join()
        heard.close()
