"""Asynchronous work from a plain call, from a notebook's running loop, and with its errors."""

from __future__ import annotations

import asyncio
import threading

import pytest

from precompute.asking import run_to_end


async def _where(error: Exception | None = None) -> int:
    await asyncio.sleep(0)
    if error is not None:
        raise error
    return threading.get_ident()


def test_without_a_loop_it_runs_here() -> None:
    assert run_to_end(_where()) == threading.get_ident()


def test_under_a_running_loop_it_runs_beside_it() -> None:
    async def cell() -> int:
        with pytest.raises(RuntimeError):  # what a plain asyncio.run says here
            work = _where()
            try:
                asyncio.run(work)
            finally:
                work.close()
        return run_to_end(_where())

    assert asyncio.run(cell()) != threading.get_ident()


def test_its_error_is_the_callers() -> None:
    async def cell() -> int:
        return run_to_end(_where(ValueError("beside")))

    with pytest.raises(ValueError, match="here"):
        run_to_end(_where(ValueError("here")))
    with pytest.raises(ValueError, match="beside"):
        asyncio.run(cell())
