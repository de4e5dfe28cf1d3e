"""A machine on which large batches do not fit: the job halves them, says so, and stores the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from explorer.core.model import LanguageModel
from precompute import prepare
from tests.precompute.calling import Outcome, assert_refused, call, manifest
from tests.precompute.store_compare import assert_like

_HALVED = "batches halved for lack of memory"


class SmallMachine:
    """Runs no more than so many tokens at once; remembers the most that it ran."""

    def __init__(self, room: int, patch: pytest.MonkeyPatch) -> None:
        self.largest = self.n_refused = 0
        real = LanguageModel._run

        def run(model: LanguageModel, tokens: torch.Tensor, hooks: list[Any]) -> Any:
            if tokens.numel() > room:
                self.n_refused += 1
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
            self.largest = max(self.largest, tokens.numel())
            return real(model, tokens, hooks)

        patch.setattr(LanguageModel, "_run", run)


def test_halved_batches_store_the_same(
    quick_call: tuple[object, ...], quick_run: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    with monkeypatch.context() as patch:
        machine = SmallMachine(40, patch)
        found = call(*quick_call, "--out", tmp_path)
    assert_like(found.store, quick_run.store)
    halved = manifest(found.store)["warnings"][_HALVED]
    assert f"warning: {_HALVED}: {halved:,}" in found.stderr
    # Every kind of batch was too large once at least, and none was tried in vain for long.
    assert 0 < halved <= machine.n_refused < 40
    assert 12 < machine.largest <= 40
    # Control: with room enough nothing is halved.
    assert _HALVED not in manifest(quick_run.store)["warnings"]


def test_a_prompt_that_does_not_fit_alone_is_said(
    quick_call: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = prepare.load_model

    def load(*about: Any) -> LanguageModel:
        model = real(*about)
        SmallMachine(9, monkeypatch)
        return model

    monkeypatch.setattr(prepare, "load_model", load)
    found = call(*quick_call, "--out", tmp_path)
    assert_refused(found, 1, "not enough memory for a single prompt (scan)", "--device")


def test_a_model_that_does_not_fit_is_not_called_unsupported(
    quick_call: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    SmallMachine(9, monkeypatch)
    found = call(*quick_call, "--out", tmp_path)
    assert_refused(found, 1, "not enough memory to load", "smaller model")
