"""A model and a corpus so small that the whole job takes seconds, and one store made from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import demo_documents
from tests.precompute.calling import QUICK, Outcome, call, write_jsonl


@pytest.fixture(scope="session")
def quick_model(tiny_folder: Callable[..., Path]) -> Path:
    """A GPT-2 with 12 positions: few suffixes to try."""
    return tiny_folder("gpt2", seed=5, context=12)


@pytest.fixture(scope="session")
def quick_texts() -> list[str]:
    return [text[:60] for text in demo_documents("train", 16)]


@pytest.fixture(scope="session")
def quick_corpus(quick_texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_jsonl(tmp_path_factory.mktemp("quick") / "quick.jsonl", quick_texts)


@pytest.fixture(scope="session")
def quick_call(quick_model: Path, quick_corpus: Path) -> tuple[object, ...]:
    """The command line of the quick run, but for `--out`."""
    return ("--model", quick_model, "--corpus", quick_corpus, *QUICK)


@pytest.fixture(scope="session")
def quick_run(quick_call: tuple[object, ...], tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """The quick run, done once."""
    outcome = call(*quick_call, "--out", tmp_path_factory.mktemp("quick-runs"))
    assert outcome.status == 0, outcome.stderr
    return outcome
