"""The folder of stores as the server sees it: which runs there are, open ones, and new arrivals.

A store is opened once per server process and shared by all sessions (its calls take cursors of their
own). The folder is listed again only when a file in it has changed.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

import streamlit as st

from explorer.core.errors import StoreError
from explorer.core.runs import SUFFIX, RunList, list_runs
from explorer.core.store import Store
from explorer.core.store_values import check_values
from explorer.resources.folder_watch import FolderWatch

STORE_VARIABLE = "EXPLORER_STORE"
DEFAULT_FOLDER = "runs"

FileState = tuple[int, int, int]
"""Inode, time of change in nanoseconds, size: differs when a file was replaced."""


def store_folder() -> Path:
    """The folder of stores: `--store` of the command line, else `runs/` where the server runs."""
    return Path(os.environ.get(STORE_VARIABLE) or DEFAULT_FOLDER)


def _file_states(folder: Path) -> dict[Path, FileState]:
    states: dict[Path, FileState] = {}
    for path in sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else []:
        try:
            found = path.stat()
        except OSError:  # gone between listing and asking
            continue
        states[path] = (found.st_ino, found.st_mtime_ns, found.st_size)
    return states


class OpenStores:
    """The stores that this server holds open, and its last listing of each folder."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[Path, tuple[FileState, Store]] = {}
        self._lists: dict[Path, tuple[dict[Path, FileState], RunList]] = {}
        self._refused: dict[Path, tuple[FileState, str]] = {}

    def runs(self, folder: Path) -> RunList:
        """The runs of a folder, read again only if a file there is new, changed or gone."""
        with self._lock:
            states = _file_states(folder)
            known = self._lists.get(folder)
            if known is not None and known[0] == states:
                return known[1]
            # DuckDB goes on seeing the old rows of a replaced file until every connection is closed.
            for path, state in states.items():
                if path in self._open and self._open[path][0] != state:
                    self._open.pop(path)[1].close()
            listed = self._without_refused(list_runs(folder), states)
            self._lists[folder] = (states, listed)
            return listed

    def _without_refused(self, listed: RunList, states: dict[Path, FileState]) -> RunList:
        """Runs whose rows were found unfit when they were opened are files that are none."""
        why = {
            path: reason
            for path, (state, reason) in self._refused.items()
            if states.get(path) == state
        }
        runs = tuple(run for run in listed.runs if run.path not in why)
        refused = tuple((path.name, reason) for path, reason in why.items())
        return RunList(runs, tuple(sorted({*listed.unreadable, *refused})))

    def store(self, path: Path) -> Store:
        """The open store of a file, its rows checked once. Raises StoreError with what repairs it."""
        with self._lock:
            if path not in self._open:
                state = _file_states(path.parent).get(path, (0, 0, 0))
                self._open[path] = (state, self._opened(path, state))
            return self._open[path][1]

    def _opened(self, path: Path, state: FileState) -> Store:
        store = Store.open(path)
        try:
            check_values(store.sql, path, store.manifest)
        except StoreError as error:
            store.close()
            self._refused[path] = (state, str(error))
            self._lists.clear()  # the next listing leaves it out
            raise
        return store


@st.cache_resource(show_spinner=False)
def _open_stores() -> OpenStores:
    return OpenStores()


@st.cache_resource(show_spinner=False)
def _watch(folder: Path) -> FolderWatch:
    return FolderWatch(folder)


def current_runs() -> RunList:
    """The runs of the store folder, newest first, and the files that are none, with the reason."""
    return _open_stores().runs(store_folder())


def open_run(run_id: str) -> Store:
    """A run's store, opened once for all sessions. Raises StoreError if there is no such run."""
    found = current_runs().find(run_id)
    if found is None:
        raise StoreError(
            f"there is no run {run_id[:200]} in {store_folder()}; "
            "make one with: python -m precompute --model MODEL --corpus CORPUS"
        )
    return _open_stores().store(found.path)


def folder_changes() -> int:
    """How often the store folder has changed since the server began to watch it."""
    return _watch(store_folder()).changes()
