"""Checks of a store, done once per state of its file, in the background, for all sessions.

The store against itself needs no model. Prompts are recomputed one by one with the model that Live has
loaded, so that keystrokes in Live come between them.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable
from pathlib import Path

import streamlit as st

from explorer.core.errors import ExplorerError
from explorer.core.store import Store
from explorer.core.verify_report import Check
from explorer.core.verify_store import N_CHECKS, cannot_be_run, checks
from explorer.resources import models

N_SAMPLES = 32
SMALL_BYTES = 64_000_000
"""A store up to this size is checked without being asked for: it takes about a second."""
_KEPT = 64
_SECONDS_TO_END = 10.0


class Checking:
    """Checks that are being done, or were. `total` is how many steps there are."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self.checks: tuple[Check, ...] = ()
        self.trouble: str | None = None
        """Why they could not be done."""
        self.error: BaseException | None = None
        self._over = threading.Event()
        self._is_ending = False

    @property
    def is_over(self) -> bool:
        return self._over.is_set()

    def start(self, work: Callable[[Checking], None]) -> None:
        atexit.register(self._end)
        threading.Thread(target=self._run, args=(work,), name="store checks", daemon=True).start()

    def _end(self) -> None:
        """The server stops: a thread inside the database when Python ends would abort the process."""
        self._is_ending = True
        self._over.wait(_SECONDS_TO_END)

    def go_on(self) -> None:
        """Called between steps. Raises ExplorerError where the server is being stopped."""
        if self._is_ending:
            raise ExplorerError("the explorer was stopped")

    def wait(self, seconds: float) -> None:
        self._over.wait(seconds)

    def _run(self, work: Callable[[Checking], None]) -> None:
        try:
            work(self)
        except ExplorerError as error:
            self.trouble = str(error)
        except BaseException as error:  # noqa: BLE001 raised again where it is shown
            self.error = error
        finally:
            self._over.set()
            atexit.unregister(self._end)


class _Known:
    """What is known of each file in the state that it is in."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[tuple[str, Path, tuple[int, int, int]], Checking] = {}

    def get(self, kind: str, path: Path) -> Checking | None:
        return self._found.get((kind, path, _state(path)))

    def start(self, kind: str, path: Path, total: int, work: Callable[[Checking], None]) -> None:
        """Begin, unless it has begun; what could not be done is tried again."""
        key = (kind, path, _state(path))
        with self._lock:
            known = self._found.get(key)
            if known is not None and known.trouble is None and known.error is None:
                return
            while len(self._found) >= _KEPT:
                self._found.pop(next(iter(self._found)))
            started = self._found[key] = Checking(total)
        started.start(work)


@st.cache_resource(show_spinner=False)
def _known() -> _Known:
    return _Known()


def _state(path: Path) -> tuple[int, int, int]:
    """Differs when the file was replaced; zeros where it has gone."""
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return found.st_ino, found.st_mtime_ns, found.st_size


def is_small(store: Store) -> bool:
    return _state(store.path)[2] <= SMALL_BYTES


def own_checks(store: Store) -> Checking | None:
    """The checks of the store against itself; None where nobody has asked for them."""
    return _known().get("own", store.path)


def start_own_checks(store: Store) -> None:
    """Begin to check the store against itself."""
    path = store.path

    def work(checking: Checking) -> None:
        for check in checks(path):
            checking.checks = (*checking.checks, check)
            checking.done += 1
            checking.go_on()

    _known().start("own", path, N_CHECKS, work)


def model_checks(store: Store) -> Checking | None:
    """The samples recomputed from the model; None where nobody has asked for them."""
    return _known().get("model", store.path)


def model_is_ready(store: Store) -> bool:
    """Whether Live has loaded the run's model. Asking loads nothing."""
    return models.slot_of(store, models.model_source(store)).state == "ready"


def start_model_checks(store: Store) -> None:
    """Begin to recompute sampled prompts, where the store's own checks leave prompts to run."""
    slot = models.slot_of(store, models.model_source(store))
    own = own_checks(store)
    broken = cannot_be_run(own.checks) if own is not None else None

    def work(checking: Checking) -> None:
        if broken is not None:
            raise ExplorerError(f"the check “{broken}” must hold first")
        # Torch takes seconds to import; whoever loaded the model has done it.
        from explorer.core.verify_model import Recomputed

        recomputed = Recomputed(store, N_SAMPLES)
        checking.total = len(recomputed.samples)
        for sample in recomputed.samples:
            slot.use(lambda model, sample=sample: recomputed.compare(model, sample))
            checking.done += 1
            checking.go_on()
        checking.checks = tuple(recomputed.checks())

    _known().start("model", store.path, N_SAMPLES, work)
