"""Ctrl-C: answered within two seconds even where a long computation holds Python up, with all kept."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from precompute.interrupt import prompt_stop

ROOT = Path(__file__).parents[2]
_JOB = """
import sys, time
from precompute import __main__ as job
{before}
def busy(words):
    print("begun", flush=True)
    {work}
    return 0
job._action = lambda words: busy
sys.exit(job.main(["--anything"]))
"""


def interrupted(before: str, work: str) -> tuple[int, float, str]:
    """Exit status, seconds from Ctrl-C to the end, and what was said."""
    job = subprocess.Popen(
        [sys.executable, "-c", _JOB.format(before=before, work=work)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert job.stdout is not None
    assert job.stdout.readline() == "begun\n"
    time.sleep(0.1)
    begin = time.monotonic()
    job.send_signal(signal.SIGINT)
    _, said = job.communicate(timeout=60)
    return job.returncode, time.monotonic() - begin, said


def test_python_code_is_stopped_in_order() -> None:
    status, seconds, said = interrupted("", "time.sleep(30)")
    assert status == 1 and seconds < 3.5  # two, and the machine's own load
    assert said == "stopped; what is done is kept, and the same command continues\n"


def deaf_work(seconds: float) -> str:
    """A call into C that never looks at signals, as a product of matrices does, for about that long."""
    sample = 400_000
    begin = time.perf_counter()
    hashlib.pbkdf2_hmac("sha256", b"x", b"y", sample)
    n = round(sample * seconds / (time.perf_counter() - begin))
    return f"hashlib.pbkdf2_hmac('sha256', b'x', b'y', {n})"


def test_what_holds_python_up_is_ended_all_the_same() -> None:
    status, seconds, said = interrupted("import hashlib", deaf_work(20))
    assert status == 1 and seconds < 3.5
    assert said == "stopped; what is done is kept, and the same command continues\n"


def test_the_control_without_the_watch_is_not_ended() -> None:
    before = "import contextlib, hashlib\njob.prompt_stop = lambda words: contextlib.nullcontext()"
    _, seconds, _ = interrupted(before, deaf_work(8))
    assert seconds > 3.5


def test_the_watch_leaves_nothing_behind() -> None:
    before = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(before)
    n_open = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with prompt_stop(lambda: None):
            pass
    assert len(os.listdir("/proc/self/fd")) == n_open
    assert signal.set_wakeup_fd(before) == before


def test_an_interrupt_that_is_answered_ends_nothing() -> None:
    with prompt_stop(lambda: pytest.fail("ended")), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
        time.sleep(0)
