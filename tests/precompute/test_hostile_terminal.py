"""Names of files, manifests and errors with escape codes: the terminal gets them as text."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.explorer.hostile_store import CONTROLS, write_hostile_store
from tests.fuzz.hostile import controls
from tests.precompute.calling import Outcome, call

STEM = "evil\x1b[31m\x1b]0;title\x07\u202e"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile-terminal")
    write_hostile_store(folder, STEM)
    (folder / f"junk{STEM}.duckdb").write_text("no store")
    (folder / f"{STEM}.partial").mkdir()
    (folder / f"{STEM}.txt").write_text("")
    return folder


def _said(outcome: Outcome) -> str:
    said = outcome.stdout + outcome.stderr
    assert said and "Traceback" not in said
    return said


@pytest.mark.parametrize("more", [(), ("--json",)])
@pytest.mark.parametrize("command", ["status", "clean", "verify"])
def test_commands_name_escape_codes(folder: Path, command: str, more: tuple[str, ...]) -> None:
    if command == "clean":
        more = ("--dry-run",)
    if command == "verify":
        more = (*more, "--no-model")
    said = _said(call(command, folder, *more))
    assert controls(said) == set()
    assert controls(CONTROLS)  # the control: the store's texts do hold what is looked for


@pytest.mark.parametrize(
    "name", [f"{STEM}.txt", f"{STEM}.csv", f"{STEM}.duckdb", "none\x1b[31m.jsonl"]
)
def test_the_job_names_escape_codes(folder: Path, quick_model: Path, name: str) -> None:
    for words in (("--corpus", folder / name), ("--corpus", "x", "--out", folder / name)):
        outcome = call("--model", quick_model, *words)
        assert outcome.status in (1, 2)
        assert controls(_said(outcome)) == set()
    assert controls(_said(call("--model", folder / name, "--corpus", "x.txt"))) == set()
