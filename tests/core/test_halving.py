"""Batches that do not fit are halved: nothing is lost or done twice, and only lack of memory is met so."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from explorer.core.errors import ExplorerError
from explorer.core.halving import Halver, is_out_of_memory
from tests.core.conftest import Pair

SHORTAGES = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
    MemoryError(),
]


class Machine:
    """Holds so many tokens; notes every batch that it was given."""

    def __init__(self, room: int, shortage: BaseException = SHORTAGES[0]) -> None:
        self.room, self.shortage = room, shortage
        self.given: list[list[int]] = []

    def work(self, items: Sequence[int]) -> list[int]:
        self.given.append(list(items))
        if len(items) * max(items) > self.room:
            raise self.shortage
        return [10 * item for item in items]


def run(halver: Halver, machine: Machine, items: list[int]) -> list[int]:
    found: list[int] = []
    for some, results in halver.run("work", machine.work, items, lambda item: item):
        assert results == [10 * item for item in some]
        found += some
    return found


@pytest.mark.parametrize("shortage", SHORTAGES)
def test_a_batch_that_does_not_fit_is_done_in_halves(shortage: BaseException) -> None:
    halver, machine = Halver(), Machine(6, shortage)
    assert run(halver, machine, [2, 2, 2, 2, 2]) == [2, 2, 2, 2, 2]
    assert machine.given == [[2] * 5, [2] * 3, [2] * 2]
    assert halver.n_halved == 1


def test_a_batch_that_fits_is_left_whole() -> None:
    halver, machine = Halver(), Machine(10)
    assert run(halver, machine, [2, 2, 2, 2, 2]) == [2] * 5
    assert (machine.given, halver.n_halved) == ([[2] * 5], 0)


def test_what_once_did_not_fit_is_not_tried_whole_again() -> None:
    halver, machine = Halver(), Machine(6)
    run(halver, machine, [2, 2, 2, 2])
    machine.given.clear()
    run(halver, machine, [4, 4])  # as many tokens
    run(halver, machine, [1, 1, 1, 1])  # fewer: no reason to halve
    assert machine.given == [[4], [4], [1, 1, 1, 1]]


def test_kinds_of_work_do_not_learn_from_each_other() -> None:
    halver, machine = Halver(), Machine(6)
    run(halver, machine, [2, 2, 2, 2])
    machine.given.clear()
    machine.room = 100
    list(halver.run("other", machine.work, [2, 2, 2, 2], lambda item: item))
    assert machine.given == [[2, 2, 2, 2]]


def test_a_single_item_that_does_not_fit_is_said() -> None:
    with pytest.raises(ExplorerError, match=r"not enough memory for a single prompt \(work\)"):
        run(Halver(), Machine(6), [2, 7])


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), KeyError("x"), ValueError("no")])
def test_other_errors_are_not_lack_of_memory(error: Exception) -> None:
    machine = Machine(1, error)
    with pytest.raises(type(error)):
        run(Halver(), machine, [2, 2])
    assert len(machine.given) == 1 and not is_out_of_memory(error)


def test_halves_give_the_numbers_of_the_whole(gpt2_pair: Pair) -> None:
    """On a model that refuses long batches, as a full GPU does."""
    model, halver = gpt2_pair.model, Halver()
    prompts = [[(7 * i + j) % 400 + 1 for j in range(5)] for i in range(9)]
    neurons = {2: torch.arange(8)}

    def whole(some: Sequence[list[int]]) -> torch.Tensor:
        return model.activations(model.batch(some)[0], neurons)[2]

    def cramped(some: Sequence[list[int]]) -> torch.Tensor:
        if len(some) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(some)

    parts = [found for _, found in halver.run("x", cramped, prompts, len)]
    assert len(parts) > 3
    torch.testing.assert_close(torch.cat(parts), whole(prompts), rtol=1e-5, atol=1e-5)
