"""Whose turn it is: sessions one after another, pages before edits, and nobody left out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from explorer.resources.model_slot import ModelSlot
from explorer.resources.turns import Lane, RoundRobin, Turns
from tests.explorer.test_models_resource import until_ready

_PATIENCE_S = 10.0


def _wait_for(done: Callable[[], bool]) -> None:
    end = time.monotonic() + _PATIENCE_S
    while not done():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.005)


def _in_background(act: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


def test_sessions_are_served_in_turn_and_each_ones_things_in_order() -> None:
    asked = [("greedy", n) for n in range(4)] + [("modest", 0), ("late", 0)]
    queue: RoundRobin[tuple[str, int]] = RoundRobin()
    for thing in asked:
        queue.put(thing[0], thing)
    served = [queue.get() for _ in asked]
    assert served[:3] == [("greedy", 0), ("modest", 0), ("late", 0)]
    assert served[3:] == [("greedy", 1), ("greedy", 2), ("greedy", 3)]
    # Control: under one name for all, first come is first served, and the modest one comes fifth.
    for thing in asked:
        queue.put("all", thing)
    assert [queue.get() for _ in asked] == asked
    with pytest.raises(LookupError):
        queue.get()


def _places_of_the_modest(who: Callable[[int], str]) -> int:
    """How many jobs of the model come before the modest session's one, asked for after ten others."""
    slot, gate, done = ModelSlot("folder", lambda _: _Model()), threading.Event(), []
    slot.start()
    until_ready(slot)
    threads = [_in_background(lambda: slot.use(lambda _: gate.wait(_PATIENCE_S), who="first"))]
    _wait_for(lambda: slot.n_waiting == 0)
    for n in range(10):
        threads.append(_in_background(lambda n=n: slot.use(lambda _: done.append(n), who=who(n))))
        _wait_for(lambda n=n: slot.n_waiting == n + 1)
    threads.append(_in_background(lambda: slot.use(lambda _: done.append("modest"), who="modest")))
    _wait_for(lambda: slot.n_waiting == 11)
    gate.set()
    for thread in threads:
        thread.join(_PATIENCE_S)
    return done.index("modest")


class _Model:
    weights_sha256 = "a" * 64


def test_a_session_with_many_jobs_does_not_keep_another_from_the_model() -> None:
    assert _places_of_the_modest(lambda n: "greedy") == 1
    # Control: ten sessions with a job each come before it, as they asked before.
    assert _places_of_the_modest(lambda n: f"session {n}") == 10


def _order(turns: Turns, asked: list[tuple[str, str]]) -> list[str]:
    """The order in which runs that all wait for one place are let in."""
    came: list[str] = []
    hold = threading.Event()

    def first() -> None:
        with turns.turn("first", "page"):
            hold.wait(_PATIENCE_S)

    def run(name: str, lane: str) -> None:
        with turns.turn(name.rstrip("0123456789"), "edit" if lane == "edit" else "page"):
            came.append(name)

    threads = [_in_background(first)]
    time.sleep(0.05)
    for n, (name, lane) in enumerate(asked, start=1):
        threads.append(_in_background(lambda name=name, lane=lane: run(name, lane)))
        _wait_for(lambda n=n: turns.n_waiting == n)
    hold.set()
    for thread in threads:
        thread.join(_PATIENCE_S)
    return came


def test_pages_come_before_edits_and_edits_are_not_left_out() -> None:
    asked = [("e1", "edit"), ("f1", "edit"), *((f"{name}1", "page") for name in "pqrstu")]
    assert _order(Turns(places=1), asked) == ["p1", "q1", "e1", "r1", "s1", "t1", "f1", "u1"]
    # Control: with an edit every other turn, they come sooner.
    assert _order(Turns(places=1, edit_every=2), asked)[:3] == ["e1", "p1", "f1"]


def test_a_newer_edit_takes_the_place_that_the_older_one_waited_for() -> None:
    asked = [("p1", "page"), ("q1", "page"), ("r1", "page")]
    turns = Turns(places=1)
    turns.come_again("r")
    assert _order(turns, asked) == ["r1", "p1", "q1"]
    assert _order(turns, asked) == ["p1", "q1", "r1"]  # control: once, not for ever


