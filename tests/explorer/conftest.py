"""One seeded store for all tests of the explorer's pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from explorer.core.store import Store
from tests.explorer.seeded import write_seeded_store


@pytest.fixture(scope="session")
def seeded_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_seeded_store(tmp_path_factory.mktemp("seeded-runs"))


@pytest.fixture(scope="session")
def store(seeded_path: Path) -> Iterator[Store]:
    with Store.open(seeded_path) as opened:
        yield opened


@pytest.fixture()
def seeded(seeded_path: Path, monkeypatch: pytest.MonkeyPatch, store: Store) -> Store:
    """The explorer looks at the seeded store, which is also given open."""
    monkeypatch.setenv("EXPLORER_STORE", str(seeded_path.parent))
    return store
