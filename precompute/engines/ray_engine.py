"""The engine of a cluster: Ray actors that each hold the model, fed with shards as they become free.

Ray starts a killed actor anew and gives it the task that it had, so that a lost worker costs its shard
alone. Only this process writes: results come back to it, and no node needs its disk.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from explorer.core.errors import CallError, ExplorerError, first_line
from explorer.core.model import LanguageModel
from precompute.checkpoint import Tables
from precompute.config import JobConfig
from precompute.engines.protocol import Ready, ShardWork
from precompute.worker import Worker, batch_tokens_on

_TRIES = 3
"""How often a shard whose worker dies is given to another: a shard may be what kills it."""
_PATIENCE_S = 10.0
_LONGEST = 300
"""Characters of an error of the cluster that are shown."""
_LOCAL_STORE_BYTES = 256 << 20
"""Shared memory of a cluster that is started here: shards are small."""


class _Actor:
    """A worker in a process of the cluster."""

    def __init__(self, config: JobConfig, device: str, expected: str, n_threads: int) -> None:
        import torch

        from explorer.core.model import load_model

        torch.set_num_threads(n_threads)
        model = load_model(config.model, device)
        if model.weights_sha256 != expected:
            raise ExplorerError(
                f"a worker finds other weights at {config.model} than this machine; give every machine "
                "of the cluster the same model"
            )
        self._worker = Worker(model, config)

    def work(self, function: ShardWork, task: Any, ticket: int) -> tuple[int, Tables, int]:
        halver = self._worker.model.halver
        before = halver.n_halved
        tables = function(self._worker, task)
        return ticket, tables, halver.n_halved - before


class RayEngine:
    """Actors of a Ray cluster: the one at `--ray-address`, else one that is started on this machine."""

    def __init__(
        self, config: JobConfig, model: LanguageModel, say: Callable[[str], None] = lambda _: None
    ) -> None:
        self._config, self._model, self._say = config, model, say
        self._n_submitted = 0
        self._ray = _ray()
        # Set before Ray is connected: what it reports of its use goes to its makers.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "error")

    def __enter__(self) -> Self:
        config = self._config
        self._connect()
        resources = self._ray.cluster_resources()
        n_gpus = int(resources.get("GPU", 0)) if config.device != "cpu" else 0
        if config.device == "cuda" and n_gpus == 0:
            self._ray.shutdown()
            raise CallError("the cluster has no GPU; use --device cpu, or add machines with one")
        n_cpus = max(1, int(resources.get("CPU", 1)))
        machines = [node for node in self._ray.nodes() if node["Alive"]]
        n_workers = config.workers or n_gpus or len(machines)
        n_threads = max(1, n_cpus // n_workers)
        limit = n_gpus or n_cpus
        if n_workers > limit:
            self._ray.shutdown()
            raise CallError(
                f"--workers {n_workers}: the cluster has room for {limit} "
                f"({'one a GPU' if n_gpus else 'one a CPU'})"
            )
        device = "cuda" if n_gpus else "cpu"
        self.batch_tokens, self.ahead = batch_tokens_on(device), 2 * n_workers
        self._say(f"Ray: {n_workers} workers on {len(machines)} machines ({device}), loading ...")
        # One that is lost is made anew, and its task given to it again.
        actor_class = self._ray.remote(
            num_cpus=n_threads,
            num_gpus=1 if n_gpus else 0,
            max_restarts=-1,
            max_task_retries=_TRIES,
        )(_Actor)
        self._actors = [
            actor_class.remote(config, device, self._model.weights_sha256, n_threads)
            for _ in range(n_workers)
        ]
        from ray.util import ActorPool

        self._pool = ActorPool(self._actors)
        return self

    def _connect(self) -> None:
        address = self._config.ray_address
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        try:
            if address is not None:
                _check_answers(address)
                self._ray.init(address=address, **quiet)
                return
            self._ray.init(
                num_cpus=os.cpu_count(),
                include_dashboard=False,
                object_store_memory=_LOCAL_STORE_BYTES,
                _node_ip_address="127.0.0.1",
                **quiet,
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            where, why = address or "this machine", first_line(error, _LONGEST)
            raise ExplorerError(
                f"no Ray cluster at {where} ({why}); start one with: "
                "RAY_AUTH_MODE=token ray start --head (the job needs the same RAY_AUTH_MODE), or leave "
                "--ray-address out"
            ) from error

    def submit(self, work: ShardWork, task: Any) -> int:
        self._n_submitted += 1
        ticket = self._n_submitted
        self._pool.submit(lambda actor, value: actor.work.remote(*value), (work, task, ticket))
        return ticket

    def next_ready(self) -> Ready:
        from ray.exceptions import RayActorError, RayError, RayTaskError

        try:
            ticket, tables, n_halved = self._pool.get_next_unordered()
        except RayTaskError as error:
            raise _cause(error) from error
        except RayActorError as error:
            raise ExplorerError(
                f"a worker was lost {_TRIES + 1} times over one shard, or could not start "
                f"({first_line(error, _LONGEST)}); give workers more memory, or fewer --workers"
            ) from error
        except RayError as error:
            raise ExplorerError(
                f"the cluster failed ({first_line(error, _LONGEST)}); mend it, and the same command continues"
            ) from error
        return Ready(ticket, tables, n_halved, False)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for actor in self._actors:
            self._ray.kill(actor)
        self._ray.shutdown()


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise CallError("--engine ray needs Ray; install it with: pip install '.[ray]'") from error
    return ray


def _check_answers(address: str) -> None:
    """Raise ConnectionError where nothing listens: Ray itself would wait for minutes."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_PATIENCE_S).close()
    except OSError as error:
        raise ConnectionError(f"nothing answers there: {error.strerror or error}") from error


def _cause(error: Any) -> BaseException:
    """What a worker's function raised: one of our own errors as it is, else a line about it."""
    cause = error.cause
    if isinstance(cause, ExplorerError):
        return cause
    reason = (
        first_line(cause, _LONGEST)
        if isinstance(cause, BaseException)
        else first_line(error, _LONGEST)
    )
    return ExplorerError(
        f"a worker failed ({type(cause).__name__}: {reason}); its log is on its machine under "
        "/tmp/ray/session_latest/logs"
    )
