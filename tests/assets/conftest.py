"""Text to train on, built here."""

from pathlib import Path
from random import Random

import pytest


@pytest.fixture(scope="session")
def day_text() -> str:
    """Lines of a small regular language: enough to learn from within a few steps."""
    rng = Random(1)
    who, did, what = ("the king", "a fox", "my aunt"), ("saw", "hid", "ate"), ("bread", "gold")
    return "".join(
        f"On day {rng.randrange(90)} {rng.choice(who)} {rng.choice(did)} the {rng.choice(what)}.\n"
        for _ in range(500)
    )


@pytest.fixture(scope="session")
def day_file(day_text: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "days.txt"
    path.write_text(day_text, encoding="utf-8")
    return path
