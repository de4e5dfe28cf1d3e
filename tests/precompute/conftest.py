"""A model and a corpus so small that the whole job takes seconds, and one store made from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from tests.conftest import demo_documents
from tests.precompute.calling import QUICK, Outcome, call, write_jsonl
from tests.precompute.contract_case import Case, corpus_texts, make_case
from tests.precompute.plain_contract import Options


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


@pytest.fixture(scope="session", params=["sequential", "parallel"])
def case(
    request: pytest.FixtureRequest, gpt2_folder: Path, neox_folder: Path,
    write_corpus: Callable[..., Path], publish: Callable[..., duckdb.DuckDBPyConnection],
) -> Case:  # fmt: skip
    """A store beside its contract, made once for all files that compare them."""
    if request.param == "sequential":
        options = Options((1, 2), 4, (), ((0, 3), (2, 9)), 4, 9, 9, 0.8, None)
        return make_case(
            gpt2_folder, {"train": corpus_texts(0)}, write_corpus, publish, options,
            {"layers": "last:2", "seed": 5},
        )  # fmt: skip
    options = Options((0, 2), 4, (), ((1, 60),), 4, 8, 7, 0.9, 5)
    corpora = {"train": corpus_texts(0), "test": corpus_texts(12)[:24]}
    return make_case(
        neox_folder, corpora, write_corpus, publish, options,
        {"layers": "0,2", "active_rule": "top:5"},
    )  # fmt: skip
