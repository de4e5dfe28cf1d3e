"""The audit calls nothing sound that was not looked up."""

from __future__ import annotations

from typing import Any

from tests.audit import OWN, main, verdict

SOUND = {"name": "duckdb", "version": "2.0.1", "vulns": []}
FLAWED = {"name": "torch", "version": "2.6.0",
          "vulns": [{"id": "CVE-2025-1", "fix_versions": ["2.7.0"], "description": "x"}]}  # fmt: skip
SKIPPED = {"name": "pandas", "skip_reason": "Dependency not found on PyPI"}
OURS = {"name": OWN, "skip_reason": "not on PyPI"}


def _status(*found: dict[str, Any]) -> int:
    return verdict(found)[0]


def test_status_is_0_only_where_all_was_looked_up_and_found_sound() -> None:
    assert _status(SOUND, OURS) == 0
    assert _status(SOUND, FLAWED) == _status(SOUND, SKIPPED) == _status(SKIPPED) == _status() == 1


def test_what_was_found_is_said() -> None:
    assert verdict([SOUND, FLAWED])[1] == [
        "torch 2.6.0: CVE-2025-1 (mended in 2.7.0)", "2 of 2 packages looked up, 1 advisories",
    ]  # fmt: skip
    assert "pandas" in verdict([SOUND, SKIPPED])[1][0]
    assert verdict([SKIPPED, OURS])[1][0].startswith("advisories cannot be reached")


def test_no_answer_is_no_soundness(capsys: Any) -> None:
    assert main(["false", "nowhere"]) == 1
    assert "cannot be reached" in capsys.readouterr().err
