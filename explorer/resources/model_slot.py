"""A model in the background: loaded by a thread of its own, which then does all work with it.

One thread for one model means one job at a time, and sessions take turns. Nothing here imports torch.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future, wait
from typing import Any, Literal, TypeVar

from explorer.core.errors import ExplorerError, OtherWeightsError
from explorer.resources.session_runs import session_id
from explorer.resources.turns import RoundRobin, runs

State = Literal["waiting", "loading", "ready", "failed"]
POINT_TO_IT = "point to it with: python -m explorer --model DIR"
_POLL_S = 0.02
_LONG_S = 0.1
T = TypeVar("T")


class _Worker:
    """A daemon thread that does jobs, the sessions in turn; it never keeps the server from stopping."""

    def __init__(self, name: str) -> None:
        self._jobs: RoundRobin[tuple[Future[Any], Callable[[], Any]]] = RoundRobin()
        self._change = threading.Condition()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def submit(self, job: Callable[[], T], who: Hashable = None) -> Future[T]:
        future: Future[T] = Future()
        with self._change:
            self._jobs.put(who, (future, job))
            self._change.notify()
        return future

    @property
    def n_waiting(self) -> int:
        with self._change:
            return len(self._jobs)

    def _next(self) -> tuple[Future[Any], Callable[[], Any]]:
        with self._change:
            while not len(self._jobs):
                self._change.wait()
            return self._jobs.get()

    def _work(self) -> None:
        while True:
            future, job = self._next()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(job())
            except BaseException as error:  # noqa: BLE001 raised again where the job was asked for
                future.set_exception(error)
            del future, job  # the last answer is not kept until the next job


class ModelSlot:
    """One model: waiting to be asked for, being loaded, ready, or failed. Safe for all threads."""

    def __init__(self, source: str, load: Callable[[str], Any]) -> None:
        self._source, self._load = source, load
        self._change = threading.Lock()
        self._worker: _Worker | None = None
        self._timer: threading.Timer | None = None
        self._model: Any = None
        self.state: State = "waiting"
        self.message = ""
        """Why it failed, ending with what repairs it."""

    def start(self, after_s: float = 0.0) -> None:
        """Begin to load in the background, at once or later; nothing once it has begun."""
        with self._change:
            if self.state != "waiting" or (after_s > 0 and self._timer is not None):
                return
            if after_s > 0:
                self._timer = threading.Timer(after_s, self.start)
                self._timer.daemon = True
                self._timer.start()
                return
            self.state = "loading"
            self._worker = self._worker or _Worker("model")
            self._worker.submit(self._fill)

    def _fill(self) -> None:
        try:
            model = self._load(self._source)
        except OtherWeightsError as error:
            self.message, self.state = f"{error}; {POINT_TO_IT}", "failed"
            return
        except (
            ExplorerError,
            OSError,
            RuntimeError,
            ValueError,
            ImportError,
            MemoryError,
        ) as error:
            self.message = str(error) or type(error).__name__
            self.state = "failed"
            return
        self._model = model
        self.state = "ready"

    @property
    def n_waiting(self) -> int:
        """Jobs that wait for the model."""
        return 0 if self._worker is None else self._worker.n_waiting

    def retry(self) -> None:
        """Forget a failure and load once more."""
        with self._change:
            if self.state != "failed":
                return
            self.state, self.message = "waiting", ""
        self.start()

    def soon(self, job: Callable[[Any], object]) -> None:
        """Have a job done when the model is free, and wait for nothing; nothing without a model."""
        if self._model is not None and self._worker is not None:
            model = self._model
            self._worker.submit(lambda: job(model))

    def use(
        self,
        job: Callable[[Any], T],
        give_way: Callable[[bool], object] = lambda begun: None,
        who: Hashable = None,
    ) -> T:
        """Do a job with the model; one job at a time, the sessions in turn (`who`; by default this
        thread's own).

        While it waits, `give_way` is called again and again, with whether the job has begun. It raises
        where the caller has become stale (a newer keystroke of its session): a job that has not begun
        is then never done. A page that waits long lets others draw meanwhile.
        """
        if self._model is None or self._worker is None:
            raise ExplorerError(f"the model is {self.state}; try again in a moment")
        model, began = self._model, time.monotonic()
        future = self._worker.submit(lambda: job(model), session_id() if who is None else who)
        try:
            while not wait([future], timeout=_POLL_S).done:
                give_way(future.running())
                if time.monotonic() - began > _LONG_S:
                    runs().step_aside()
            runs().step_back()
            return future.result()
        finally:
            future.cancel()
