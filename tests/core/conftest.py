"""Pairs of a loaded model and its raw Hugging Face twin, one of each shape, made once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from explorer.core.model import LanguageModel, load_model
from tests.core.reference import RawModel


@dataclass(frozen=True)
class Pair:
    """The same weights twice: as the product reads them and as Hugging Face does."""

    model: LanguageModel
    raw: RawModel
    folder: Path

    def with_bos(self, prompt: list[int]) -> list[int]:
        return [self.model.tokenizer.bos_id, *prompt]


def _pair(folder: Path) -> Pair:
    return Pair(load_model(folder, device="cpu"), RawModel(folder), folder)


@pytest.fixture(scope="session")
def gpt2_pair(gpt2_folder: Path) -> Pair:
    return _pair(gpt2_folder)


@pytest.fixture(scope="session")
def neox_pair(neox_folder: Path) -> Pair:
    return _pair(neox_folder)


@pytest.fixture(scope="session", params=["gpt2", "neox"])
def pair(request: pytest.FixtureRequest) -> Pair:
    """Each shape in turn: blocks in sequence, blocks in parallel."""
    return request.getfixturevalue(f"{request.param}_pair")


@pytest.fixture(scope="session")
def zoo(gpt2_pair: Pair, neox_pair: Pair, tiny_folder: Callable[..., Path]) -> dict[str, Pair]:
    """Several models of both shapes, so that no truth hangs on one draw of the weights."""
    return {
        "gpt2": gpt2_pair,
        "neox": neox_pair,
        "gpt2-other": _pair(tiny_folder("gpt2", seed=11)),
        "neox-other": _pair(tiny_folder("neox", seed=12)),
    }
