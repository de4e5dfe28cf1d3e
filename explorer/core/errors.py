"""Errors about the outside world, each ending with what repairs it.

The caller's own mistakes are `ValueError`; broken invariants are `assert`. What remains (files,
folders, models, stores) is an `ExplorerError`: its text is one line that a person can act on.
"""


class ExplorerError(Exception):
    """Something outside the program is not as it must be; the message says what repairs it."""


class StoreError(ExplorerError):
    """A store cannot be opened or read: missing, foreign, truncated or of another schema version."""


class UnsupportedModelError(ExplorerError):
    """A model has a property that the mathematics does not cover; the message names it."""


class ModelNotFoundError(ExplorerError):
    """A model folder or hub name cannot be loaded."""


class OtherWeightsError(ExplorerError):
    """Weights are not those that were expected; none of them was loaded."""

    def __init__(self, source: str, found: str, expected: str) -> None:
        super().__init__(
            f"the weights in {source} are not those of this run (checksum {found[:12]}…, the run has "
            f"{expected[:12]}…)"
        )


class CorpusError(ExplorerError):
    """A corpus cannot be read."""


class CallError(ExplorerError):
    """A mistake in the call of the command line (exit status 2)."""


def first_line(error: BaseException, longest: int) -> str:
    """What an error says, in one line of at most so many characters; its class where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:longest]