def test_one_session_with_many_pages_waits_for_its_own() -> None:
    asked = [*((f"p{n}", "page") for n in range(5)), ("q1", "page")]
    assert _order(Turns(places=1), asked).index("q1") == 1


def test_only_one_edit_goes_on_at_once_whatever_places_are_free() -> None:
    turns, now, most = Turns(places=3), {"edit": 0, "page": 0}, {"edit": 0, "page": 0}
    lock = threading.Lock()

    def run(n: int, lane: str) -> None:
        with turns.turn(n, "edit" if lane == "edit" else "page"):
            with lock:
                now[lane] += 1
                most[lane] = max(most[lane], now[lane])
            time.sleep(0.03)
            with lock:
                now[lane] -= 1

    for lane in ("edit", "page"):
        threads = [_in_background(lambda n=n, lane=lane: run(n, lane)) for n in range(6)]
        for thread in threads:
            thread.join(_PATIENCE_S)
    assert most == {"edit": 1, "page": 3}


def test_an_edit_does_not_begin_beside_a_page_and_a_page_does_beside_an_edit() -> None:
    def comes_beside(first: Lane, second: Lane, turns: Turns) -> bool:
        came = threading.Event()

        def other() -> None:
            with turns.turn("b", second):
                came.set()

        with turns.turn("a", first):
            thread = _in_background(other)
            beside = came.wait(0.15)
        assert came.wait(_PATIENCE_S)  # it comes as soon as the first one has ended
        thread.join(_PATIENCE_S)
        return beside

    assert not comes_beside("page", "edit", Turns(places=2))
    assert comes_beside("edit", "page", Turns(places=2))
    # Controls: two pages share the places, and edits of which every turn may be one do not wait.
    assert comes_beside("page", "page", Turns(places=2))
    assert comes_beside("page", "edit", Turns(places=2, edit_every=1))


def test_a_run_that_fails_or_steps_aside_leaves_its_place() -> None:
    turns = Turns(places=1)
    with pytest.raises(ZeroDivisionError), turns.turn("a", "edit"):
        raise ZeroDivisionError
    came = threading.Event()

    def other() -> None:
        with turns.turn("b", "page"):
            came.set()

    with turns.turn("a", "page"):
        with turns.turn("a", "edit"):  # one within the other holds one place
            thread = _in_background(other)
            assert not came.wait(0.1)  # control: the place is taken
        turns.step_aside()
        assert came.wait(_PATIENCE_S)
        turns.step_back()
    thread.join(_PATIENCE_S)
    with pytest.raises(ZeroDivisionError), turns.turn("a", "page"):
        turns.step_aside()
        raise ZeroDivisionError
    assert turns.n_waiting == 0
    with turns.turn("c", "page"):
        pass


def test_a_session_that_ends_in_the_middle_of_an_analysis_leaves_no_lock() -> None:
    """Cut while its job waits, it is never done; cut while it is done, the others go on after it."""
    slot, done = ModelSlot("folder", lambda _: _Model()), []
    begun, gate = threading.Event(), threading.Event()
    slot.start()
    until_ready(slot)

    class Cut(BaseException):
        pass

    def cut(_: bool) -> None:
        raise Cut

    def long(_: object) -> None:
        begun.set()
        gate.wait(_PATIENCE_S)
        done.append("long")

    def cut_in_the_middle() -> None:
        with pytest.raises(Cut):
            slot.use(long, lambda begun: cut(begun) if begun else None, who="cut")

    thread = _in_background(cut_in_the_middle)
    assert begun.wait(_PATIENCE_S)
    thread.join(_PATIENCE_S)
    assert not thread.is_alive() and done == []
    with pytest.raises(Cut):
        slot.use(lambda _: done.append("waiting"), cut, who="cut too")
    other = _in_background(lambda: slot.use(lambda _: done.append("other"), who="other"))
    other.join(0.1)
    assert other.is_alive()  # control: the model is still at the job that was cut
    gate.set()
    other.join(_PATIENCE_S)
    assert done == ["long", "other"]
