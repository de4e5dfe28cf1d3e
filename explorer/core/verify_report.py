"""What checks of a store found: each by name, with one line that says why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

State = Literal["ok", "failed", "left out"]


@dataclass(frozen=True)
class Finding:
    """What one check found. `reason` is one line: what was counted, what is wrong, or what is lacking."""

    state: State
    reason: str

    @classmethod
    def ok(cls, reason: str) -> Finding:
        return cls("ok", reason)

    @classmethod
    def failed(cls, reason: str) -> Finding:
        return cls("failed", reason)

    @classmethod
    def left_out(cls, reason: str) -> Finding:
        return cls("left out", reason)


@dataclass(frozen=True)
class Check:
    """One check of a store, done."""

    name: str
    meaning: str
    """What holds where it is ok."""
    state: State
    reason: str
    seconds: float


@dataclass(frozen=True)
class Report:
    """All checks of one store file."""

    path: Path
    checks: tuple[Check, ...]

    def count(self, state: State) -> int:
        return sum(check.state == state for check in self.checks)

    @property
    def passed(self) -> bool:
        """Nothing failed. What was left out says so itself."""
        return self.count("failed") == 0

    def as_json(self) -> dict[str, Any]:
        return {
            "store": str(self.path),
            "passed": self.passed,
            "checks": [asdict(check) for check in self.checks],
        }


def summary(checks: Iterable[Check]) -> str:
    """`24 ok, 1 failed, 2 left out`; kinds without any are not named."""
    states = [check.state for check in checks]
    counts = {state: states.count(state) for state in ("ok", "failed", "left out")}
    return ", ".join(f"{n} {state}" for state, n in counts.items() if n) or "nothing checked"
