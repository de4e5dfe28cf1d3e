"""The fuzz run says at its end how many inputs it tried. Nothing of it may reach the network."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fuzz.amounts import tried
from tests.precompute.conftest import (  # noqa: F401 fixtures
    quick_corpus,
    quick_model,
    quick_texts,
)


@pytest.fixture(autouse=True, scope="package")
def _offline() -> Iterator[None]:
    import datasets.config
    import huggingface_hub.constants

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        patch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if tried:
        parts = ", ".join(f"{target} {count:,}" for target, count in sorted(tried.items()))
        terminalreporter.write_line(f"fuzz: {sum(tried.values()):,} inputs ({parts})")
