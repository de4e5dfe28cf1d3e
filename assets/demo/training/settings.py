"""The settings of one training, and the two errors it can end in."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

DEFAULT_TOKENS = 17_100_000
"""Tokens trained on when neither `tokens` nor `steps` is given: what the bundled model saw."""

PRECISIONS = ("auto", "bfloat16", "float32")

SMALLEST_VOCAB = 257
"""The 256 bytes and the end-of-text token."""

LEAST = {
    "layers": 1,
    "heads": 1,
    "width": 1,
    "context": 8,
    "vocab": SMALLEST_VOCAB,
    "tokens": 1,
    "steps": 1,
    "rows": 1,
    "task_rows": 0,
    "seed": 0,
}
"""The least that each may be."""

SHARES = ("task_start", "cooldown", "muon_lr", "muon_momentum", "adamw_lr")
"""The settings that lie between 0 and 1."""


class CallError(ValueError):
    """A mistake in the call: the command ends with status 2."""


class TrainingError(RuntimeError):
    """The training cannot go on for a reason outside the call: the command ends with status 1."""


def _option(default: Any, kind: type, help_text: str) -> Any:
    """A field that is also a command-line option: `kind` parses it, `help_text` explains it."""
    return field(default=default, metadata={"kind": kind, "help": help_text})


@dataclass(frozen=True)
class Settings:
    """What sets a training apart. The defaults make a model like the bundled one."""

    layers: int = _option(6, int, "transformer blocks")
    heads: int = _option(8, int, "attention heads in a block; must divide the width")
    width: int = _option(256, int, "size of the residual stream; the MLP has four times as many")
    context: int = _option(128, int, "tokens in a row, and the longest prompt the model can read")
    vocab: int = _option(8192, int, f"tokens in the vocabulary, {SMALLEST_VOCAB} or more")
    tokens: int | None = _option(None, int, f"tokens to train on; {DEFAULT_TOKENS:,} unless given")
    steps: int | None = _option(None, int, "training steps, instead of --tokens")
    rows: int = _option(32, int, "rows in a step")
    task_rows: int = _option(5, int, "rows of each step that are task sentences; 0 for none")
    task_start: float = _option(0.333, float, "share of the training before task sentences begin")
    cooldown: float = _option(0.4, float, "last share of the training, where rates fall to zero")
    muon_lr: float = _option(0.02, float, "Muon's learning rate, for the matrices in the blocks")
    muon_momentum: float = _option(0.95, float, "Muon's momentum")
    adamw_lr: float = _option(0.002, float, "AdamW's learning rate, for everything else")
    precision: str = _option(
        "auto", str, "bfloat16, float32, or auto: bfloat16 where the hardware computes in it"
    )
    seed: int = _option(0, int, "seed of weights, rows and task sentences")

    def __post_init__(self) -> None:
        for wrong, message in self._mistakes():
            if wrong:
                raise CallError(message)

    def _mistakes(self) -> Iterator[tuple[bool, str]]:
        """Each rule as (is it broken, what to say)."""
        for name, least in LEAST.items():
            value = getattr(self, name)
            broken = value is not None and value < least
            yield broken, f"{_flag(name)} must be {least} or more, got {value}"
        for name in SHARES:
            value = getattr(self, name)
            yield not 0 <= value <= 1, f"{_flag(name)} must lie between 0 and 1, got {value}"
        yield (
            self.precision not in PRECISIONS,
            f"--precision must be one of {', '.join(PRECISIONS)}, got {self.precision}",
        )
        yield (
            self.width % self.heads != 0,
            f"--heads must divide --width, got {self.heads} heads and a width of {self.width}",
        )
        yield (
            self.task_rows > self.rows,
            f"--task-rows must not exceed --rows, got {self.task_rows} of {self.rows}",
        )
        yield (
            self.tokens is not None and self.steps is not None,
            "--tokens and --steps both set the length of the training: give one of them",
        )

    @property
    def tokens_per_step(self) -> int:
        return self.rows * self.context

    @property
    def n_steps(self) -> int:
        """Steps of the training, at least one."""
        if self.steps is not None:
            return self.steps
        wanted = DEFAULT_TOKENS if self.tokens is None else self.tokens
        return max(1, round(wanted / self.tokens_per_step))

    @property
    def first_task_step(self) -> int:
        """The first step, counted from 0, whose rows include task sentences."""
        return math.ceil(self.task_start * self.n_steps)


def _flag(name: str) -> str:
    """A field's name as it is written on the command line."""
    return "--" + name.replace("_", "-")
