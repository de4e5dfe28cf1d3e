"""Noticing that a store was published: watchdog on the one folder, polling where that fails.

A publication is a rename inside the folder, which arrives as `moved`; the watch counts whatever
touches a file that ends as a store does. A reader polls the counter: no callback crosses into the
user interface.
"""

from __future__ import annotations

import threading
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver
from watchdog.observers.polling import PollingObserver

from explorer.core.runs import SUFFIX

_QUIET_EVENTS = ("opened", "closed_no_write")


class FolderWatch(FileSystemEventHandler):
    """Counts the changes to stores in one folder. The folder may come into being later."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._lock = threading.Lock()
        self._count = 0
        self._observer: BaseObserver | None = None
        self._start()

    def _start(self) -> None:
        if self._observer is not None or not self._folder.is_dir():
            return
        for make in (Observer, PollingObserver):
            try:
                observer = make()
                observer.schedule(self, str(self._folder), recursive=False)
                observer.start()
            except OSError:  # no inotify here, or none left
                continue
            self._observer = observer
            return

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Called by watchdog's thread."""
        paths = (str(event.src_path), str(event.dest_path))
        if event.event_type not in _QUIET_EVENTS and any(p.endswith(SUFFIX) for p in paths):
            with self._lock:
                self._count += 1

    def changes(self) -> int:
        """The number of changes seen so far; starts watching if the folder has appeared since."""
        with self._lock:
            if self._observer is None and self._folder.is_dir():
                self._start()
                self._count += 1
            return self._count

    def stop(self) -> None:
        """End the watching thread."""
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
            self._observer = None
