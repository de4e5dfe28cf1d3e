"""Any words on the command line: the job, its commands and the explorer answer in one line or do it."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from explorer.__main__ import parse_call
from precompute.__main__ import main
from precompute.arguments import _parser
from precompute.commands import COMMANDS
from tests.fuzz.amounts import inputs, tried
from tests.fuzz.hostile import controls, hostile_text
from tests.precompute.calling import QUICK

FLAGS = sorted({o for a in _parser()._actions for o in a.option_strings if o.startswith("--")})
NEVER = {"--engine", "--ray-address"}
"""A cluster is not started here."""
GOOD = (
    "local", "cpu", "auto", "float32", "contrast", "none", "name-inhibition", "last:1", "all", "2", "1",
    "0.5", "mean+2sd", "top:3", "L2N5", "demo", "3", "10",
)  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder deep enough that no `..` of an input leaves the test's own, to run in."""
    folder = tmp_path_factory.mktemp("fuzz") / "a" / "b" / "c" / "d" / "e"
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("Some words.\n\nSome more of them, and then some.\n")
    (folder / "broken.jsonl").write_text("{")
    (folder / "broken.duckdb").write_text("no database")
    before = os.getcwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


def _run(call: Callable[[], int | None]) -> tuple[int, str, str]:
    """Exit status and both streams of a call in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = call() or 0
        except SystemExit as stop:  # argparse
            status = int(stop.code or 0)
    return status, out.getvalue(), err.getvalue()


def _assert_promise(status: int, out: str, err: str) -> None:
    assert status in (0, 1, 2)
    assert "Traceback" not in out + err
    assert controls(err) == set() and controls(out) == set()
    if status and err:
        last = err.splitlines()[-1]
        assert "error" in last or "stopped" in last, err
    assert status == 0 or err or out, "it failed without a word"


def _harmless(words: list[str]) -> bool:
    """No place outside the test's own folder is written to, no cluster and no server is called."""
    text = "\x00".join(words)
    far = any(w.lstrip().startswith(("/", "~")) or "=/" in w or "=~" in w for w in words)
    return not far and not any(f in text for f in ("--eng", "--ray", "http", "openai"))


values = st.one_of(
    st.sampled_from(GOOD), hostile_text,
    st.sampled_from(["notes.txt", "broken.jsonl", "broken.duckdb", ".", "model", "runs", "nothing"]),
    st.integers().map(str), st.floats().map(str),
)  # fmt: skip
flags = st.sampled_from([f for f in FLAGS if f not in NEVER])
words = st.lists(
    st.one_of(
        st.tuples(flags, values).map(list), values.map(lambda v: [v]), flags.map(lambda f: [f]),
        st.tuples(flags, values).map(lambda p: [f"{p[0]}={p[1]}"]),
    ),
    max_size=5,
).map(lambda parts: [word for part in parts for word in part]).filter(_harmless)  # fmt: skip


@inputs("job", 0.8)
@given(words=words)
def test_any_words_for_the_job(place: Path, words: list[str]) -> None:
    tried["command line, job"] += 1
    _assert_promise(*_run(lambda: main(words)))


@inputs("job", 0.2)
@given(words=words)
def test_any_words_after_a_good_call(
    place: Path, quick_model: Path, quick_corpus: Path, words: list[str]
) -> None:
    """What is given again wins, so these runs get as far as the mistake lets them."""
    tried["command line, job"] += 1
    call = ["--model", str(quick_model), "--corpus", str(quick_corpus), *QUICK, *words]
    _assert_promise(*_run(lambda: main(call)))


@inputs("commands")
@given(command=st.sampled_from(sorted(COMMANDS)), words=words)
def test_any_words_for_a_command(place: Path, command: str, words: list[str]) -> None:
    tried["command line, commands"] += 1
    _assert_promise(*_run(lambda: main([command, *words])))


@inputs("explorer")
@given(
    words=st.lists(
        st.one_of(
            st.sampled_from(
                ["--store", "--model", "--port", "--no-browser", "--load-models", "--help"]
            ),
            values,
        ),
        max_size=5,
    )
)
def test_any_words_for_the_explorer(place: Path, words: list[str]) -> None:
    tried["command line, explorer"] += 1
    kept: list[object] = []
    status, out, err = _run(lambda: kept.append(parse_call(words)))
    _assert_promise(status, out, err)
    assert kept or status == 2 or "usage" in out


def test_the_promise_can_be_broken() -> None:
    """The control: a traceback, an escape code and silence are seen."""
    for broken in ((1, "", "Traceback (most recent call last)"), (0, "\x1b[31m", ""), (1, "", ""),
                   (3, "", "error: x"), (1, "", "what\n")):  # fmt: skip
        with pytest.raises(AssertionError):
            _assert_promise(*broken)
